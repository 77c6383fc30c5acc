"""The table of memory mappings: queried for a range, and read from /proc/self/maps."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from numpack import explain
from numpack._core import mapped_files


@pytest.fixture
def mapped(tmp_path):
    """Return a read-only mapped array over a file whose name has unusual characters."""
    path = tmp_path / "odd \n näme.bin"
    path.write_bytes(bytes(range(256)) * 64)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ), np.uint8)


def test_query_of_a_range_agrees_with_the_table(mapped):
    lowest = mapped.ctypes.data
    queried = mapped_files.mappings_between(lowest, lowest + mapped.nbytes)
    table = [r for r in mapped_files._regions() if r.start < lowest + mapped.nbytes]
    table = [r for r in table if lowest < r.end]
    assert len(table) == 1
    if queried is not None:  # Linux 6.11 or newer
        assert [mapped_files._Region(*each) for each in queried] == table


def test_query_of_the_whole_address_space_agrees_with_the_table():
    queried = mapped_files.mappings_between(0, 1 << 47)
    if queried is None:
        return
    known = {(r.start, r.end, r.writable, r.shared, r.path) for r in mapped_files._regions()}
    returned = {(r[0], r[1], r[2], r[3], r[7]) for r in queried}
    assert len(returned - known) <= 2  # mappings that were created or grew in between
    assert mapped_files.mappings_between(1 << 40, (1 << 40) + 1) == []


def test_empty_range_has_no_mapping():
    assert mapped_files._regions_between(4096, 4096) == []


@pytest.mark.parametrize("queried", [True, False], ids=["queried", "read"])
def test_table_is_read_if_the_query_is_unavailable(queried, mapped, monkeypatch):
    if not queried:
        monkeypatch.setattr(mapped_files, "mappings_between", lambda *_: None)
    backing = mapped_files.backing_of(mapped)
    assert not backing.safe
    again = backing.for_writer()
    again[0] = 99
    assert again[1:].tolist() == mapped[1:].tolist()
    assert mapped[0] == 0
    assert explain(mapped, "dlpack").steps[-1].action == "mapped copy-on-write"


def test_is_same_memory_compares_positions_in_files(mapped):
    again = mapped_files.backing_of(mapped).for_writer()
    place = mapped[100:].ctypes.data
    assert mapped_files.is_same_memory(place, place)
    assert mapped_files.is_same_memory(place, again[100:].ctypes.data)
    assert not mapped_files.is_same_memory(place, again[101:].ctypes.data)
    heap = np.zeros(8)
    assert not mapped_files.is_same_memory(place, heap.ctypes.data)
    assert not mapped_files.is_same_memory(heap.ctypes.data, heap[1:].ctypes.data)
