"""Arrays of every dtype × layout, made as a user would make them."""

from __future__ import annotations

import numpy as np

from numpack._core import dtypes

SHAPE = (4, 6)
TIME_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")

NATIVE = [row.numpy for row in dtypes.DTYPES if not row.extension]
LOWPREC = [row.numpy for row in dtypes.DTYPES if row.extension]
TIMES = [f"{kind}8[{unit}]" for kind in "Mm" for unit in TIME_UNITS] + ["M8", "m8"]
TIMES += ["M8[25ms]", "m8[7s]"]
OTHERS = ["longdouble", "clongdouble", "S5", "U5", "V3", "struct", "object", "string"]
FIXED = [
    *NATIVE,
    *TIMES,
    "S5",
    "U5",
    "V3",
    "struct",
]  # the dtypes of a store, without ml_dtypes

STRUCT = np.dtype([("a", "<i4"), ("b", "<f8", (2,))])


def dtype_of(name: str) -> np.dtype:
    """Return the dtype of a name of this table."""
    if name == "struct":
        return STRUCT
    if name == "string":
        return np.dtypes.StringDType()
    if name in LOWPREC:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
    return np.dtype(name)


def values(name: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Return C-ordered values that differ from one another as far as the dtype allows."""
    dtype = dtype_of(name)
    count = int(np.prod(shape))
    numbers = np.arange(1, count + 1)
    if name in LOWPREC:
        flat = (numbers % 2 + (name == "float8_e8m0fnu")).astype(dtype)
    elif dtype.kind == "b":
        flat = numbers % 3 == 0
    elif dtype.kind in "mM":
        flat = (numbers - 3).astype("i8").view(dtype)
    elif name == "struct":
        flat = np.zeros(count, dtype)
        flat["a"], flat["b"] = numbers, numbers[:, None] / 4
    elif dtype.kind == "V":
        flat = np.array([b"%03d" % n for n in numbers], "S3").view(dtype)
    elif dtype.kind == "O":
        flat = np.array([f"é{n}" for n in numbers], object)
    elif dtype.kind in "SUT":
        flat = np.array([f"x{n}" for n in numbers]).astype(dtype)
    elif dtype.kind == "c":
        flat = (numbers - 1j * numbers).astype(dtype)
    else:
        flat = numbers.astype(dtype)
    return flat.reshape(shape)


def _sliced(v: np.ndarray, tmp_path) -> np.ndarray:
    wide = np.zeros((v.shape[0] * 2, v.shape[1] * 2), v.dtype)
    wide[::2, ::2] = v
    return wide[::2, ::2]


def _swapped(v: np.ndarray, tmp_path) -> np.ndarray:
    return v.astype(v.dtype.newbyteorder("S"))


def _packed_field(v: np.ndarray, tmp_path) -> np.ndarray:
    packed = np.zeros(v.shape, [("pad", "u1"), ("x", v.dtype)])
    packed["x"] = v
    return packed["x"]


def _odd_bytes(v: np.ndarray, tmp_path) -> np.ndarray:
    raw = np.zeros(v.nbytes + 1, "u1")
    raw[1:] = np.frombuffer(v.tobytes(), "u1")
    return raw[1:].view(v.dtype).reshape(v.shape)


def _inside(v: np.ndarray, tmp_path) -> np.ndarray:
    larger = np.concatenate([v.ravel()[:3], v.ravel(), v.ravel()[:1]])
    return larger[3:-1].reshape(v.shape)


def _memmap(mode: str):
    def make(v: np.ndarray, tmp_path) -> np.ndarray:
        path = tmp_path / f"array-{mode}.bin"
        path.write_bytes(b"\0" * 64 + v.tobytes())
        return np.memmap(path, v.dtype, mode, offset=64, shape=v.shape)

    return make


def _zero_d(v: np.ndarray, tmp_path) -> np.ndarray:
    scalar = np.empty((), v.dtype)
    scalar[()] = v[1, 1]
    return scalar


def _masked(v: np.ndarray, tmp_path) -> np.ndarray:
    mask = np.zeros(v.shape, bool)
    mask[1, 2] = mask[3, 0] = True
    return np.ma.array(v, mask=mask)


LAYOUTS = {
    "c": lambda v, _: v,
    "fortran": lambda v, _: np.asfortranarray(v),
    "sliced": _sliced,
    "transposed": lambda v, _: v.T,
    "negative": lambda v, _: v[::-1],
    "negative_length_1": lambda v, _: v[3:2:-1],
    "broadcast": lambda v, _: np.broadcast_to(v[0], v.shape),
    "broadcast_writable": lambda v, _: np.lib.stride_tricks.as_strided(
        v, v.shape, (0, v.strides[1])
    ),
    "zero_d": _zero_d,
    "empty_first": lambda v, _: v[:0],
    "empty_last": lambda v, _: v[:, :0],
    "empty_middle": lambda v, _: v.reshape(2, 2, 6)[:, :0],
    "empty_odd_strides": lambda v, _: v[::-1][:0, ::2],
    "swapped": _swapped,
    "packed_field": _packed_field,
    "odd_bytes": _odd_bytes,
    "inside": _inside,
    "memmap_r": _memmap("r"),
    "memmap_c": _memmap("c"),
    "memmap_r+": _memmap("r+"),
    "masked": _masked,
    "masked_without_mask": lambda v, _: np.ma.array(v),
    "matrix": lambda v, _: v.view(np.matrix),
}
CONTIGUOUS = {
    "c",
    "negative_length_1",
    "zero_d",
    "empty_first",
    "empty_last",
    "empty_middle",
    "empty_odd_strides",
    "inside",
    "memmap_r",
    "memmap_c",
    "memmap_r+",
    "masked",
    "masked_without_mask",
    "matrix",
}
NEEDS_BYTES = {"odd_bytes", "memmap_r", "memmap_c", "memmap_r+"}


def cells(names: list[str]) -> list[tuple[str, str]]:
    """List all pairs of dtype and layout that NumPy can make."""
    return [
        (name, layout)
        for name in names
        for layout in LAYOUTS
        if not (layout in NEEDS_BYTES and dtype_of_is_reference(name))
        and not (layout == "swapped" and swapping_changes_nothing(name))
        and not (layout == "packed_field" and name == "string")
        and not (layout == "broadcast_writable" and name in ("string", "float8_e5m2"))
    ]


def dtype_of_is_reference(name: str) -> bool:
    """Check whether elements are references, which raw bytes cannot hold."""
    return name in ("object", "string")


def swapping_changes_nothing(name: str) -> bool:
    """Check whether the dtype has no byte order."""
    return name in LOWPREC or name in ("bool", "int8", "uint8", "S5", "V3", "object", "string")


def make(name: str, layout: str, tmp_path, *, readonly: bool = False) -> np.ndarray:
    """Make the array of a dtype and a layout."""
    array = LAYOUTS[layout](values(name), tmp_path)
    if readonly and array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def aligned(name: str, layout: str) -> bool:
    """Check whether the dtype is aligned in a layout that shifts it by a byte."""
    return layout not in ("packed_field", "odd_bytes") or dtype_of(name).alignment == 1


def elements(array: np.ndarray) -> bytes | list:
    """Return the values in C order and native byte order, for comparison."""
    array = np.ma.getdata(array).view(np.ndarray)
    if array.dtype.hasobject:
        return array.ravel().tolist()
    native = array.astype(dtypes.native(array.dtype), order="C")
    if array.dtype.type in (
        np.longdouble,
        np.clongdouble,
    ):  # ten bytes of value, six of padding
        return native.ravel().tolist()
    return native.tobytes()
