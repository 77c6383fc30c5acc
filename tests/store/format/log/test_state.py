"""The arrays that the log describes."""

from __future__ import annotations

import numpy as np
import pytest
from support.store import hostile
from support.store.hostile import TOKEN, entry, snapshot

from numpack.store.format.log import log, records
from numpack.store.format.log.state import Catalog, Entry, LogCursor

ROWS = np.arange(6.0).reshape(3, 2)


def test_state_is_immutable():
    entry = Entry("00000001-abcdef01", "<f8", (3, 2), 7, tail=9, revision=4)
    for what in (entry, Catalog("abcdef01", 1), LogCursor(3, 64, False, 64, 0, Catalog())):
        for name in (each for each in dir(what) if not each.startswith("_")):
            with pytest.raises(AttributeError):
                setattr(what, name, None)
    changed = entry.replace(tail=1, dropped=2)
    assert (changed.tail, changed.shape, changed.revision) == (1, (1, 2), 4)
    assert changed != entry == entry.replace()
    assert repr(entry).startswith("Entry(id='00000001-abcdef01', code='<f8', stored=(3, 2)")
    with pytest.raises(TypeError):
        entry.replace(rows=3)


def test_records_change_the_fields_that_they_name():
    entry = Entry("00000001-abcdef01", "<f8", (3, 2), 7, 9, 1, 2, 3, True)
    same = entry.replace(modified=8)
    assert entry.with_changes({}, 8) == same
    fields = {"tail": 1, "dropped": 2, "dropped_crc32": 3, "revision": 4, "writable": False}
    for member, value in fields.items():
        name = {"dropped_crc32": "dropped_crc"}.get(member, member)
        assert entry.with_changes({member: value}, 8) == same.replace(**{name: value})
    assert entry.with_changes({"rows": 5}, 8) == same.replace(stored=(5, 2))


def test_long_names_are_not_cached(store):
    for number in range(20):
        name = f"{number}" * 300
        store.save({name: ROWS})
        store.append({name: ROWS})
    assert max(map(len, log._keys), default=0) < 200


def test_snapshot_checks_agree_with_checks_of_single_entries():
    state = Catalog(TOKEN, 1, 9, {})
    bad = [*hostile.BAD, *hostile.IDS, *hostile.DTYPES, [4, 4], 5, 2**32 - 1, "<f8"]
    for key in ("id", "dtype", "shape", "tail", "modified_us"):
        for value in bad:
            record = entry(b"", shape=[4], tail=7) | {key: value}
            assert _outcome(lambda r=record: records.snapshot(snapshot({"x": r}))) == _outcome(
                lambda r=record: _one_by_one(r, state)
            ), (key, value)


def _one_by_one(record, state):
    time = records.natural(record, "modified_us")
    made = records.entry("x", record, time, token=state.token, next_id=9, commit=1)
    return Catalog(state.token, state.commit, state.next_id, {"x": made})


def _outcome(call) -> str:
    try:
        return repr(call())
    except ValueError as error:
        return str(error)
