"""The servers as fixtures: each is started when the first test needs it, once for all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import s3
from .bucket import Bucket
from .files import file_server
from .proxy import Proxy


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """Run SeaweedFS; yield its bucket, in which each test uses a prefix of its own."""
    with s3.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as bucket:
        yield bucket


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Bucket]:
    """Run moto's server; yield its bucket, in which each test uses a prefix of its own."""
    with s3.moto() as bucket:
        yield bucket


@pytest.fixture(scope="session")
def _seaweedfs_proxy(seaweedfs: Bucket) -> Iterator[Proxy]:
    with contextlib.closing(Proxy(seaweedfs.endpoint)) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def _moto_proxy(moto_server: Bucket) -> Iterator[Proxy]:
    with contextlib.closing(Proxy(moto_server.endpoint)) as proxy:
        yield proxy


@pytest.fixture
def proxy(_seaweedfs_proxy: Proxy) -> Iterator[Proxy]:
    """Return a proxy before SeaweedFS, which has seen no request and does nothing wrong."""
    _seaweedfs_proxy.reset()
    yield _seaweedfs_proxy
    _seaweedfs_proxy.reset()


@pytest.fixture
def bucket(seaweedfs: Bucket, proxy: Proxy) -> Bucket:
    """Return SeaweedFS's bucket behind `proxy`."""
    return seaweedfs.at(proxy.endpoint)


@pytest.fixture
def moto_proxy(_moto_proxy: Proxy) -> Iterator[Proxy]:
    """Return a proxy before moto, which has seen no request and does nothing wrong."""
    _moto_proxy.reset()
    yield _moto_proxy
    _moto_proxy.reset()


@pytest.fixture
def moto_bucket(moto_server: Bucket, moto_proxy: Proxy) -> Bucket:
    """Return moto's bucket behind `moto_proxy`."""
    return moto_server.at(moto_proxy.endpoint)


@pytest.fixture
def prefix(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a prefix of keys that no other test uses."""
    return f"{request.node.originalname}/{tmp_path.name}"


@pytest.fixture
def web_server(tmp_path: Path) -> Iterator[str]:
    """Serve the folder of the test by HTTP; yield the address."""
    with file_server(tmp_path) as address:
        yield address
