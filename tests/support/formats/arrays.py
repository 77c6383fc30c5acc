"""The arrays that each format holds or refuses: every dtype in several shapes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from numpack import NumPack
from support.arrays import dtype_of

NUMBERS = ["bool", *(f"{kind}int{bits}" for bits in (8, 16, 32, 64) for kind in ("", "u"))]
NUMBERS += ["float16", "float32", "float64"]
COMPLEX = ["complex64", "complex128"]
LOWPREC = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4"]
TIMES = ["M8[D]", "M8[s]", "M8[ns]", "m8[us]", "m8[ns]"]
TEXT = ["S5", "U4"]
OTHERS = ["V3", "struct"]
DTYPES = [*NUMBERS, *COMPLEX, *LOWPREC, *TIMES, *TEXT, *OTHERS]

SHAPES = [(5,), (4, 3), (2, 3, 2), (1,), (0,), (0, 3), ()]

_IN_ALL_SHAPES = ("bool", "int64", "float32", "complex128", "bfloat16", "M8[ns]", "S5", "U4")


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array with extreme and unusual values."""
    count = int(np.prod(shape, dtype=int))
    return np.resize(_some(name), count).reshape(shape)


def _some(name: str) -> np.ndarray:
    dtype = dtype_of(name)
    if name == "bool":
        return np.array([True, False, True])
    if name in LOWPREC:
        return np.array([1, 0, -1, 2]).astype(dtype)
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        return np.array([bounds.min, 0, 1, bounds.max], dtype)
    if dtype.kind in "fc":
        return np.array([0, -0.0, np.nan, -np.inf, np.finfo(dtype).max, 0.1], dtype)
    if dtype.kind in "mM":
        return np.array([0, 1, -1, 400], "i8").astype(dtype)
    if name == "S5":
        return np.array([b"ab", b"", b"\xff\x01abc"], dtype)
    if name == "U4":
        return np.array(["ab", "", "日本é"], dtype)
    if name == "V3":
        return np.array([b"abc", b"\0\1\2"], "S3").view("V3")
    made = np.zeros(3, dtype)
    made["a"], made["b"] = [1, -2, 3], [[0.5, -1], [np.inf, 0], [1e300, 2]]
    return made


def all_values() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Iterate over the names of dtypes and shapes."""
    for name in DTYPES:
        for shape in SHAPES if name in _IN_ALL_SHAPES else SHAPES[:2]:
            yield name, shape


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    """Check that two arrays have the same dtype, shape and bytes."""
    found = np.asarray(found)
    assert found.dtype == expected.dtype, (found.dtype, expected.dtype)
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes(), (found, expected)


def arrays_of(path: str = "t.npk") -> dict[str, np.ndarray]:
    """Return the arrays of a store, whose checksums are right."""
    with NumPack(path, mode="r") as found:
        assert found.verify().ok
        return dict(found)
