"""The lines of the log: what they record."""

from __future__ import annotations

import json
import os
import re
import zlib
from pathlib import Path

import numpy as np

from numpack import NumPack

LOG = Path("s.npk/commits.log")
ROWS = np.arange(6.0).reshape(3, 2)


def data_files() -> set[str]:
    return set(os.listdir("s.npk/data"))


def test_each_line_is_json_that_ends_with_its_checksum(history):
    lines = LOG.read_bytes().splitlines(keepends=True)
    assert len(lines) > 5
    for each in lines:
        body, check, rest = each.partition(b',"crc32":"')
        assert check
        assert rest == b'%08x"}\n' % zlib.crc32(body)
        assert json.loads(each)["crc32"] == f"{zlib.crc32(body):08x}"
        assert each.isascii()
    assert len(lines[0]) == 64


def test_lines_record_the_commits(history):
    header_line, first, *lines = map(json.loads, LOG.read_bytes().splitlines())
    assert (header_line["numpack"], header_line["commits"]) == (1, 4)
    token = first["store"]
    assert re.fullmatch("[0-9a-f]{8}", token)
    assert first.keys() == {"store", "commit", "next_id", "arrays", "crc32"}
    assert (first["commit"], first["next_id"], first["arrays"]) == (0, 1, {})
    commits = [line for line in lines if "store" not in line]
    assert [commit["commit"] for commit in commits] == [1, 2, 3, 4]
    times = [commit["time_us"] for commit in commits]
    assert times == sorted(times)
    assert commits[0]["put"] == {
        "x": {
            "id": f"00000001-{token}",
            "dtype": "<f8",
            "shape": [3, 2],
            "tail": zlib.crc32(ROWS.tobytes()),
        },
        "y": {
            "id": f"00000002-{token}",
            "dtype": "|u1",
            "shape": [3],
            "tail": zlib.crc32(bytes(3)),
        },
    }
    assert commits[1]["set"] == {"x": {"rows": 6, "tail": zlib.crc32(2 * ROWS.tobytes())}}
    assert commits[2]["drop"] == ["y"]
    assert commits[3]["put"]["z"]["id"] == f"00000003-{token}"


def test_snapshot_holds_the_state_of_the_commits_before_it(history):
    *_, last = map(json.loads, LOG.read_bytes().splitlines())
    assert last.keys() == {"store", "commit", "next_id", "arrays", "crc32"}
    assert (last["commit"], last["next_id"]) == (4, 4)
    assert {name: each["shape"] for name, each in last["arrays"].items()} == {
        "x": [6, 2],
        "z": [3, 2],
    }


def test_hand_written_log_can_be_opened(hand_written):
    with NumPack("s.npk") as other:
        assert np.array_equal(other.load("x", verify=True), np.concatenate(3 * [ROWS]))
        assert other.verify().ok
        assert other.get_modify_time("x") == 7
        other.save({"y": ROWS})
    assert data_files() == {"00000007-0123abcd.bin", "00000009-0123abcd.bin"}
