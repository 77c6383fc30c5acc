"""Damaged logs are reported, and harmless lines ignored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.files import contents
from support.store.hostile import header_line, line

from numpack import CorruptStoreError, NumPack

LOG = Path("s.npk/commits.log")
ROWS = np.arange(6.0).reshape(3, 2)


def shapes() -> dict[str, tuple[int, ...]]:
    """Read every array with a new handle; return the shapes."""
    with NumPack("s.npk") as store:
        return {name: store.load(name).shape for name in store}


def check_refused(phrase: str) -> None:
    """Check that opening reports the damage and changes no byte."""
    before = contents()
    with pytest.raises(CorruptStoreError, match=phrase) as raised:
        NumPack("s.npk").open()
    assert isinstance(raised.value, OSError)
    assert "commits.log" in str(raised.value)
    assert "restore it from a backup" in str(raised.value)
    assert contents() == before


def test_flipped_bit_is_reported_by_open_or_verify(history, thorough):
    whole, right = LOG.read_bytes(), shapes()
    before, harmless = contents(), 0
    for position in range(0, len(whole) - 1, 1 if thorough else 5):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        LOG.write_bytes(flipped)
        try:
            assert shapes() == right
        except CorruptStoreError:
            check_refused("is damaged")
        else:
            harmless += 1
            with NumPack("s.npk", mode="r") as store:
                assert not store.verify().ok
        assert LOG.read_bytes() == flipped
    last = whole.rindex(b"\n", 0, -1)  # only the last snapshot and what follows it is needed
    assert harmless <= last + 1
    LOG.write_bytes(whole)
    assert contents() == before


def test_damage_report_names_the_readable_commits(hand_written):
    hand_written[3] = hand_written[3].replace(b"rows", b"rosw")
    LOG.write_bytes(b"".join(hand_written))
    check_refused(r"byte \d+ cannot be read \(its checksum is wrong\); up to commit 5 .*'x'")


RECORD = {"id": "00000007-0123abcd", "dtype": "<f8", "shape": [3, 2], "tail": 0}
COMMIT = {"commit": 7, "time_us": 1}


@for_each(
    ("damage", "phrase"),
    [
        (lambda lines: [], "it is empty"),
        (lambda lines: [lines[0][:-5]], "byte 0 cannot be read"),
        (lambda lines: [lines[0]], "byte 0 cannot be read"),
        (lambda lines: [lines[0], *lines[2:]], "byte 0 cannot be read"),
        (lambda lines: [*lines[:2], lines[3]], "commit 6 follows commit 4"),
        (lambda lines: [*lines, lines[-1]], "commit 6 follows commit 6"),
        (lambda lines: [*lines[:2], lines[3], lines[2]], "commit 6 follows commit 4"),
        (lambda lines: [*lines, lines[0]], "cannot be read"),
        (lambda lines: [*lines, bytes(4096) + b"\n"], "checksum"),
        (lambda lines: [*lines, b"\r\n"], "checksum"),
        (lambda lines: [*lines[:2], lines[2][:-1] + b"\r\n", lines[3]], "checksum"),
        (lambda lines: [*lines, line({**COMMIT, "set": {"w": {"rows": 1}}})], "cannot be read"),
        (lambda lines: [*lines, line({**COMMIT, "drop": ["w"]})], "cannot be read"),
        (lambda lines: [*lines, line({**COMMIT, "put": {"w": RECORD | {"id": "x"}}})], "read"),
        (lambda lines: [*lines, line({**COMMIT, "commit": "7"})], "cannot be read"),
        (lambda lines: [lines[0], line({"store": "00", "commit": 0})], "cannot be read"),
        (lambda lines: [*lines, line([5])], "cannot be read"),
        (lambda lines: [header_line(7), *lines[1:]], "commits up to 7 were made"),
    ],
)
def test_missing_repeated_or_wrong_lines_are_damage(hand_written, damage, phrase):
    LOG.write_bytes(b"".join(damage(hand_written)))
    check_refused(phrase)


@pytest.mark.parametrize(
    "harmless",
    [
        lambda lines: [*lines, b"\n"],  # a writer died before it compacted the log
        lambda lines: [b"?" * 63 + b"\n", *lines[1:]],  # the header line is being written
        lambda lines: [header_line(5), *lines[1:]],
        lambda lines: [lines[0], lines[1], lines[1], *lines[2:]],
    ],
)
def test_harmless_lines_are_ignored(hand_written, harmless):
    LOG.write_bytes(b"".join(harmless(hand_written)))
    assert shapes() == {"x": (9, 2)}
    with NumPack("s.npk") as store:
        store.append({"x": ROWS})
    assert shapes() == {"x": (12, 2)}


def test_missing_log_is_damage(history):
    LOG.unlink()
    check_refused("it is missing")


def test_folder_in_place_of_the_log_is_damage(history):
    LOG.unlink()
    LOG.mkdir()
    check_refused("damaged")
