"""The fix in the error for an object that is not an array.

Types are identified by qualified names, as in the registry, so that nothing is imported.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_OPEN = (
    "open the file it names: np.load(x, mmap_mode='r'), numpack.NumPack(x), "
    "numpack.io.SafetensorsFile(x)"
)
_READ = "read the part that you need first: x[...]"
_COLLECT = "collect its values first: np.fromiter(x, dtype)"
_LIST = "pass np.array(list(x))"
_MAP = "map the file that it reads: np.memmap(x.name, mode='r')"
_MAKE = "make an array of its values first; numpack does not know its memory layout"
_NUMBERS = "pass np.asarray(x)"

# By qualified names of types, subclasses included; a name that ends in a dot is a package.
_FIXES = {
    "builtins.dict": "share its values one by one, or make a table of them: pyarrow.table(x)",
    "builtins.generator": _COLLECT,
    "builtins.map": _COLLECT,
    "builtins.filter": _COLLECT,
    "builtins.set": _LIST,
    "builtins.frozenset": _LIST,
    "builtins.dict_keys": _LIST,
    "builtins.dict_values": _LIST,
    "builtins.str": _OPEN,
    "pathlib.PurePath": _OPEN,
    "_io.BytesIO": "pass its memory: x.getbuffer()",
    "_io.FileIO": _MAP,
    "_io.BufferedReader": _MAP,
    "_io.BufferedRandom": _MAP,
    "multiprocessing.sharedctypes.SynchronizedBase": "pass the locked object: x.get_obj()",
    "multiprocessing.shared_memory.ShareableList": _LIST,
    "multiprocessing.managers.BaseListProxy": _LIST,
    "numpack.store.store.NumPack": "share one of its arrays: store.load(name, lazy=True)",
    "torch.storage.UntypedStorage": (
        "make a tensor over it: torch.empty(0, dtype=torch.uint8, device=x.device).set_(x)"
    ),
    "torch.storage.TypedStorage": (
        "make a tensor over it: torch.empty(0, dtype=x.dtype, device=x.device).set_(x)"
    ),
    "cv2.UMat": "copy it to the CPU first: x.get()",
    "cv2.cuda.GpuMat": "copy it to the CPU first: x.download()",
    "h5py._hl.group.Group": "pass one of its datasets: x[name][...]",
    "h5py.": _READ,
    "zarr.core.group.Group": "pass one of its arrays: x[name][...]",
    "zarr.": _READ,
    "blosc2.": _READ,
    "tables.": _READ,
    "netCDF4.": _READ,
    "dask.": "compute it first: x.compute()",
    "awkward.": "pass awkward.to_arrow(x), or awkward.to_numpy(x) if it is regular",
    "datasets.iterable_dataset.IterableDataset": (
        "collect its rows first: datasets.Dataset.from_generator(lambda: iter(x))"
    ),
    "datasets.": "pass a datasets.Dataset, or one of its columns",
    "narwhals.": "pass a series or a frame of it, computed: x.collect()",
    "keras.src.layers.layer.Layer": "pass one of its variables: x.variables[0]",
    "keras.": "pass a variable that has a value",
    "pyarrow.lib.Scalar": "make an array of it: pyarrow.array([x.as_py()], x.type)",
    "pyarrow.lib.SparseCOOTensor": "pass x.to_tensor()",
    "pyarrow.lib.SparseCSRMatrix": "pass x.to_tensor()",
    "pyarrow.lib.SparseCSCMatrix": "pass x.to_tensor()",
    "pyarrow.lib.SparseCSFTensor": "pass x.to_tensor()",
    "pyarrow._dataset.Dataset": "read it first: x.to_table()",
    "pyarrow.parquet.core.ParquetFile": "read it first: x.read()",
    "pyarrow.": "pass an array or a table of it",
    "pandas.": "pass a Series, an Index or a DataFrame of its values",
    "polars.expr.expr.Expr": "compute it first: polars.select(x).to_series()",
    "polars.": "pass a Series or a DataFrame",
}


def fix_for(obj: object) -> str:
    """Return the fix for an object that is not an array, for the end of a message."""
    full, packages = zip(*map(names_of, type(obj).__mro__), strict=True)
    for name in (*full, *packages):
        if name in _FIXES:
            return _FIXES[name]
    if isinstance(obj, list | tuple):
        return _sequence_fix(obj)
    if _is_number(obj) or hasattr(type(obj), "__array__") or isinstance(obj, range):
        return _NUMBERS
    return _MAKE


def names_of(kind: type) -> tuple[str, str]:
    """Return the qualified name of a type, and the name of its package with a dot."""
    return (
        f"{kind.__module__}.{kind.__qualname__}",
        f"{str(kind.__module__).partition('.')[0]}.",
    )


def objects_fix(array: np.ndarray[tuple[int, ...], Any]) -> str:
    """Return the fix for an array of objects where numbers are needed, or an empty string."""
    if array.dtype.kind != "O" or array.size == 0:
        return ""
    first = array.flat[0]
    if not isinstance(first, list | tuple | np.ndarray):
        return ""
    try:
        kind = np.stack(list(array.flat)).dtype.kind
    except (ValueError, TypeError):
        return "bring its rows to one length first, or convert them one by one: array[i]"
    if kind in "SUT":
        return "encode the strings as numbers first"
    return "stack its rows: np.stack(array)" + (".astype(float)" if kind == "O" else "")


def _sequence_fix(values: object) -> str:
    """Return the fix for a list or tuple."""
    try:
        made = np.asarray(values)
    except Exception:  # noqa: BLE001 -- the elements may raise anything
        made = None
    if made is not None and made.dtype != object:
        return _NUMBERS
    if isinstance(values, list) and all(isinstance(each, dict) for each in values):
        return "make a table of it: pyarrow.Table.from_pylist(x)"
    return "share its elements one by one, or bring them to one shape and dtype first"


def _is_number(obj: object) -> bool:
    return isinstance(obj, bool | int | float | complex | np.generic)
