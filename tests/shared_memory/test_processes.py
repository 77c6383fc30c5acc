"""Shared arrays in several processes: each sees what the others write, and nothing remains."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest

from numpack import MovedError, SharedArray

COUNT = 1 << 17  # float64, a megabyte
METHODS = ["fork", "spawn", "forkserver"]


def write_and_return(array: np.ndarray, row: int) -> tuple[int, float, bool, int]:
    """Write to an array in another process."""
    array[row] = row + 1
    return os.getpid(), float(array[0]), array.flags.writeable, len(pickle.dumps(array))


def send_back(connection, array: np.ndarray) -> None:
    """Send a part of an array, and a new one, on; keep both until told to end."""
    own = SharedArray(10)
    own[:] = 3
    connection.send((array[5:], own))
    connection.recv()


def use_until_killed(connection, array: np.ndarray) -> None:
    """Write to an array until this process is killed."""
    connection.send(os.getpid())
    while True:
        array += 1


def create_and_wait(connection) -> None:
    """Create an array, send it, and wait."""
    array = SharedArray(COUNT)
    array[:] = 4
    connection.send(array)
    connection.recv()


def shared_memory_of(pid: int | str = "self") -> list[str]:
    """Return the descriptors and mappings of shared arrays that a process has."""
    links = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        links += [os.readlink(path)] if os.path.lexists(path) else []
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [each for each in links + maps if "memfd:numpack" in each]


@pytest.mark.parametrize("method", METHODS)
def test_pool_writes_to_the_same_memory(method):
    array = SharedArray(COUNT)
    array[0] = 42
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.starmap(write_and_return, [(array, row) for row in range(1, 9)])
        frozen = array[:]
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            pool.apply(write_and_return, (frozen, 3))
    assert array[:9].tolist() == [42, *range(2, 10)]
    assert {pid for pid, *_ in found}.isdisjoint({os.getpid()})
    assert {seen for _, seen, *_ in found} == {42.0}
    assert all(writable and length < 300 for *_, writable, length in found)


@pytest.mark.parametrize("method", METHODS)
def test_child_sends_what_it_has_mapped_and_what_it_made(method):
    context = multiprocessing.get_context(method)
    array = SharedArray(COUNT)
    here, there = context.Pipe()
    child = context.Process(target=send_back, args=(there, array))
    child.start()
    part, own = here.recv()
    here.send("end")
    child.join()
    part[0] = 8
    assert array[5] == 8
    assert own.tolist() == [3] * 10  # its creator has ended
    assert pickle.loads(pickle.dumps(own)).sum() == 30


def test_forked_child_inherits_the_memory():
    array = SharedArray(COUNT)
    child = os.fork()
    if child == 0:
        array[3] = 5
        again = pickle.loads(pickle.dumps(array))
        mine = array.__reduce_ex__(5)[1][2] == os.getpid()
        os._exit(0 if mine and again[3] == 5 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert array[3] == 5


def test_user_that_is_killed_takes_nothing_along():
    context = multiprocessing.get_context("spawn")
    array = SharedArray(COUNT)
    here, there = context.Pipe()
    child = context.Process(target=use_until_killed, args=(there, array))
    child.start()
    here.recv()
    while not array[0]:
        pass
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert array[0] >= 1
    array[:] = 9
    assert pickle.loads(pickle.dumps(array)).sum() == 9 * COUNT


def test_creator_that_is_killed_leaves_the_memory_to_its_users_and_nothing_else():
    gc.collect()
    before, named = shared_memory_of(), sorted(os.listdir("/dev/shm"))
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=create_and_wait, args=(there,))
    child.start()
    array = here.recv()
    pickled = pickle.dumps(array)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert array.sum() == 4 * COUNT
    assert pickle.loads(pickled).sum() == 4 * COUNT
    del array
    gc.collect()
    with pytest.raises(MovedError):
        pickle.loads(pickled)
    assert shared_memory_of() == before
    assert sorted(os.listdir("/dev/shm")) == named


def test_process_that_unpickled_releases_the_memory():
    array = SharedArray(COUNT)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (pid, *_) = pool.apply(write_and_return, (array, 1))
        pool.apply(gc.collect)
        assert shared_memory_of(pid) == []
