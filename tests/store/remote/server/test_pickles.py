"""No pickle, message or file of the cache holds a secret; what is unpickled reads the same."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.servers.bucket import KEY, SECRET, Bucket

from numpack import Loader, NumPack
from numpack.errors import NumpackError

SECRETS = [KEY.encode(), SECRET.encode(), SECRET.encode("utf-16-le"), b"0123456789"]

READ = """
import pickle, sys
import numpy as np
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        found = pickle.load(file)
    print(float(np.asarray(found.load("x") if hasattr(found, "load") else found).sum()))
"""


def pickled(value: object) -> bytes:
    data = pickle.dumps(value)
    for secret in SECRETS:
        assert secret not in data
    return data


def run(paths: list[str], bucket: Bucket | None, folder: Path) -> subprocess.CompletedProcess:
    """Unpickle files in another process, with or without credentials in its environment."""
    keep = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    variables = {"NUMPACK_CACHE": str(folder / "other"), **(bucket.variables if bucket else {})}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", READ, *paths],
        capture_output=True,
        text=True,
        env={**keep, "AWS_EC2_METADATA_DISABLED": "true", **variables},
        timeout=120,
    )


def test_no_secret_in_pickles(remote):
    lazy = remote.load("x", lazy=True)
    values = [remote, lazy, lazy.rows(5, 900), remote.load("dropped", lazy=True)]
    assert (lazy[5:9] == np.asarray(lazy)[5:9]).all()  # also after use
    values += [Loader(remote, "x", target="numpy"), Loader(remote, ["small"], target="numpy")]
    for value in values:
        data = pickled(value)
        if not isinstance(value, Loader):
            assert len(data) <= 1024


def test_no_secret_in_a_graph_of_dask(remote, local):
    from numpack.distributed.dask import from_store

    array = from_store(remote, "x", chunks=(5000, 128))
    pickled(dict(array.__dask_graph__()))
    assert (array.compute(scheduler="sync") == local.load("x")).all()


def test_credentials_and_endpoint_from_the_environment(bucket, url, local, monkeypatch):
    from numpack.distributed.dask import from_store

    for name, value in bucket.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("NUMPACK_CACHE", "other")
    array = from_store(url, "x", chunks=(5000, 128))
    assert (array.compute(scheduler="sync") == local.load("x")).all()


def test_no_secret_in_a_graph_of_a_lazy_array(remote, local):
    import dask.array

    array = dask.array.from_array(remote.load("x", lazy=True), chunks=(5000, 128))
    pickled(dict(array.__dask_graph__()))
    assert (array.compute(scheduler="sync") == local.load("x")).all()


def test_no_secret_in_texts_and_files(remote, open_remote, url, proxy, caplog):
    caplog.set_level(0)
    lazy = remote.load("x", lazy=True)
    lazy[:]
    texts = [repr(remote), str(remote), repr(lazy), repr(remote.get_metadata()), caplog.text]
    proxy.inject(status=403, times=float("inf"))
    for call in (lambda: remote.load("dropped"), lambda: open_remote(url, cache="other")):
        with pytest.raises(NumpackError) as caught:
            call()
        while (error := caught.value) is not None:
            texts += [str(error), repr(error), json.dumps([repr(a) for a in error.args])]
            caught._excinfo = (type(error.__cause__), error.__cause__, None)
    found = "\n".join(texts).encode()
    files = [path.read_bytes() for path in Path("cache").rglob("*") if path.is_file()]
    assert files
    for secret in SECRETS[:3]:
        assert secret not in found
        assert not any(secret in content for content in files)


def test_secrets_in_urls(web_server, url):
    """A URL with a password opens, and cannot be pickled; no text has the password."""
    address = web_server.replace("http://", "http://user:pass-word-of-tests@")
    options = {"client_options": {"allow_http": True}}
    with NumPack(f"{address}/s.npk", mode="r", storage_options=options, cache="c") as npk:
        assert "pass-word" not in repr(npk)
        assert len(npk.load("small")) == 10
        for value in (npk, npk.load("x", lazy=True)):
            with pytest.raises(Exception, match="secret|password|credential") as caught:
                pickle.dumps(value)
            assert "pass-word" not in str(caught.value)
    with pytest.raises(NumpackError) as caught:
        NumPack(f"{address}/none.npk", mode="r", storage_options=options, cache="c").open()
    assert "pass-word" not in str(caught.value)


def test_another_process_reads_with_its_own_credentials(remote, local, seaweedfs, tmp_path):
    lazy = remote.load("x", lazy=True)
    paths = []
    for number, value in enumerate((remote, lazy, lazy.rows(100, 5000))):
        paths.append(f"{number}.pickle")
        Path(paths[-1]).write_bytes(pickled(value))
    done = run(paths, seaweedfs, tmp_path)
    assert done.returncode == 0, done.stderr
    x = local.load("x")
    expected = [x.sum(), x.sum(), x[100:5000].sum()]
    np.testing.assert_allclose([float(line) for line in done.stdout.split()], expected)


def test_another_process_without_credentials_is_refused(remote, tmp_path):
    for value in (remote, remote.load("x", lazy=True)):
        Path("p.pickle").write_bytes(pickled(value))
        done = run(["p.pickle"], None, tmp_path)
        assert done.returncode == 1
        assert "StorePermissionError" in done.stderr or "RemoteError" in done.stderr
        assert SECRET not in done.stderr


def test_many_references_open_the_store_once(remote, proxy, bucket, monkeypatch):
    for name, value in bucket.variables.items():
        monkeypatch.setenv(name, value)
    lazy = remote.load("x", lazy=True)
    lazy[:]
    references = [pickle.dumps(lazy.rows(n, n + 5)) for n in range(1000)]
    with proxy.counted() as requests:
        for number, reference in enumerate(references):
            assert (pickle.loads(reference)[0] == lazy[number]).all()
    assert len(requests) <= 4


def test_a_handle_that_is_not_of_the_newest_commit(
    remote, local, seaweedfs, prefix, monkeypatch
):
    from numpack.errors import CommitWarning

    from .conftest import upload

    for name, value in seaweedfs.variables.items():
        monkeypatch.setenv(name, value)
    data = pickle.dumps(remote)
    assert (pickle.loads(data).load("small") == np.arange(10)).all()
    with NumPack("s.npk") as npk:
        npk.save({"small": np.arange(20)})
    upload(seaweedfs, "s.npk", prefix)
    with pytest.warns(CommitWarning):
        newer = pickle.loads(data)
    assert (newer.load("small") == np.arange(20)).all()
