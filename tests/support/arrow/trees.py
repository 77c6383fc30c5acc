"""Random Arrow columns: type trees of depth up to 3, sliced at each level, in chunks.

`make_column` builds a column of a specification that `random_spec` draws.
"""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

Spec: TypeAlias = "tuple[str, tuple[Spec, ...]]"


class Tagged(pa.ExtensionType):
    """A user-defined extension type."""

    def __init__(self, storage_type: pa.DataType) -> None:
        super().__init__(storage_type, "numpack.tests.tagged")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, _: bytes) -> Tagged:
        return cls(storage_type)


def _ints(kind: pa.DataType, low: int, high: int) -> Any:
    return lambda rng, n: pa.array(
        [rng.randrange(low, high) for _ in range(n)], pa.int64()
    ).cast(kind)


def _ticks(kind: pa.DataType, low: int, high: int) -> Any:
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    return lambda rng, n: pa.array([rng.randrange(low, high) for _ in range(n)], width).view(
        kind
    )


def _texts(kind: pa.DataType) -> Any:
    words = ["", "a", "bé", "more than twelve bytes of it"]
    return lambda rng, n: pa.array([rng.choice(words) for _ in range(n)], pa.string()).cast(
        kind
    )


def _bytes(kind: pa.DataType) -> Any:
    words = [b"", b"a\0", b"more than twelve bytes of it"]
    return lambda rng, n: pa.array([rng.choice(words) for _ in range(n)], kind)


def _decimals(kind: pa.DataType) -> Any:
    return lambda rng, n: pa.array(
        [Decimal(rng.randrange(-9999, 9999)).scaleb(-2) for _ in range(n)], kind
    )


def _intervals(rng: random.Random, n: int) -> pa.Array:
    values = [pa.MonthDayNano([rng.randrange(9), 2, -3]) for _ in range(n)]
    return pa.array(values, pa.month_day_nano_interval())


def _extension(kind: pa.DataType, storage: Any) -> Any:
    return lambda rng, n: pa.ExtensionArray.from_storage(kind, storage(rng, n))


def _width(size: int) -> Any:
    return lambda rng, n: pa.array(
        [bytes(rng.randrange(256) for _ in range(size)) for _ in range(n)], pa.binary(size)
    )


LEAVES: dict[str, Any] = {
    "null": lambda _, n: pa.nulls(n),
    "bool": lambda rng, n: pa.array([rng.random() < 0.5 for _ in range(n)], pa.bool_()),
    "int8": _ints(pa.int8(), -100, 100),
    "int64": _ints(pa.int64(), -1000, 1000),
    "uint16": _ints(pa.uint16(), 0, 1000),
    "float16": _ints(pa.float16(), 0, 9),
    "float64": _ints(pa.float64(), 0, 9),
    "string": _texts(pa.string()),
    "large_string": _texts(pa.large_string()),
    "string_view": _texts(pa.string_view()),
    "binary": _bytes(pa.binary()),
    "binary_view": _bytes(pa.binary_view()),
    "fixed binary": _width(3),
    "binary of width 0": _width(0),
    "decimal32": _decimals(pa.decimal32(7, 2)),
    "decimal64": _decimals(pa.decimal64(12, 2)),
    "decimal128": _decimals(pa.decimal128(20, 2)),
    "decimal256": _decimals(pa.decimal256(50, 2)),
    "date32": _ticks(pa.date32(), -1000, 30000),
    "date32 beyond Python": _ticks(pa.date32(), 3_000_000, 4_000_000),
    "date64": lambda rng, n: _ticks(pa.date32(), -9, 9999)(rng, n).cast(pa.date64()),
    "time32": _ticks(pa.time32("s"), 0, 86400),
    "time64": _ticks(pa.time64("us"), 0, 86400_000000),
    "time64[ns]": _ticks(pa.time64("ns"), 0, 86400_000000_000),
    "timestamp[s]": _ticks(pa.timestamp("s"), 0, 10**9),
    "timestamp[us] zoned": _ticks(pa.timestamp("us", "Asia/Tokyo"), 0, 10**15),
    "timestamp[us] UTC": _ticks(pa.timestamp("us", "UTC"), 0, 10**15),
    "timestamp[ns]": _ticks(pa.timestamp("ns"), 0, 10**18),
    "timestamp[us] before year 1": _ticks(pa.timestamp("us"), -(10**17), -(9 * 10**16)),
    "duration[us]": _ticks(pa.duration("us"), 0, 10**12),
    "duration[ns]": _ticks(pa.duration("ns"), 0, 10**15),
    "interval": _intervals,
    "bool8": _extension(
        pa.bool8(), lambda rng, n: pa.array([rng.randrange(3) for _ in range(n)], pa.int8())
    ),
    "uuid": _extension(pa.uuid(), _width(16)),
    "json": _extension(pa.json_(pa.string()), _texts(pa.string())),
    "opaque": _extension(
        pa.opaque(pa.int8(), "t", "v"),
        lambda rng, n: pa.array([rng.randrange(9) for _ in range(n)], pa.int8()),
    ),
}
WRAPPERS = (
    *("list", "large_list", "list_view", "large_list_view", "fixed list", "fixed list of 0"),
    *("struct", "struct of one name", "empty struct", "map", "dictionary", "run ends"),
    *("sparse union", "dense union", "extension", "tensor"),
)
_TWO = ("struct", "struct of one name", "sparse union", "dense union")


def random_spec(rng: random.Random, depth: int) -> Spec:
    """Choose a type tree of at most this depth."""
    if depth == 0 or rng.random() < 0.1:
        return (rng.choice(list(LEAVES)), ())
    name = rng.choice(WRAPPERS)
    if name == "tensor":
        return (name, ((rng.choice(["int8", "float64", "timestamp[ns]", "bool"]), ()),))
    count = 0 if name == "empty struct" else 2 if name in _TWO else 1
    return (name, tuple(random_spec(rng, depth - 1) for _ in range(count)))


def make_column(spec: Spec, rng: random.Random) -> pa.Array | pa.ChunkedArray:
    """Build an array, or several chunks, of a specification."""
    nulls = rng.choice([0.0, 0.3, 0.3, 1.0])
    count = rng.choice([-1, -1, -1, 0, 1, 2, 3])
    if count < 0:
        return make(spec, rng, rng.choice([0, 1, 3, 9]), nulls)
    chunks = [make(spec, rng, rng.choice([0, 1, 4]), nulls) for _ in range(count)]
    return pa.chunked_array(chunks, make(spec, rng, 1, nulls).type)


def make(spec: Spec, rng: random.Random, n: int, nulls: float) -> pa.Array:
    """Build an array of `n` values that may be a slice of a longer one."""
    before, after = (rng.choice([(0, 0), (0, 0), (1, 2), (0, 3), (9, 0)])) if n else (0, 0)
    name, children = spec
    total = before + n + after
    if name in LEAVES:
        whole = _with_nulls(LEAVES[name](rng, total), rng, nulls)
    else:
        whole = _WRAP[name](children, rng, total, nulls)
    return whole if total == n else whole.slice(before, n)


def _bitmap(rng: random.Random, n: int, nulls: float) -> pa.Buffer | None:
    valid = [rng.random() >= nulls for _ in range(n)]
    return None if all(valid) else pa.array(valid, pa.bool_()).buffers()[1]


def _with_nulls(array: pa.Array, rng: random.Random, nulls: float) -> pa.Array:
    if pa.types.is_null(array.type) or not nulls or not len(array):
        return array
    if isinstance(array.type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(
            array.type, _with_nulls(array.storage, rng, nulls)
        )
    buffers = [_bitmap(rng, len(array), nulls), *array.buffers()[1:]]
    return pa.Array.from_buffers(array.type, len(array), buffers)


def _lengths(rng: random.Random, n: int) -> list[int]:
    return [rng.choice([0, 1, 1, 2]) for _ in range(n)]


def _list(
    children: Any, rng: random.Random, n: int, nulls: float, kind: Any, offset: str
) -> Any:
    ends = np.cumsum([rng.choice([0, 2]), *_lengths(rng, n)])
    values = make(children[0], rng, int(ends[-1]) + rng.choice([0, 1]), nulls)
    offsets = pa.py_buffer(ends.astype(offset))
    return pa.Array.from_buffers(
        kind(values.type), n, [_bitmap(rng, n, nulls), offsets], children=[values]
    )


def _list_view(
    children: Any, rng: random.Random, n: int, nulls: float, kind: Any, offset: str
) -> Any:
    values = make(children[0], rng, 4, nulls)
    starts = np.array([rng.randrange(3) for _ in range(n)], offset)
    sizes = np.array(_lengths(rng, n), offset)
    buffers = [_bitmap(rng, n, nulls), pa.py_buffer(starts), pa.py_buffer(sizes)]
    return pa.Array.from_buffers(kind(values.type), n, buffers, children=[values])


def _fixed(size: int) -> Any:
    def build(children: Any, rng: random.Random, n: int, nulls: float) -> pa.Array:
        values = make(children[0], rng, n * size, nulls)
        kind = pa.list_(values.type, size)
        return pa.Array.from_buffers(kind, n, [_bitmap(rng, n, nulls)], children=[values])

    return build


def _struct(*names: str) -> Any:
    def build(children: Any, rng: random.Random, n: int, nulls: float) -> pa.Array:
        made = [make(each, rng, n, nulls) for each in children]
        kind = pa.struct([(a, m.type) for a, m in zip(names, made, strict=True)])
        return pa.Array.from_buffers(kind, n, [_bitmap(rng, n, nulls)], children=made)

    return build


def _map(children: Any, rng: random.Random, n: int, nulls: float) -> pa.Array:
    ends = np.cumsum([0, *_lengths(rng, n)]).astype("i4")
    items = make(children[0], rng, int(ends[-1]), nulls)
    keys = pa.array([f"k{i}" for i in range(len(items))], pa.string())
    entries = pa.StructArray.from_arrays([keys, items], ["key", "value"])
    kind = pa.map_(pa.string(), items.type)
    return pa.Array.from_buffers(
        kind, n, [_bitmap(rng, n, nulls), pa.py_buffer(ends)], children=[entries]
    )


def _dictionary(children: Any, rng: random.Random, n: int, nulls: float) -> pa.Array:
    values = make(children[0], rng, rng.choice([1, 3]), rng.choice([0.0, nulls]))
    codes = pa.array([rng.randrange(len(values)) for _ in range(n)], pa.int8())
    return pa.DictionaryArray.from_arrays(_with_nulls(codes, rng, nulls), values)


def _run_ends(children: Any, rng: random.Random, n: int, nulls: float) -> pa.Array:
    ends: list[int] = []
    while n and (not ends or ends[-1] < n):
        ends.append((ends[-1] if ends else 0) + rng.choice([1, 2, 3]))
    values = make(children[0], rng, len(ends), nulls)
    whole = pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), values)
    return whole.slice(0, n)


def _sparse(children: Any, rng: random.Random, n: int, nulls: float) -> pa.Array:
    made = [make(each, rng, n, nulls) for each in children]
    codes = pa.array([rng.randrange(len(made)) for _ in range(n)], pa.int8())
    return pa.UnionArray.from_sparse(codes, made)


def _dense(children: Any, rng: random.Random, n: int, nulls: float) -> pa.Array:
    made = [make(each, rng, n, nulls) for each in children]
    codes = pa.array([rng.randrange(len(made)) for _ in range(n)], pa.int8())
    steps = [rng.choice([0, 1]) for _ in range(n)]
    places = pa.array([sum(steps[:i]) for i in range(n)], pa.int32())
    return pa.UnionArray.from_dense(codes, places, made)


def _tagged(children: Any, rng: random.Random, n: int, nulls: float) -> pa.Array:
    storage = make(children[0], rng, n, nulls)
    return pa.ExtensionArray.from_storage(Tagged(storage.type), storage)


def _tensor(children: Any, rng: random.Random, n: int, nulls: float) -> pa.Array:
    values = make(children[0], rng, n * 6, 0.0)
    lists = pa.Array.from_buffers(
        pa.list_(values.type, 6), n, [_bitmap(rng, n, nulls)], children=[values]
    )
    kind = pa.fixed_shape_tensor(values.type, [2, 3], permutation=[1, 0])
    return pa.ExtensionArray.from_storage(kind, lists)


_WRAP: dict[str, Any] = {
    "list": lambda *a: _list(*a, pa.list_, "i4"),
    "large_list": lambda *a: _list(*a, pa.large_list, "i8"),
    "list_view": lambda *a: _list_view(*a, pa.list_view, "i4"),
    "large_list_view": lambda *a: _list_view(*a, pa.large_list_view, "i8"),
    "fixed list": _fixed(2),
    "fixed list of 0": _fixed(0),
    "struct": _struct("a", "b"),
    "struct of one name": _struct("a", "a"),
    "empty struct": _struct(),
    "map": _map,
    "dictionary": _dictionary,
    "run ends": _run_ends,
    "sparse union": _sparse,
    "dense union": _dense,
    "extension": _tagged,
    "tensor": _tensor,
}
