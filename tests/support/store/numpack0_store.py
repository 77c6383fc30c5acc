"""Folders of NumPack 0.x: their contents, and a writer whose metadata can be falsified."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numpack import NumPack

FOLDER = Path("old.npk")
META = FOLDER / "metadata.npkm"
FIXTURES = Path(__file__).parents[2] / "data" / "numpack-0.7.0"  # written by NumPack 0.7
FOLDERS = sorted(path.name.removesuffix(".npk") for path in FIXTURES.glob("*.npk"))
CODES = (
    "? u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8 c8 c16".split()
)  # dtypes, in the order of their codes


@dataclass
class Old:
    """The metadata record of an array; each field can be falsified."""

    name: str | bytes = "x"
    shape: tuple[int, ...] = (6, 2)
    ndim: int | None = None
    file: str | bytes | None = None
    size: int = 96
    code: int = 11
    compression: int = 0
    flag: int = 0
    modified: int = 1_700_000_000_000_001
    rest: tuple[int, int, int] = (0, 0, 0)  # level, original size, compressed size

    def record(self) -> bytes:
        file = f"data_{self.name}.npkd" if self.file is None else self.file
        ndim = len(self.shape) if self.ndim is None else self.ndim
        return (
            text(self.name)
            + struct.pack(f"<I{len(self.shape)}Q", ndim, *self.shape)
            + text(file)
            + struct.pack("<QQBB", self.modified, self.size, self.code, self.compression)
            + struct.pack("<iQQB", *self.rest, self.flag)
        )


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<I", len(data)) + data


def write_metadata(*arrays: Old, count=None, magic=b"NPKB", version=1, total=0, after=b""):
    FOLDER.mkdir(exist_ok=True)
    start = struct.pack(
        "<4sIQI", magic, version, total, len(arrays) if count is None else count
    )
    META.write_bytes(start + b"".join(array.record() for array in arrays) + after)


def bitmap(rows: int, dropped=(), deleted=None) -> bytes:
    words = [(1 << 64) - 1] * (rows // 64) + ([(1 << rows % 64) - 1] if rows % 64 else [])
    for row in dropped:
        words[row // 64] &= ~(1 << row % 64)
    count = len(dropped) if deleted is None else deleted
    return struct.pack(f"<QQ{len(words)}Q", rows, count, *words)


def write(arrays: dict[str, np.ndarray], dropped: dict[str, list[int]] | None = None) -> None:
    """Write a folder in the layout of NumPack 0.x."""
    olds = [
        Old(name, array.shape, size=array.nbytes, code=CODES.index(_code(array.dtype)))
        for name, array in arrays.items()
    ]
    write_metadata(*olds, total=sum(array.nbytes for array in arrays.values()))
    for name, array in arrays.items():
        (FOLDER / f"data_{name}.npkd").write_bytes(array.tobytes())
    for name, rows in (dropped or {}).items():
        (FOLDER / f"deleted_{name}.npkb").write_bytes(bitmap(len(arrays[name]), rows))


def _code(dtype: np.dtype) -> str:
    return "?" if dtype.kind == "b" else dtype.str[1:]


ROWS = np.arange(12.0).reshape(6, 2)


OLD = str(FOLDER)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return (found.dtype, found.shape, found.tobytes()) == (
        expected.dtype,
        expected.shape,
        expected.tobytes(),
    )


def check_store(expected: dict[str, np.ndarray], **options: object) -> None:
    """Check that a store holds these arrays, in whichever way they are read."""
    with NumPack(OLD, **options) as store:
        assert sorted(store) == sorted(expected)
        for name, array in expected.items():
            assert same(store.load(name), array), name
            assert same(np.asarray(store.load(name, lazy=True)), array), name
            assert store.get_shape(name) == array.shape
            if array.ndim:
                half = slice(None, None, -2)
                assert same(store.getitem(name, half), array[half].copy())
                batches = list(store.stream_load(name, 7))
                assert same(np.concatenate([array[:0], *batches]), array)
