"""Logs that NumPack wrote, and one that is written by hand."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from support.store.hostile import header_line, line

from numpack import NumPack

LOG = Path("s.npk/commits.log")
ROWS = np.arange(6.0).reshape(3, 2)
RECORD = {"id": "00000007-0123abcd", "dtype": "<f8", "shape": [3, 2], "tail": 0}
SNAPSHOT = {"store": "0123abcd", "commit": 4, "next_id": 9}


@pytest.fixture
def history():
    """Create and close a store with a few commits of every kind."""
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "y": np.zeros(3, "u1")})
        store.append({"x": ROWS})
        store.drop("y")
        store.save({"z": ROWS})


@pytest.fixture
def hand_written(store):
    """Create a store with a hand-written log; return its lines."""
    store.close()
    Path("s.npk/data/00000007-0123abcd.bin").write_bytes(3 * ROWS.tobytes())
    arrays = {"x": {**RECORD, "tail": zlib.crc32(ROWS.tobytes()), "modified_us": 5}}
    lines = [header_line(4), line({**SNAPSHOT, "arrays": arrays})]
    for number, rows in enumerate((6, 9), 5):
        tail = zlib.crc32(rows // 3 * ROWS.tobytes())
        change = {"x": {"rows": rows, "tail": tail}}
        lines.append(line({"commit": number, "time_us": 7, "set": change}))
    LOG.write_bytes(b"".join(lines))
    return lines
