"""One cache and many processes: killed, on full disks, forked, with damage in between."""

import random
import time
from pathlib import Path

import pytest
from support.crash.remote_readers import content

from numpack import NumPack

pytestmark = pytest.mark.system


@pytest.fixture
def start(start_module, tmp_path):
    """Make the store, and return a function that starts readers of it."""
    with NumPack("s.npk") as npk:
        npk.save({"rows": content()})
    cache = {"NUMPACK_CACHE": str(tmp_path / "cache"), "NUMPACK_CACHE_BYTES": str(1 << 30)}
    return lambda *command, **env: start_module(
        "support.crash.remote_readers", *command, **{**cache, **env}
    )


def cached_file():
    return next(Path("cache").glob("*/*.bin"), None)


def flip(rng):
    """Flip a byte of the cache, as a disk might."""
    if (path := cached_file()) is not None:
        with path.open("r+b") as file:
            at = rng.randrange(3_000_000)
            file.seek(at)
            byte = file.read(1) or b"\0"
            file.seek(at)
            file.write(bytes([byte[0] ^ 1 << rng.randrange(8)]))


def test_four_processes_fill_it_and_are_killed_at_random(start, thorough):
    rng = random.Random(4)
    deadline = time.monotonic() + (60 if thorough else 8)
    readers = [start("read", str(seed)) for seed in range(4)]
    killed = 0
    while time.monotonic() < deadline:
        time.sleep(rng.random())
        at = rng.randrange(4)
        assert readers[at].poll() is None  # a value that is wrong ends the process
        readers[at].kill()
        readers[at].wait()
        killed += 1
        if killed % 3 == 0 and cached_file() is not None:
            cached_file().unlink()  # as another process that makes room
        readers[at] = start("read", str(10 + killed))
    for each in readers:
        assert each.poll() is None
    assert killed >= 4


def test_flipped_bytes_are_found_by_the_next_process(start):
    rng = random.Random(5)
    for number in range(6):
        reader = start("read", str(number))
        for _ in range(3):
            assert reader.stdout.readline() == "read\n"
        reader.kill()
        reader.wait()
        for _ in range(5):
            flip(rng)


def test_a_limit_of_the_size_of_files_is_like_a_full_disk(start):
    for limit in (1 << 16, 2_000_000, 1 << 22):
        reader = start("limited", str(limit))
        assert reader.wait(60) == 0
        assert reader.stdout.read().count("read") == 20


def test_a_full_disk_is_read_around(start, tmp_path):
    small = tmp_path / "small"
    reader = start(
        "limited", str(1 << 22), NUMPACK_CACHE=str(small), NUMPACK_CACHE_BYTES="1500000"
    )
    assert reader.wait(60) == 0
    assert sum(path.stat().st_blocks * 512 for path in small.rglob("*.bin")) < 2_000_000


def test_a_fork_after_use_reads_on(start):
    reader = start("forked")
    assert reader.wait(30) == 0
    assert reader.stdout.read() == "forked\n"
