"""The header: damaged, newer and missing ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each

from numpack import CorruptStoreError, NewerFormatError, NumPack

FOLDER = Path("s.npk")
HEADER = FOLDER / "numpack.json"
ROWS = np.arange(6.0).reshape(3, 2)


def contents(path: Path = FOLDER) -> dict[str, bytes | None]:
    """Return all files and folders below a path."""
    found = [path, *path.rglob("*")] if path.is_dir() else [path]
    return {str(each): each.read_bytes() if each.is_file() else None for each in found}


HEADERS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"5",
    b'"numpack"',
    b"{}",
    b'{"format": "numpack"}',
    b'{"version": 1}',
    b'{"format": "numpack", "version": null}',
    b'{"format": "numpack", "version": "new"}',
    b'{"format": "numpack", "version": [1]}',
    b'{"format": "numpack", "version": 1e999}',
    b'{"format": "numpack", "version": NaN}',
    b'{"format": "numpack", "version": 0}',
    b'{"format": "numpack", "version": 2.0}',
    b'{"format": "numpack", "version": 3.0}',
    b'{"format": "numpack", "version": -1}',
    b'{"format": "numpack", "version": 1}trailing',
    b"\xff\xfe\x00",
    bytes(40),
    b"[" * 100_000,
]


@for_each("drop_if_exists", [False, True])
@for_each("header", HEADERS)
def test_damaged_header_is_reported_and_nothing_is_lost(saved, header, drop_if_exists):
    whole = HEADER.read_bytes()
    HEADER.write_bytes(header)
    before = contents()
    with pytest.raises(CorruptStoreError, match=r"numpack\.json is damaged") as raised:
        NumPack(FOLDER, drop_if_exists=drop_if_exists).open()
    assert '{"format": "numpack", "version": 1}' in str(raised.value)
    assert contents() == before
    HEADER.write_bytes(whole)
    with NumPack(FOLDER) as store:
        assert np.array_equal(store.load("x"), ROWS)


def test_header_from_the_error_message_repairs_the_store(saved):
    HEADER.write_bytes(b"\0" * 30)
    with pytest.raises(CorruptStoreError) as raised:
        NumPack(FOLDER).open()
    text = str(raised.value)
    HEADER.write_text(text[text.index("{") : text.index("}") + 1])
    with NumPack(FOLDER) as store:
        assert np.array_equal(store.load("x"), ROWS)


@pytest.mark.parametrize("version", [4, 5.0, 10**30])
def test_newer_format_is_not_reported_as_damage(saved, version):
    HEADER.write_text(json.dumps({"format": "numpack", "version": version, "more": []}))
    before = contents()
    with pytest.raises(NewerFormatError, match="upgrade numpack"):
        NumPack(FOLDER, drop_if_exists=True).open()
    assert contents() == before


def test_unknown_header_keys_are_ignored(saved):
    HEADER.write_text('{"made by": "hand", "version": 1, "format": "numpack"}')
    with NumPack(FOLDER) as store:
        assert np.array_equal(store.load("x"), ROWS)


@pytest.mark.parametrize("drop_if_exists", [False, True])
@pytest.mark.parametrize("also", [[], ["commits.log"], ["data"], ["lock"]])
def test_store_without_header_is_damage(saved, also, drop_if_exists):
    HEADER.unlink()
    for name in also:
        path = FOLDER / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = contents()
    with pytest.raises(CorruptStoreError, match="missing"):
        NumPack(FOLDER, drop_if_exists=drop_if_exists).open()
    assert contents() == before
