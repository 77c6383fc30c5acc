"""Logs with valid checksums and false claims."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.store import hostile
from support.store.hostile import CALLS, CHANGES, ID, entry, line, snapshot

from numpack import CorruptStoreError, NumPack

DATA = f"data/{ID}.bin"
STORE = Path("s.npk")


def write(*lines, **files: bytes) -> None:
    hostile.write(STORE, *lines, files=files.get("files"))


def test_malformed_logs_raise_only_errors_of_the_package(run_python, thorough):
    step = 1 if thorough else 5
    script = "import sys; from support.store.hostile import main; main()"
    out = run_python(script, "150", str(step))
    found = json.loads(out.splitlines()[-1])
    assert found["wrong"] == []
    assert found["stores"] > 1500 // step
    assert found["slowest"][1] < 20, found["slowest"]


SHAPES = ([-1], [2**63], [0, 2**63], [2**40, 2**40], [1.0], [True], [None], "4", {"4": 4})


@for_each("shape", SHAPES)
def test_array_of_impossible_shape_is_refused_and_others_are_read(shape):
    other = entry(id=hostile.OTHER_ID)
    files = {DATA: bytes(16), f"data/{hostile.OTHER_ID}.bin": bytes(16)}
    write(snapshot({"x": entry(shape=shape), "y": other}), files=files)
    with NumPack(STORE) as store:
        assert list(store) == ["x", "y"]
        unaffected = "list", "verify", "save", "save another", "drop", "reset"
        unaffected += ("attributes of the store",)
        for name, call in (CALLS | CHANGES).items():
            if name not in unaffected:
                with pytest.raises(CorruptStoreError, match="drop the array"):
                    call(store)
        assert not store.verify()
        assert store.load("y").tolist() == [0] * 16
        store.append({"y": np.ones(1, "u1")})
        assert (STORE / DATA).exists(), "the files of an array that cannot be used are its own"
        store.drop("x")
        assert not (STORE / DATA).exists()
        assert store.verify()


def test_duplicate_json_member_is_reported():
    body = line(snapshot({"x": entry()})).replace(b'"next_id":9', b'"next_id":8,"next_id":9')
    write(hostile.checked(body[: body.rindex(b',"crc32"')]), files={DATA: bytes(16)})
    with NumPack(STORE, mode="r") as store:
        assert store.load("x").tolist() == [0] * 16
        assert "twice" in str(store.verify())


@for_each("numbers", [[-1], [16], [2**62], [0, 0], [3, 3], [3, 1, 3]])
def test_deleted_row_list_out_of_range_or_with_duplicates_is_refused(numbers):
    listed = np.array(numbers, "<i8").tobytes()
    dropped = {"dropped": len(numbers), "dropped_crc32": zlib.crc32(listed)}
    files = {DATA: bytes(16), f"data/{ID}.del": listed}
    write(snapshot({"x": entry(**dropped)}), files=files)
    with NumPack(STORE) as store:
        for name in ("load", "lazy", "getitem", "stream_load", "load verified"):
            with pytest.raises(CorruptStoreError):
                CALLS[name](store)
        for name in ("replace", "drop rows", "update", "clone"):
            with pytest.raises(CorruptStoreError):
                CHANGES[name](store)
        assert not store.verify()
