"""Valid inputs: stores of every kind, folders of NumPack 0.x, safetensors files."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import random
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
from support.store.numpack0_store import CODES, Old, bitmap

import numpack
from numpack import NumPack
from numpack.errors import IncompleteWriteError
from numpack.store.format.log import log

from . import trees
from .lines import body, sealed
from .trees import Tree

Arrays = dict[str, np.ndarray]

STORE, OLD, TENSORS, PACKAGE = "store", "numpack 0.x", "safetensors", "package"
FILE, PACKAGE_FILE = "model.safetensors", "x.npkz"

_TIME = re.compile(rb'("(?:time|modified)_us":)\d{16}')

STRUCT = np.dtype([("a", "<i4"), ("b", "<f8", (2,)), ("c", "S3")])
PADDED = np.dtype(
    {"names": ["x", "y"], "formats": ["u1", "<u4"], "offsets": [0, 8], "itemsize": 16}
)
DTYPES = ["?", "i1", "<u2", "<i4", "<f4", "<f8", "<c16", "<f2", "S5", "<U3", "V3", "<M8[ns]"]
DTYPES += ["<m8[s]", "S0", "bfloat16", "float8_e4m3fn", STRUCT, PADDED]
# An environment with NumPy alone has nothing that compresses.
COMPRESSIONS = (None, "zstd") if importlib.util.find_spec("zstandard") else (None,)


@dataclass(frozen=True)
class Seed:
    """A valid input and its arrays."""

    name: str
    kind: str
    tree: Tree
    arrays: Arrays = field(repr=False)


def build(folder: Path, seed: int = 0) -> list[Seed]:
    """Make all seeds in an empty folder; the same number gives the same seeds."""
    made = []
    with _repeatable(seed):
        for make in (*_STORES, *_OLD):
            path = folder / "seed"
            arrays = make(path)
            arrays, tree = arrays if isinstance(arrays, tuple) else (arrays, trees.read(path))
            kind = OLD if make in _OLD else STORE
            made.append(Seed(make.__name__, kind, _timeless(tree), arrays))
            shutil.rmtree(path)
        made += [_package(folder, compress) for compress in COMPRESSIONS]
    return [*made, *map(_tensors, range(2))]


def _package(folder: Path, compress: str | None) -> Seed:
    """Make a package of a store with several kinds of arrays."""
    arrays = {"x": np.arange(300_000, dtype="<f4"), "e": np.zeros((0, 3)), "z": np.array(5)}
    arrays |= {str(dtype): np.zeros(3, dtype) for dtype in (STRUCT, "<U3", "?")}
    clock = mock.patch.object(log, "now_us", return_value=1_700_000_000_000_000)
    with clock, NumPack(folder / "packed", mode="x") as store:
        store.save(arrays)
        store.attrs["x"]["dims"] = ["row"]
        numpack.pack(store, folder / PACKAGE_FILE, compress=compress)
    tree: Tree = {PACKAGE_FILE: (folder / PACKAGE_FILE).read_bytes()}
    shutil.rmtree(folder / "packed")
    (folder / PACKAGE_FILE).unlink()
    return Seed(f"package {compress}", PACKAGE, tree, arrays)


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """Draw tokens from a seeded generator."""
    with mock.patch.object(os, "urandom", random.Random(seed).randbytes):
        yield


def _timeless(tree: Tree) -> Tree:
    """Replace the times in a log by fixed ones."""
    log = tree.get("commits.log")
    if not isinstance(log, bytes):
        return tree
    clock = itertools.count(1_700_000_000_000_000)
    lines = []
    for line in log.splitlines(keepends=True):
        text = body(line)
        if text is not None and _TIME.search(text):
            line = sealed(_TIME.sub(lambda found: found[1] + b"%d" % next(clock), text))
        lines.append(line)
    return tree | {"commits.log": b"".join(lines)}


def values(dtype: str | np.dtype, rows: int, *extents: int) -> np.ndarray:
    """Return deterministic rows of any dtype."""
    dtype = _dtype(dtype)
    shape = (rows, *extents)
    count = int(np.prod(shape)) * dtype.itemsize
    if dtype.kind == "b":
        return (np.arange(np.prod(shape)) % 3 == 0).reshape(shape)
    if dtype.kind == "U":
        return np.array(["ab", "é", ""] * (rows + 1), dtype)[: np.prod(shape)].reshape(shape)
    if not count:
        return np.zeros(shape, dtype)
    raw = np.arange(1, count + 1, dtype=np.uint64) * 37 % 61
    return raw.astype(np.uint8).view(dtype).reshape(shape)  # padding bytes have values as well


def _dtype(dtype: str | np.dtype) -> np.dtype:
    if dtype not in ("bfloat16", "float8_e4m3fn"):
        return np.dtype(dtype)
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, dtype))


def _has_ml_dtypes() -> bool:
    try:
        import ml_dtypes  # noqa: F401
    except ImportError:
        return False
    return True


# Stores


def several(path: Path) -> Arrays:
    """Save arrays of every dtype in one commit."""
    names = [each for each in DTYPES if _has_ml_dtypes() or "float" not in str(each)]
    arrays = {f"a{n}": values(dtype, 3, 2) for n, dtype in enumerate(names)}
    arrays |= {"0d": np.array(2.5), "none": np.empty((0, 3)), "flat": np.empty((4, 0), "<i4")}
    with NumPack(path) as store:
        store.save(arrays)
    return arrays


def plain(path: Path) -> Arrays:
    """Save an array, and one whose name JSON escapes."""
    arrays = {"x": values("<f8", 6, 2), 'a/"\n\ud800': values("i1", 3)}
    with NumPack(path) as store:
        store.save(arrays)
    return arrays


def empty(path: Path) -> Arrays:
    NumPack(path).open()
    return {}


def changed(path: Path) -> tuple[Arrays, Tree]:
    """Append, drop, replace and save again, so that commits follow the snapshot."""
    store = NumPack(path)
    store.open()
    store.save({"x": values("<f8", 6, 2), "y": values("<i4", 5), "gone": values("u1", 3)})
    store.append({"x": values("<f8", 3, 2), "y": values("<i4", 2)})
    store.drop("x", [1, 4])
    store.replace({"y": values("<i4", 2)[::-1].copy()}, [0, 3])
    store.save({"z": values(STRUCT, 4), "y2": values("<f4", 4, 3)})
    store.drop("gone")
    store.drop("y2", 0)
    store.append({"x": values("<f8", 1, 2)})
    return _still_open(store, path)


def long(path: Path) -> tuple[Arrays, Tree]:
    """Make many commits with snapshots among them."""
    store = NumPack(path)
    store.open()
    store.save({f"n{number}": values("u1", 2) for number in range(12)})
    for number in range(70):
        store.append({f"n{number % 12}": values("u1", 1)})
    store.drop(["n3", "n4"])
    store.drop("n5", slice(2, 5))
    return _still_open(store, path)


def large(path: Path) -> tuple[Arrays, Tree]:
    """Save more than a block, so that there is a checksum file; drop and replace rows."""
    store = NumPack(path)
    store.open()
    store.save({"big": values("<f4", 70_000, 4), "x": values("<i2", 8)})
    store.drop("big", [0, 7, 69_999])
    store.replace({"big": values("<f4", 2, 4)}, [3, 65_600])
    return _still_open(store, path)


def pending(path: Path) -> tuple[Arrays, Tree]:
    """Commit a replace whose rows are not yet in place."""
    store = NumPack(path)
    store.open()
    store.save({"x": values("<f8", 6, 2), "y": values("<i4", 5), "z": values("u1", 4)})
    before = trees.read(path)
    store.replace({"x": -values("<f8", 2, 2), "y": values("<i4", 2) + 1}, [1, 4])
    arrays, tree = _still_open(store, path)
    files = {name: node for name, node in before.items() if name.endswith(".bin")}
    journal = tree["journal"]
    assert isinstance(journal, bytes)
    return arrays, tree | files | {"journal": b"{" + journal[1:]}


def writable(path: Path) -> tuple[Arrays, Tree]:
    """Write rows in place, without checksums."""
    store = NumPack(path)
    store.open()
    store.save({"x": values("<f8", 6, 2), "y": values("<i4", 5)})
    with store.writable_batch_mode() as batch:
        rows = batch.load("x")
        tree = trees.read(path)
        del rows
    arrays = {name: store.load(name) for name in store}
    store.close()
    return arrays, tree


def torn(path: Path) -> tuple[Arrays, Tree]:
    """Leave the remains of a killed writer: uncommitted rows, a torn line, orphans."""
    arrays = plain(path)
    tree = trees.read(path)
    for name, node in list(tree.items()):
        if name.endswith(".bin"):
            tree[name] = node + b"of an append"
    tree["commits.log"] += b'{"commit":2,"time_us":17'
    tree["data/00000099-0badcafe.bin"] = bytes(64)
    tree["commits.log.new"] = b"half"
    return arrays, tree


def attributed(path: Path) -> tuple[Arrays, Tree]:
    """Set attributes of arrays and of the store, in a snapshot and in commits after it."""
    store = NumPack(path)
    store.open()
    store.save({"x": values("<f8", 6, 2), "y": values("<i4", 5), "gone": values("u1", 3)})
    store.attrs["x"].update(dims=["a", "b"], note="é", nested={"n": [1, 2.5, None, True]})
    store.attrs.store["title"] = "t"
    reopened(store)
    store.attrs["y"]["units"] = "m"
    store.append({"x": values("<f8", 3, 2), "y": values("<i4", 2)})
    store.save({"y": values("<i4", 4)})
    store.attrs.store.update(title="u", n=2**64 - 1)
    store.attrs["gone"]["a"] = -0.0
    store.drop("gone")
    return _still_open(store, path)


def staged(path: Path) -> tuple[Arrays, Tree]:
    """Leave the files of a parallel write, and commit another."""
    store = NumPack(path)
    store.open()
    store.save({"x": values("<f8", 6, 2)})
    for name in ("y", "left"):
        rows = values("<i4", 9, 3)
        with (
            contextlib.suppress(IncompleteWriteError),
            store.begin(name, (9, 3), "<i4") as plan,
        ):
            plan[:5] = rows[:5]
            plan[4:7] = rows[4:7]
            if name == "y":
                plan[7:] = rows[7:]
            else:
                arrays, tree = {each: store.load(each) for each in store}, trees.read(path)
    store.close()
    return arrays, tree


def reopened(store: NumPack) -> None:
    """Close and open, which writes a snapshot."""
    store.close()
    store.open()


def _still_open(store: NumPack, path: Path) -> tuple[Arrays, Tree]:
    """Read the files before closing writes a snapshot."""
    arrays, tree = {name: store.load(name) for name in store}, trees.read(path)
    store.close()
    return arrays, tree


# NumPack 0.x


def old(path: Path) -> Arrays:
    arrays = {
        "x": values("<f8", 6, 2),
        "flags": values("?", 70),
        "empty": np.empty((0, 3), "<f4"),
        "0d": np.array(7, "<i8"),
        "é": values("<c16", 2),
    }
    dropped = {"x": [1, 4], "flags": [0, 63, 64, 69]}
    path.mkdir()
    records = []
    for name, array in arrays.items():
        code = CODES.index("?" if array.dtype.kind == "b" else array.dtype.str[1:])
        records.append(Old(name, array.shape, size=array.nbytes, code=code).record())
        (path / f"data_{name}.npkd").write_bytes(array.tobytes())
    head = struct.pack(
        "<4sIQI", b"NPKB", 1, sum(a.nbytes for a in arrays.values()), len(arrays)
    )
    (path / "metadata.npkm").write_bytes(head + b"".join(records))
    for name, rows in dropped.items():
        (path / f"deleted_{name}.npkb").write_bytes(bitmap(len(arrays[name]), rows))
        arrays[name] = np.delete(arrays[name], rows, axis=0)
    return arrays


def upgrading(path: Path) -> tuple[Arrays, Tree]:
    """Interrupt an upgrade before it removes the files that it replaced."""
    arrays = old(path)
    before = trees.read(path)
    with NumPack(path, upgrade=True) as store:
        assert set(store) == set(arrays)
    return arrays, before | trees.read(path)


# safetensors


def _tensors(number: int) -> Seed:
    arrays = {"x": values("<f4", 3, 2), "y": values("<i8", 2), "flags": values("?", 5)}
    if number:
        arrays |= {"none": np.empty((0, 3), "<f8"), "0d": np.array(1.5), "é": values("<f2", 4)}
    codes = {"f4": "F32", "i8": "I64", "b1": "BOOL", "f8": "F64", "f2": "F16"}
    header: dict[str, object] = {"__metadata__": {"format": "np"}} if number else {}
    at, data = 0, b""
    for name, array in arrays.items():
        offsets = [at, at + array.nbytes]
        code = codes[array.dtype.str[1:]]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": offsets}
        at, data = offsets[1], data + array.tobytes()
    text = json.dumps(header).encode()
    return Seed(
        f"tensors{number}", TENSORS, {FILE: struct.pack("<Q", len(text)) + text + data}, arrays
    )


Maker = Callable[[Path], Arrays | tuple[Arrays, Tree]]

_STORES: tuple[Maker, ...] = (
    *(plain, several, empty, changed, long, large, pending, writable, torn, attributed),
    staged,
    upgrading,
)
_OLD: tuple[Maker, ...] = (old,)
