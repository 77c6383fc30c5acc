"""Random kills and concurrent processes: no commit is lost or seen in part."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
from support.crash import concurrent_processes
from support.files import contents

from numpack import NumPack
from numpack.store.format.log import log

pytestmark = pytest.mark.system


def test_kill_at_a_random_moment_leaves_the_state_before_or_after_a_change(
    start_module, thorough, done
):
    kills, seed = (1500, random.randrange(1000)) if thorough else (60, 1)
    process = start_module("support.crash.history", str(kills), str(seed))
    output = process.communicate()[0]
    assert process.returncode == 0, f"seed {seed}"
    changes, inside = map(int, output.split())
    assert changes > kills // 2
    assert inside > kills // 10, "the kills do not strike inside of a change"
    done["kills at a random moment"] += kills
    done["changes between them"] += changes


def test_concurrent_writers_and_readers_with_kills(start_module, thorough, done):
    seconds = 60 if thorough else 4
    concurrent_processes.build()
    readers = [
        start_module("support.crash.concurrent_processes", "read", str(me), str(seconds))
        for me in (10, 11)
    ]
    numbers_committed, until, me = {}, time.monotonic() + seconds, 0
    lasting = start_module("support.crash.concurrent_processes", "write", "99", str(seconds))
    while time.monotonic() < until:  # start and kill one writer after the other
        writer = start_module("support.crash.concurrent_processes", "write", str(me), "60")
        time.sleep(0.5 + random.random() * 0.3)
        writer.kill()
        numbers_committed[me] = [int(line) for line in writer.communicate()[0].splitlines()]
        me += 1
    numbers_committed[99] = [int(line) for line in lasting.communicate()[0].splitlines()]
    reads = [int(reader.communicate()[0]) for reader in readers]
    assert [each.returncode for each in (lasting, *readers)] == [0, 0, 0]
    assert min(reads) > 10
    with NumPack("s.npk") as store:
        x, y = store.load("x", verify=True), store.load("y", verify=True)
        assert store.verify().ok
    assert np.array_equal(x, y)
    for each, numbers in numbers_committed.items():
        found = x[x[:, 0] == each, 1].tolist()
        assert found == list(range(len(found)))
        assert len(numbers) <= len(found) <= len(numbers) + 1, "a commit was lost"
    done["kills of writers among others"] += me
    done["looks of readers beside writers"] += sum(reads)


def bytes_read() -> int:
    """Return the number of bytes that this process has read so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_log_and_opening_stay_small_after_a_long_history(thorough, done):
    appends = 1_000_000 if thorough else 20_000
    with NumPack("s.npk") as store:
        store.save({"x": np.zeros(0, np.int64), "y": np.zeros(3)})
        for number in range(appends):
            store.append({"x": np.array([number])})
    files = {name: len(data) for name, data in contents().items()}
    assert files["commits.log"] <= log._COMPACT_BYTES + 64 * 1024
    assert files.keys() == {"numpack.json", "commits.log", "lock"} | {
        name for name in files if name.endswith(".bin")
    } | {name for name in files if name.endswith(".sum")}
    with NumPack("s.npk", mode="r") as store:
        store.close()
        before = bytes_read()
        store.open()
        assert store.get_shape("x") == (appends,)
        assert 0 < bytes_read() - before < 30 * 1024
        assert np.array_equal(store.load("x", verify=True), np.arange(appends))
        assert store.verify().ok
    done["appends in one history"] += appends
