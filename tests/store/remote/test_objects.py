"""Arrays in several objects, and errors of objects."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from support.store import remote
from support.store.remote import FolderStore, url_of

import numpack
from numpack import NumPack
from numpack.store.format.extents import ObjectMap, Run
from numpack.store.format.folder import header_text
from numpack.store.format.log.log import Log, write_new
from numpack.store.format.log.state import Catalog
from numpack.store.fs.directory import Folder
from numpack.store.kernels.checksums import checksum_blocks, crc32

BLOCK = 1 << 20


@pytest.fixture
def content(monkeypatch, tmp_path):
    """Make a store whose array is in two objects; return the array."""
    remote.install(monkeypatch)
    monkeypatch.setenv("NUMPACK_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    before = rng.integers(0, 256, (4000, 1000), dtype=np.uint8)
    with NumPack("s.npk") as npk:
        npk.save({"x": before})
    content = before.copy()
    content.reshape(-1)[BLOCK : 2 * BLOCK] = rng.integers(0, 256, BLOCK)
    content.reshape(-1)[3 * BLOCK :] = 7
    split("s.npk", content)
    return content


def split(path, content):
    """Let an array consist of the object that it has, and one of what changed since."""
    folder = Folder(str(Path(path).absolute()))
    log = Log(folder, writable=False)
    catalog, entry = log.catalog, log.catalog.arrays["x"]
    log.close()
    runs = [Run(BLOCK, 2 * BLOCK), Run(3 * BLOCK, content.nbytes)]
    sums, tail = checksum_blocks(content, 1)
    made = entry.replace(id=catalog.new_id(5), tail=tail)
    extents = ObjectMap.changed(made, ObjectMap.whole(entry), runs).to_bytes()
    made = made.replace(extents=(len(extents) // 24, crc32(extents)))
    flat = content.reshape(-1)
    parts = b"".join(flat[run.start : run.stop].tobytes() for run in runs)
    for name, data in (
        (made.data_file, parts),
        (made.checksum_file, sums),
        (made.extents_file, extents),
    ):
        Path(path, name).write_bytes(data)
    arrays = {"x": made}
    write_new(folder, Catalog(catalog.token, catalog.commit + 1, 100, arrays), durable=False)
    Path(path, "numpack.json").write_bytes(header_text(3))


def test_an_array_in_several_objects_is_read(content):
    rows = np.random.default_rng(1).integers(0, 4000, 300)
    for options in ({}, {"cache_bytes": 0}):
        with NumPack(url_of("s.npk"), mode="r", **options) as npk:
            assert (npk.getitem("x", rows) == content[rows]).all()
            assert (npk.load("x") == content).all()
            assert npk.verify()
            npk.backup(f"backup-{len(options)}.npk", verify=True)
            lazy = npk.load("x", lazy=True)
            assert (lazy[1040:1060] == content[1040:1060]).all()
            again = pickle.loads(pickle.dumps(lazy))
            assert (again.take([5, 1500, 3999]) == content[[5, 1500, 3999]]).all()
            assert again.__dask_tokenize__() == lazy.__dask_tokenize__()
    with NumPack("backup-0.npk", mode="r") as copy:
        assert (copy.load("x") == content).all()


def test_extents_and_checksums_are_read_together_and_once(content):
    with NumPack(url_of("s.npk"), mode="r", cache_bytes=0) as npk:
        store = FolderStore.opened[-1]
        npk.getitem("x", [1]), npk.getitem("x", [2]), npk.load("x")
        assert sorted(name[-4:] for kind, name, *_ in store.requests if kind == "many") == [
            ".ext",
            ".sum",
        ]


def test_damaged_lists_are_reported(content):
    (extents,) = Path("s.npk/data").glob("*.ext")
    extents.write_bytes(bytes(len(extents.read_bytes())))
    with (
        NumPack(url_of("s.npk"), mode="r") as npk,
        pytest.raises(numpack.CorruptStoreError, match="list of extents"),
    ):
        npk.load("x")
    extents.unlink()
    with (
        NumPack(url_of("s.npk"), mode="r") as npk,
        pytest.raises(numpack.MovedError, match=r"\.ext is missing"),
    ):
        npk.load("x")


def test_truncated_checksums_are_reported(content):
    sums = max(Path("s.npk/data").glob("*.sum"))
    sums.write_bytes(sums.read_bytes()[:5])
    truncated = pytest.raises(numpack.CorruptStoreError, match=r"checksums .* are truncated")
    with NumPack(url_of("s.npk"), mode="r") as npk, truncated:
        npk.load("x")


def test_a_block_that_is_damaged_in_the_object_store(content):
    path = max(Path("s.npk/data").glob("*.bin"))
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with NumPack(url_of("s.npk"), mode="r") as npk:
        with pytest.raises(numpack.CorruptStoreError, match=r"'x'.*block 1 .*publish"):
            npk.load("x")
        assert (npk.load("x", lazy=True)[0] == content[0]).all()
        (damage,) = npk.verify().damaged
        assert (damage.array, damage.block) == ("x", 1)


def test_an_object_that_is_too_short(content):
    path = max(Path("s.npk/data").glob("*.bin"))
    path.write_bytes(path.read_bytes()[:1000])
    with NumPack(url_of("s.npk"), mode="r") as npk:
        for use in (lambda: npk.load("x"), lambda: npk.load("x", lazy=True)[1500]):
            with pytest.raises(numpack.CorruptStoreError, match=r"'x'.*ends before.*publish"):
                use()
        assert npk.verify().damaged[0].array == "x"
