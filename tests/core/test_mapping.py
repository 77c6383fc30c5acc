"""What the kernel says is mapped where: asked for a range, and read from its table."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from numpack import explain
from numpack._core import mapped_files


@pytest.fixture
def mapped(tmp_path):
    """An array over a file whose name needs care, mapped read-only."""
    path = tmp_path / "odd \n näme.bin"
    path.write_bytes(bytes(range(256)) * 64)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ), np.uint8)


def test_the_kernel_tells_of_a_range_what_is_in_its_table(mapped):
    lowest = mapped.ctypes.data
    asked = mapped_files.mappings_between(lowest, lowest + mapped.nbytes)
    table = [r for r in mapped_files._regions() if r.start < lowest + mapped.nbytes]
    table = [r for r in table if lowest < r.end]
    assert len(table) == 1
    if asked is not None:  # from Linux 6.11 on
        assert [mapped_files._Region(*each) for each in asked] == table


def test_all_of_the_table_can_be_asked_for():
    asked = mapped_files.mappings_between(0, 1 << 47)
    if asked is None:
        return
    known = {(r.start, r.end, r.writable, r.shared, r.path) for r in mapped_files._regions()}
    told = {(r[0], r[1], r[2], r[3], r[7]) for r in asked}
    assert len(told - known) <= 2  # what came or grew in between
    assert mapped_files.mappings_between(1 << 40, (1 << 40) + 1) == []


def test_what_is_empty_has_no_mapping():
    assert mapped_files._regions_between(4096, 4096) == []


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "read"])
def test_older_kernels_are_read_from_their_table(asked, mapped, monkeypatch):
    if not asked:
        monkeypatch.setattr(mapped_files, "mappings_between", lambda *_: None)
    backing = mapped_files.backing_of(mapped)
    assert not backing.safe
    again = backing.for_writer()
    again[0] = 99
    assert again[1:].tolist() == mapped[1:].tolist()
    assert mapped[0] == 0
    assert explain(mapped, "dlpack").steps[-1].action == "mapped copy-on-write"


def test_a_byte_of_a_file_is_the_same_wherever_it_is_mapped(mapped):
    again = mapped_files.backing_of(mapped).for_writer()
    place = mapped[100:].ctypes.data
    assert mapped_files.is_same_memory(place, place)
    assert mapped_files.is_same_memory(place, again[100:].ctypes.data)
    assert not mapped_files.is_same_memory(place, again[101:].ctypes.data)
    heap = np.zeros(8)
    assert not mapped_files.is_same_memory(place, heap.ctypes.data)
    assert not mapped_files.is_same_memory(heap.ctypes.data, heap[1:].ctypes.data)
