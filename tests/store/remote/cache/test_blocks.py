"""Blocks of an array: fetched once, verified before they are used, kept where there is room."""

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest

import numpack
from numpack.store.fs import forks
from numpack.store.kernels.checksums import BLOCK, checksum_blocks
from numpack.store.remote.cache.blocks import ArrayBlocks
from numpack.store.remote.cache.file import CachedFile
from numpack.store.remote.cache.pool import NoRoomError, Pool

NBYTES = 5 * BLOCK + 1000


class Objects:
    """An array in memory, which counts what is fetched of it."""

    nbytes = NBYTES
    name = "00000001-0123abcd-digest"

    class entry:
        data_file = "data/00000001-0123abcd.bin"

    def __init__(self) -> None:
        self.content = np.random.default_rng(0).integers(0, 256, NBYTES, dtype=np.uint8)
        self.ranges: list[tuple[int, int]] = []
        self.damage = 0  # reads that are damaged

    def read(self, starts, ends, out):
        pairs = list(zip(starts.tolist(), ends.tolist(), strict=True))
        self.ranges += pairs
        out[:] = np.concatenate([self.content[start:end] for start, end in pairs])
        if self.damage:
            self.damage -= 1
            out[-1] ^= 1

    def checksums(self):
        whole, tail = checksum_blocks(self.content, 1)
        return np.append(np.frombuffer(whole, "<u4"), np.uint32(tail))

    def digest(self):
        return b"digest"

    def damaged_error(self, block):
        return numpack.CorruptStoreError(f"block {block} is damaged")


def make(limit=1 << 30, objects=None):
    objects = objects or Objects()
    return ArrayBlocks(objects, Pool(os.path.abspath("cache"), limit), "key"), objects


def numbers(*blocks):
    return np.array(blocks, np.int64)


def files(ending=".bin"):
    return list(Path("cache/key").glob(f"*{ending}"))


def test_fetches_blocks_once_and_together():
    blocks, objects = make()
    blocks.ensure(numbers(1, 2, 4))
    blocks.ensure(numbers(1, 2))
    assert objects.ranges == [(BLOCK, 3 * BLOCK), (4 * BLOCK, 5 * BLOCK)]
    memory = blocks.file.map()
    assert (memory[BLOCK : 3 * BLOCK] == objects.content[BLOCK : 3 * BLOCK]).all()
    assert not blocks.is_complete
    blocks.ensure_bytes(0, NBYTES)
    assert blocks.is_complete
    assert (memory == objects.content).all()
    assert sum(end - start for start, end in objects.ranges) == NBYTES


def test_another_process_verifies_what_it_finds():
    make()[0].ensure(numbers(0, 5))
    blocks, objects = make()
    assert blocks.are_verified(numbers(0, 1, 5)).tolist() == [True, False, True]
    assert not objects.ranges


def test_a_flipped_byte_is_fetched_again():
    make()[0].ensure_bytes(0, NBYTES)
    (path,) = files()
    for at in (5, BLOCK - 1, 3 * BLOCK, NBYTES - 1):
        content = bytearray(path.read_bytes())
        content[at] ^= 0x40
        path.write_bytes(content)
        blocks, objects = make()
        blocks.ensure_bytes(0, NBYTES)
        block = at // BLOCK
        assert objects.ranges == [(block * BLOCK, min((block + 1) * BLOCK, NBYTES))]
        assert (blocks.file.map() == objects.content).all()


def test_hints_that_are_wrong_do_no_harm():
    make()[0].ensure(numbers(0))
    (hints,) = files(".have")
    for content in (b"\1" * 6, b"", b"\2\1\0\xff", os.urandom(100)):
        hints.write_bytes(content)
        blocks, objects = make()
        blocks.ensure_bytes(0, NBYTES)
        assert (blocks.file.map() == objects.content).all()


def test_damage_on_the_way_is_fetched_again_and_then_raised():
    blocks, objects = make()
    objects.damage = 1
    blocks.ensure(numbers(0, 1))
    assert objects.ranges == [(0, 2 * BLOCK), (BLOCK, 2 * BLOCK)]
    objects.damage = 2
    with pytest.raises(numpack.CorruptStoreError, match="block 3"):
        blocks.ensure(numbers(3))
    assert not blocks.verified()[3]
    blocks.ensure(numbers(3))
    assert blocks.verified()[3]


def test_reads_into_memory_with_and_without_room():
    for limit in (1 << 30, NBYTES - 1, 0):
        blocks, objects = make(limit)
        for start, stop in (
            (0, NBYTES),
            (5, 6),
            (BLOCK - 3, 2 * BLOCK + 7),
            (NBYTES - 1, NBYTES),
        ):
            out = np.zeros(stop - start, np.uint8)
            assert sum(blocks.read(start, stop, out)) == stop - start
            assert (out == objects.content[start:stop]).all(), (limit, start, stop)


def test_without_room_blocks_are_not_kept():
    blocks, objects = make(NBYTES - 1)
    assert not blocks.has_room()
    assert blocks.file is None
    with pytest.raises(NoRoomError, match=r"limited to 5,243,879 bytes.*larger cache_bytes="):
        blocks.ensure(numbers(0))
    assert not objects.ranges
    with pytest.raises(NoRoomError, match="there is no cache"):
        make(0)[0].ensure(numbers(0))


def test_a_full_disk_ends_the_keeping_not_the_reading(monkeypatch):
    blocks, objects = make()
    blocks.ensure(numbers(0))
    write, count = os.pwrite, 0

    def fail_later(descriptor, data, offset):
        nonlocal count
        count += 1
        if count > 2:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, bytes(data)[:1000], offset)

    monkeypatch.setattr(os, "pwrite", fail_later)
    with pytest.raises(NoRoomError, match="disk of the cache .* is full"):
        blocks.ensure(numbers(1, 2))
    out = np.zeros(NBYTES, np.uint8)
    list(blocks.read(0, NBYTES, out))
    assert (out == objects.content).all()
    assert blocks.verified()[:3].tolist() == [True, False, False]
    monkeypatch.undo()
    again, objects = make()
    assert again.are_verified(numbers(0, 1, 2)).tolist() == [True, False, False]
    again.ensure_bytes(0, NBYTES)
    assert (again.file.map() == objects.content).all()


def test_threads_fetch_each_block_once():
    blocks, objects = make()
    barrier = threading.Barrier(8)

    def run(seed):
        order = np.random.default_rng(seed).permutation(6)
        barrier.wait()
        for block in order:
            blocks.ensure(numbers(*sorted({int(block), int(order[0])})))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert blocks.is_complete
    assert sum(end - start for start, end in objects.ranges) == NBYTES


def test_a_thread_goes_on_where_another_failed():
    blocks, objects = make()
    begun, go = threading.Event(), threading.Event()
    read, failed = objects.read, []

    def fail(starts, ends, out):
        objects.read = read
        begun.set()
        go.wait(10)
        raise numpack.errors.RemoteError("lost")

    def first():
        try:
            blocks.ensure(numbers(2))
        except numpack.errors.RemoteError as error:
            failed.append(error)

    objects.read = fail
    one = threading.Thread(target=first)
    one.start()
    begun.wait(10)
    two = threading.Thread(target=blocks.ensure, args=(numbers(2, 3),))
    two.start()
    go.set()
    one.join(10)
    two.join(10)
    assert failed
    assert blocks.verified()[[2, 3]].all()


def test_a_forked_child_waits_for_no_thread_of_the_parent():
    blocks, _ = make()
    blocks._claimed[:] = True
    assert blocks in forks.registered()
    blocks.after_fork()
    blocks.ensure(numbers(1))
    assert blocks.verified()[1]


def test_has_room_counts_what_is_missing():
    blocks, _ = make(NBYTES + (1 << 16))
    assert blocks.has_room()
    other = CachedFile(os.path.abspath("cache/key/other"), 3 * BLOCK)
    other.write(numbers(0, 1, 2), np.ones(3 * BLOCK, np.uint8))
    blocks, _ = make(NBYTES + (1 << 16))
    assert not blocks.has_room()
    del other
    assert blocks.has_room()
