"""Servers of S3: SeaweedFS in a process, and moto in a thread."""

from __future__ import annotations

import contextlib
import json
import logging
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from .bucket import KEY, SECRET, Bucket
from .processes import free_ports, running, wait_until

_SERVERS = ("master", "volume", "filer", "s3", "admin")
_FLAGS = (
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-master.telemetry=false",
    "-master.volumeSizeLimitMB=1024",
    "-volume.max=1000",  # not by the free space, which may be little
    "-admin.ui=false",
    "-webdav=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
)


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[Bucket]:
    """Run SeaweedFS with an empty bucket in the block; its files are in a folder."""
    ports = free_ports(2 * len(_SERVERS))
    numbers = dict(zip(_SERVERS, zip(ports[::2], ports[1::2], strict=True), strict=True))
    bucket = Bucket(f"http://127.0.0.1:{numbers['s3'][0]}")
    output = folder / "output"
    command = [
        str(Path(sysconfig.get_path("scripts"), "weed")),
        "mini",
        f"-dir={folder}",
        f"-bucket={bucket.name}",
        f"-s3.config={_config(folder)}",
        *(f"-{name}.localSocket={folder}/{name}.sock" for name in ("filer", "s3")),
        *(f"-{name}.port={http}" for name, (http, _) in numbers.items()),
        *(f"-{name}.port.grpc={grpc}" for name, (_, grpc) in numbers.items()),
        *_FLAGS,
    ]
    with running(command, output, HOME=str(folder)) as process:
        wait_until(lambda: _takes_objects(bucket), process, output)
        yield bucket


def _config(folder: Path) -> Path:
    """Write the configuration with the one user who may do everything."""
    user = {
        "name": "tests",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    path = folder / "s3.json"
    path.write_text(json.dumps({"identities": [user]}))
    return path


def _takes_objects(bucket: Bucket) -> bool:
    """Return whether an object can be written: the volumes come up after the gateway."""
    from botocore.exceptions import BotoCoreError, ClientError

    client = bucket.client()
    try:
        client.head_bucket(Bucket=bucket.name)
        client.put_object(Bucket=bucket.name, Key="first", Body=b"first")
        client.delete_object(Bucket=bucket.name, Key="first")
    except (BotoCoreError, ClientError):
        return False
    return True


@contextlib.contextmanager
def moto() -> Iterator[Bucket]:
    """Run moto's server with an empty bucket in the block; objects are in memory."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        bucket = Bucket(f"http://{host}:{port}")
        bucket.client().create_bucket(Bucket=bucket.name)
        yield bucket
    finally:
        server.stop()
