"""xarray: stores as datasets, ``xarray.open_dataset(path, engine="numpack")``.

Source: the xarray documentation "How to add a new backend" and of ``xarray.Variable``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from .._core.memory import aligned_copy
from .._core.policy import wrong_type
from ..errors import InvalidValueError
from ..store import NumPack
from ..store.checks import checked_attribute, checked_key, checked_name
from ..store.commits.attributes import checked_text
from ..store.format.folder import HEADER
from ..store.format.log.attributes import values_of
from ..store.format.naming import quoted
from ..store.format.numpack0.files import METADATA as NUMPACK0_METADATA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .._core.memory import Array
    from ..store import LazyArray
    from ..store.reading.snapshot import Snapshot

__all__ = ["NumpackBackendEntrypoint", "to_store"]

DIMS, COORDINATES = "dims", "coordinates"  # attributes that are not shown as attributes

_INTEGERS = int | np.integer
_CHUNK_BYTES = 128 << 20  # of a preferred chunk, as of Dask's own


class NumpackBackendEntrypoint(BackendEntrypoint):
    """Backend of xarray for stores.

    Every array becomes a variable, as of one commit, that is read when it is needed. Its
    attributes become those of the variable, except `dims`, the list of the names of its axes;
    without it axis 0 of ``x`` is called ``x_dim_0``. A 1-D array with the name of its
    dimension is an index. The attribute `coordinates` of an array or of the store, a list of
    names or a string of names with spaces between them, makes other arrays coordinates.

    While the dataset is open, its rows stay as they are: writers who replace some write to a
    copy. Values that have been read are independent of the store. Dask arrays, and pickled
    datasets, refer to the files, and have names (tokens) of their contents.

    Nothing is decoded: call `xarray.decode_cf` for data that follow the CF conventions.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from numpack import NumPack
    >>> with NumPack("xarray.npk") as npk:
    ...     npk.save({"heat": np.zeros((2, 3), "f4"), "time": np.array([10, 20])})
    ...     npk.attrs["heat"].update(dims=["time", "site"], units="K")
    ...     npk.attrs["time"]["dims"] = ["time"]
    >>> with xr.open_dataset("xarray.npk", engine="numpack") as dataset:
    ...     heat = dataset["heat"].sel(time=20).load()
    >>> heat.dims, heat.attrs
    (('site',), {'units': 'K'})
    """

    description = "Open stores of numpack"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "storage_options")

    def open_dataset(  # type: ignore[override]  # other objects than paths are refused
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> xr.Dataset:
        """Open a store as a dataset.

        Parameters
        ----------
        filename_or_obj : str or os.PathLike
            Path of the store, or its URL in an object store.
        drop_variables : str or iterable of str, optional
            Names of arrays to leave out.
        storage_options : mapping, optional
            For a URL, see `NumPack`.

        Raises
        ------
        InvalidValueError
            The attribute `dims` of an array does not fit it, or two arrays have different
            lengths along one dimension.
        StoreError
            There is no store, or it cannot be read.

        Examples
        --------
        >>> import numpy as np, xarray as xr
        >>> from numpack import NumPack
        >>> with NumPack("opened.npk") as npk:
        ...     npk.save({"x": np.arange(3), "y": np.arange(2)})
        >>> xr.open_dataset("opened.npk", engine="numpack", drop_variables="y").sizes["x_dim_0"]
        3
        """
        if isinstance(drop_variables, str):
            drop_variables = [drop_variables]
        opened = _Opened(NumPack(filename_or_obj, mode="r", storage_options=storage_options))
        try:
            return _dataset(opened.snapshot_without(set(drop_variables or ())), opened)
        except BaseException:
            opened()
            raise

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether a path is that of a store, or of a folder of NumPack 0.x.

        Examples
        --------
        >>> from numpack import NumPack
        >>> from numpack.distributed.xarray import NumpackBackendEntrypoint
        >>> NumPack("guessed.npk").open()
        >>> NumpackBackendEntrypoint().guess_can_open("guessed.npk")
        True
        """
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        path = os.fspath(filename_or_obj)
        headers = (HEADER, NUMPACK0_METADATA)
        return any(os.path.isfile(os.path.join(path, name)) for name in headers)  # noqa: PTH113, PTH118


def to_store(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Save the variables, coordinates and attributes of a dataset in one commit.

    ``xarray.open_dataset(path, engine="numpack")`` returns an equal dataset.

    Parameters
    ----------
    dataset : Dataset
        Its values are loaded into memory.
    path : str or os.PathLike
        A store, which is created if it does not exist. Its arrays of the same names are
        replaced, with their attributes; others stay.

    Raises
    ------
    InvalidValueError
        A variable has an attribute `dims`, or the dataset or a variable one `coordinates`,
        which have a meaning of their own; or a number cannot be an attribute.
    WrongTypeError
        A name is not a string.
    UnsupportedError
        The store cannot hold a dtype, such as object; or JSON cannot hold an attribute.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from numpack.distributed.xarray import to_store
    >>> heat = xr.Dataset({"heat": (("time", "site"), np.zeros((2, 3)), {"units": "K"})})
    >>> to_store(heat, "to_store.npk")
    >>> xr.open_dataset("to_store.npk", engine="numpack").identical(heat)
    True
    """
    if not isinstance(dataset, xr.Dataset):
        fix = "pass array.to_dataset(name=...)"
        wrong_type("to_store", "an xarray.Dataset", dataset, fix)
    _refuse_reserved("the dataset", dataset.attrs, COORDINATES)
    values, attributes = {}, {}
    for key, variable in dataset.variables.items():
        name = checked_name(key)
        _refuse_reserved(quoted(name), variable.attrs, DIMS, COORDINATES)
        values[name] = variable.values
        attributes[name] = _as_json(name, {DIMS: list(variable.dims), **variable.attrs})
    own = dict(dataset.attrs)
    others = [name for name in dataset.coords if dataset.variables[name].dims != (name,)]
    if others:
        own[COORDINATES] = others
    own = _as_json(None, own)
    with NumPack(path) as store, store.batch_mode():
        store.save(values)
        for name, attrs in attributes.items():
            store.attrs[name].clear()
            store.attrs[name].update(attrs)
        store.attrs.store.update(own)


def _as_json(owner: str | None, attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as the store holds them, before anything is saved."""
    found = {checked_key(key): checked_attribute(key, value) for key, value in attrs.items()}
    checked_text(owner, found)
    return found


def _refuse_reserved(owner: str, attrs: Mapping[Any, Any], *names: str) -> None:
    for name in names:
        if name in attrs:
            msg = (
                f"the attribute {name!r} of {owner} cannot be saved, because the store uses it "
                "to describe dimensions and coordinates; rename it"
            )
            raise InvalidValueError(msg)


class Variable(xr.Variable):
    """A variable whose Dask array is named after the stored rows.

    xarray names it after the path and the folder's time of modification, which does not
    change when rows are appended or replaced.
    """

    __slots__ = ()

    def chunk(self, *args: Any, **options: Any) -> Any:
        """Return the variable as a Dask array; see `xarray.Variable.chunk`."""
        found = _stored(self._data)
        if found is not None:
            from dask.base import tokenize  # noqa: PLC0415 -- optional

            inner = options.get("from_array_kwargs") or {}
            for names in (options, inner):
                if isinstance(names.get("name"), str):
                    names["name"] = f"{names['name']}-{tokenize(found.rows)}"
        return super().chunk(*args, **options)


class StoredArray(BackendArray):
    """An array of a store, read when xarray indexes it.

    Parameters
    ----------
    rows : LazyArray
        It pickles as a reference, and so does this object.
    """

    __slots__ = ("dtype", "rows", "shape")

    def __init__(self, rows: LazyArray) -> None:
        self.rows = rows
        self.shape = rows.shape
        self.dtype = rows.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """Read the selected values into memory of their own."""
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> Array:
        """Read by one index per axis: an integer, a slice, or an array of positions.

        Rows are gathered first. Slices of the other axes are taken with them, positions after.
        """
        rows = self.rows
        others = list(zip(key, self.shape, strict=True))[1:]
        if key and not isinstance(key[0], _INTEGERS) and all(_is_whole(*k) for k in others):
            return rows.take(key[0])
        later = tuple(slice(None) if _is_array(each) else each for each in key[1:])
        taken: Any = rows[(*key[:1], *later)]
        taken, axis = np.asarray(taken), 0
        for number, each in enumerate(key):
            if _is_array(each) and number > 0:
                taken = taken.take(each, axis=axis)
            axis += not isinstance(each, _INTEGERS)
        return taken if taken.flags.owndata and taken.flags.writeable else aligned_copy(taken)


class _Opened:
    """An open store and the snapshot that a dataset reads; a copy in another process has none.

    Calling it ends the hold of the files, and closes the store.
    """

    def __init__(self, store: NumPack | None = None) -> None:
        self._store = store
        self._snapshot: Snapshot | None = None

    def snapshot_without(self, dropped: set[str]) -> Snapshot:
        """Open the store, and take the snapshot of its arrays, except some."""
        assert self._store is not None  # noqa: S101 -- for the type checker
        self._store.open()
        names = [name for name in self._store if name not in dropped]
        self._snapshot = self._store._snapshot(names)  # noqa: SLF001 -- of this package
        return self._snapshot

    def __call__(self) -> None:
        if self._snapshot is not None:
            self._snapshot.close()
        if self._store is not None:
            self._store.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Opened, ()


def _dataset(snapshot: Snapshot, close: Callable[[], None]) -> xr.Dataset:
    arrays, catalog = snapshot.arrays, snapshot.catalog
    variables: dict[str, Variable] = {}
    lengths: dict[str, tuple[int, str]] = {}  # of each dimension, and an array that has it
    coordinates: dict[str, None] = {}  # in order
    for name, rows in arrays.items():
        attrs = values_of(catalog.arrays[name].attrs)
        dims = _dims(name, rows, attrs)
        for dim, length in zip(dims, rows.shape, strict=True):
            _check_length(lengths, name, dim, length)
        encoding: dict[str, Any] = {}
        coordinates |= _coordinates(attrs, encoding, arrays)
        if chunk := _preferred_chunk(rows):
            encoding["preferred_chunks"] = dict(zip(dims, chunk, strict=True))
        data = indexing.LazilyIndexedArray(StoredArray(rows))
        variables[name] = Variable(dims, data, attrs, encoding, fastpath=True)
        if dims == (name,):
            coordinates[name] = None
    attrs, encoding = values_of(catalog.attrs), {}
    coordinates |= _coordinates(attrs, encoding, arrays)
    coords = xr.Coordinates({name: variables.pop(name) for name in coordinates}, indexes={})
    dataset = xr.Dataset(variables, coords=coords, attrs=attrs)
    dataset.encoding = encoding
    dataset.set_close(close)
    return dataset


def _dims(name: str, rows: LazyArray, attrs: dict[str, Any]) -> tuple[str, ...]:
    """Remove the names of the axes from the attributes of an array, and return them."""
    if DIMS not in attrs:
        return tuple(f"{name}_dim_{axis}" for axis in range(rows.ndim))
    dims = attrs.pop(DIMS)
    is_list = isinstance(dims, list) and all(isinstance(dim, str) for dim in dims)
    if not is_list or len(dims) != rows.ndim or len(set(dims)) != len(dims):
        msg = (
            f"the attribute 'dims' of {quoted(name)} is {dims!r:.200}, and its shape is "
            f"{rows.shape}: a list of {rows.ndim} different names is needed; set "
            f"npk.attrs[{name!r}]['dims'], or pass drop_variables=[{name!r}]"
        )
        raise InvalidValueError(msg)
    return tuple(dims)


def _check_length(
    lengths: dict[str, tuple[int, str]], name: str, dim: str, length: int
) -> None:
    """Check that a dimension has one length in all arrays, and record it."""
    known, other = lengths.setdefault(dim, (length, name))
    if known != length:
        msg = (
            f"the dimension {quoted(dim)} has the length {known:,} in {quoted(other)} and "
            f"{length:,} in {quoted(name)}; change the attribute 'dims' of one of them, or "
            f"pass drop_variables=[{name!r}]"
        )
        raise InvalidValueError(msg)


def _coordinates(
    attrs: dict[str, Any], encoding: dict[str, Any], arrays: Mapping[str, object]
) -> dict[str, None]:
    """Move the names of coordinates from attributes to an encoding, as `decode_cf` does.

    They stay where they are if they are not names of arrays.
    """
    given = attrs.get(COORDINATES)
    names = given.split() if isinstance(given, str) else given
    if not isinstance(names, list) or not all(
        isinstance(name, str) and name in arrays for name in names
    ):
        return {}
    encoding[COORDINATES] = attrs.pop(COORDINATES)
    return dict.fromkeys(names)


def _preferred_chunk(rows: LazyArray) -> tuple[int, ...]:
    """Return the shape of a chunk of whole rows; empty for an array that is one chunk."""
    if not rows.ndim or rows.nbytes <= _CHUNK_BYTES:
        return ()
    count = max(1, _CHUNK_BYTES * len(rows) // rows.nbytes)
    return 1 << (count.bit_length() - 1), *rows.shape[1:]


def _stored(data: Any) -> StoredArray | None:
    """Return the stored array inside of the wrappers of xarray."""
    while data is not None and not isinstance(data, StoredArray):
        data = getattr(data, "array", None)
    return data


def _is_array(key: Any) -> bool:
    return isinstance(key, np.ndarray)


def _is_whole(key: Any, length: int) -> bool:
    """Return whether an index selects a whole axis."""
    return isinstance(key, slice) and key.indices(length) == (0, length, 1)
