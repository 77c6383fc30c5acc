"""The limit of the cache: files that no process uses are removed, the oldest first."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import numpack
from numpack._core.file_mapping import close_descriptors
from numpack.store.remote.cache.file import CachedFile
from numpack.store.remote.cache.location import cache_folder, default_limit
from numpack.store.remote.cache.pool import Pool

BLOCK = 1 << 20
ROOM = 1 << 16  # for the metadata of a file system


def fill(pool, name, blocks=2):
    """Keep blocks in the cache, if there is room."""
    file = pool.open("key", name, blocks * BLOCK)
    if file is None or not pool.make_room(blocks * BLOCK, lambda: None):
        return None
    for block in range(blocks):
        file.write(np.array([block]), np.full(BLOCK, block + 1, np.uint8))
    return file


def names():
    return sorted(path.stem for path in Path("cache/key").glob("*.bin"))


def pool_of(blocks):
    return Pool(os.path.abspath("cache"), blocks * BLOCK + ROOM)


def test_removes_the_least_recently_used_files():
    pool = pool_of(6)
    for name in ("a", "b", "c"):
        assert fill(pool, name) is not None
        time.sleep(0.01)
    pool.open("key", "a", 2 * BLOCK)
    assert fill(pool, "d") is not None
    assert names() == ["a", "c", "d"]
    assert sorted(path.stem for path in Path("cache/key").glob("*.have")) == names()


def test_never_removes_what_is_open():
    pool = pool_of(4)
    held = [fill(pool, name) for name in ("a", "b")]
    assert all(held)
    assert fill(pool, "c") is None
    assert {"a", "b"} <= set(names())
    child = "from numpack.store.remote.cache.file import CachedFile; "
    child += f"f = CachedFile({os.path.abspath('cache/key/a')!r}, 2 << 20); print(); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    del held
    assert fill(pool, "c") is not None
    assert names() == ["a", "c"]
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert fill(pool, "d", 4) is not None
    assert names() == ["d"]


def test_closes_what_is_open_for_speed_only():
    pool = pool_of(4)
    held = [fill(pool, name) for name in ("a", "b")]
    assert pool.make_room(2 * BLOCK, held.clear)
    assert len(names()) == 1


def test_files_of_several_stores_count_together():
    pool = pool_of(4)
    for key in ("one", "two"):
        file = pool.open(key, "a", 2 * BLOCK)
        assert pool.make_room(2 * BLOCK, lambda: None)
        file.write(np.array([0, 1]), np.ones(2 * BLOCK, np.uint8))
        del file
    assert fill(pool, "c") is not None
    assert not list(Path("cache/one").iterdir())
    assert list(Path("cache/two").iterdir())


def test_what_is_mapped_is_in_use():
    pool = pool_of(2)
    file = fill(pool, "a")
    memory = file.map()
    del file
    close_descriptors()
    assert fill(pool, "b") is None
    assert memory[0] == 1
    assert memory[-1] == 2
    del memory
    assert fill(pool, "b") is not None
    assert names() == ["b"]


def test_a_file_that_is_being_removed_is_created_again(monkeypatch):
    path = os.path.abspath("a")
    CachedFile(path, BLOCK)
    flock, calls = numpack.store.remote.cache.file.fcntl.flock, []

    def removed_meanwhile(descriptor, operation):
        if not calls:
            os.unlink("a.bin")
        calls.append(operation)
        return flock(descriptor, operation)

    monkeypatch.setattr(numpack.store.remote.cache.file.fcntl, "flock", removed_meanwhile)
    CachedFile(path, BLOCK).write(np.array([0]), np.ones(BLOCK, np.uint8))
    assert Path("a.bin").stat().st_size == BLOCK
    assert len(calls) == 2


def test_the_folder_is_for_this_user_only():
    pool_of(2).open("key", "a", 5)
    for path in ("cache", "cache/key"):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    assert stat.S_IMODE(os.stat("cache/key/a.bin").st_mode) == 0o600


def test_links_are_not_followed():
    pool = pool_of(2)
    pool.open("key", "a", 5)
    Path("cache/key/b.bin").symlink_to("/etc/passwd")
    assert pool.open("key", "b", 5) is None


def test_a_folder_that_cannot_be_created():
    Path("file").write_text("")
    folder = os.path.abspath("file/cache")
    assert Pool(folder, None).limit == 0
    with pytest.raises(numpack.StoreError, match="cache=") as error:
        Pool(folder, None, is_default=False)
    assert folder in str(error.value)


def test_where_it_is_and_how_much_it_holds(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("NUMPACK_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder(None) == "/home/someone/.cache/numpack"
    for base, folder in (
        ("/caches", "/caches/numpack"),
        ("relative", "/home/someone/.cache/numpack"),
        ("", "/home/someone/.cache/numpack"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", base)
        assert cache_folder(None) == folder
    monkeypatch.setenv("NUMPACK_CACHE", "elsewhere")
    assert cache_folder(None) == str(tmp_path / "elsewhere")
    assert cache_folder(Path("/given")) == "/given"
    monkeypatch.setenv("NUMPACK_CACHE", "")
    with pytest.raises(numpack.InvalidValueError, match="NUMPACK_CACHE"):
        cache_folder(None)
    status = os.statvfs(".")
    free = status.f_bavail * status.f_frsize
    assert abs(default_limit(".", 1 << 40) - (free + (1 << 40)) // 2) < 1 << 30
