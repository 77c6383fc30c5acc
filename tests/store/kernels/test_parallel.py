"""Kernels that use several threads: the same result whichever threads do the work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each

from numpack.store.kernels.checksums import checksum_blocks, crc32, read_into
from numpack.store.kernels.deleted import copy_live
from numpack.store.kernels.gather import gather_rows

BLOCK = 1 << 20
SPIN = "print(flush=True)\nwhile True: pass"


@pytest.fixture
def busy():
    """Occupy all cores with other processes."""
    cores = len(os.sched_getaffinity(0))
    command = [sys.executable, "-c", SPIN]
    spinning = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(cores)]
    for process in spinning:
        process.stdout.readline()
    yield
    for process in spinning:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).integers(0, 256, (60_000, 512), np.uint8)


def gathered(rows, threads):
    numbers = np.random.default_rng(1).integers(-len(rows), len(rows), 50_000)
    return gather_rows(rows, numbers), rows[numbers]


def checksums(rows, threads):
    data = rows.reshape(-1)[: 17 * BLOCK + 5]
    whole = [crc32(data[i : i + BLOCK]) for i in range(0, 17 * BLOCK, BLOCK)]
    expected = np.array(whole, "<u4").tobytes(), crc32(data[17 * BLOCK :])
    return checksum_blocks(data, threads), expected


def read(rows, threads):
    Path("rows.bin").write_bytes(rows)
    fresh = np.zeros(rows.nbytes + 100, np.uint8)
    with Path("rows.bin").open("rb") as file:
        assert read_into(file.fileno(), fresh, 0, threads) == rows.nbytes
    return fresh[:-100], rows.reshape(-1)


def live(rows, threads):
    dropped = np.sort(np.random.default_rng(2).permutation(len(rows))[:3000])
    fresh = np.zeros((len(rows) - 3000, 512), np.uint8)
    copy_live(rows.reshape(-1), 512, dropped, 0, 0, fresh.reshape(-1), threads)
    return fresh, np.delete(rows, dropped, axis=0)


WORK = (gathered, checksums, read, live)


def check(work, rows, threads):
    found, expected = work(rows, threads)
    assert (
        np.array_equal(found, expected) if isinstance(found, np.ndarray) else found == expected
    )


@for_each("work", WORK)
@for_each("threads", [1, 2, 3, 16, 100])
def test_result_does_not_depend_on_the_number_of_threads(rows, work, threads):
    check(work, rows, threads)


@for_each("work", WORK)
def test_result_is_the_same_if_other_processes_occupy_all_cores(busy, rows, work):
    for _ in range(3):
        check(work, rows, 4)


def test_rows_are_gathered_on_one_core(rows):
    def on_one_core():
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # of this thread only
        check(gathered, rows, 1)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(on_one_core).result()


def test_concurrent_calls_do_not_disturb_each_other(busy, rows):
    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(check, work, rows, 3) for work in (gathered, checksums, live) * 6]
        for each in done:
            each.result()


def test_a_forked_child_uses_threads_of_its_own(rows):
    stop = threading.Event()

    def gather_all_the_time():
        while not stop.is_set():
            gathered(rows, 2)

    thread = threading.Thread(target=gather_all_the_time)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if not child:
                try:
                    check(gathered, rows, 2)
                    check(checksums, rows, 2)
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()
