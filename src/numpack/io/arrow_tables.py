"""Arrow arrays and tables: the zero-copy functions of NumPack's interface for them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, overload

from .._core.policy import carry_out
from .._dlpack.decorators import fast_export, fast_import, fast_import_column
from ..adapters import by_name
from ..adapters._foreign_errors import translate_errors
from ..adapters.numpy import require_array

if TYPE_CHECKING:
    import pyarrow as pa

    from .._core.memory import Array
    from .._core.policy import Plan
    from ..adapters._options import Layout, Nulls


@fast_export("arrow")
@translate_errors("to Arrow")
def numpy_to_arrow_zero_copy(
    array: Array,
    *,
    layout: Layout = "flat",
    type: Any = None,  # noqa: A002 -- pyarrow's name
    copy: bool | None = None,
) -> pa.Array:
    """Return an Arrow array over the memory of an array.

    Parameters
    ----------
    array : ndarray
        Of any shape. The mask of a masked array becomes the validity bitmap, and so does
        NaT; NaN stays NaN.
    layout : {"flat", "tensor", "list"}, default "flat"
        How an N-D array is represented: one value per element in C order; a
        `pyarrow.FixedShapeTensorArray` with one tensor per row; fixed-size lists. All share
        memory.
    type : pyarrow.DataType, optional
        The Arrow type, for example ``pa.bool8()`` to share booleans as bytes.
    copy : bool or None, optional
        The copy policy.

    Returns
    -------
    pyarrow.Array

    Raises
    ------
    ZeroCopyError
        Memory cannot be shared (bool, strided, byte-swapped, strings, coarse datetimes)
        and ``copy=False``.
    UnsupportedError
        Arrow has no such type (complex, bfloat16, longdouble) or cannot hold the values.
    WrongTypeError
        `array` is not an ndarray.

    References
    ----------
    Arrow columnar format: fixed-size primitive layout, validity bitmaps, fixed-size list
    layout; canonical extension types ``arrow.fixed_shape_tensor`` and ``arrow.bool8``.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack.io import numpy_to_arrow_zero_copy
    >>> numpy_to_arrow_zero_copy(np.zeros((2, 3)), layout="tensor").type.shape
    [3]
    """
    array = require_array("numpy_to_arrow_zero_copy", array, copy)
    plan: Plan[pa.Array] = by_name("arrow").module().from_numpy(array, layout=layout, type=type)
    return carry_out(plan, copy)


@fast_import("arrow")
@translate_errors("from Arrow")
def arrow_to_numpy_zero_copy(
    arrow_array: Any, *, nulls: Nulls = "convert", copy: bool | None = None
) -> Array:
    """Return an array over the memory of an Arrow array.

    Parameters
    ----------
    arrow_array : pyarrow.Array, pyarrow.ChunkedArray or Arrow PyCapsule exporter
        Fixed-size lists and fixed-shape tensors become N-D; fixed-size binary becomes
        void (``V``), which unlike ``S`` keeps trailing zero bytes.
    nulls : {"convert", "mask", "raise"}, default "convert"
        How nulls are represented: as NaN, NaT or None in a copy; by a `MaskedArray` over
        the same memory; not at all, which raises `NullError`.
    copy : bool or None, optional
        The copy policy.

    Returns
    -------
    ndarray
        Read-only where memory is shared, because Arrow memory is immutable.

    Raises
    ------
    ZeroCopyError
        Memory cannot be shared (bool, strings, nulls, several chunks or the like) and
        ``copy=False``.
    UnsupportedError
        No array can hold the values: integers above 2**53 beside nulls, a union.
    NullError
        ``nulls="raise"`` and there are nulls.
    WrongTypeError
        `arrow_array` is not an Arrow array.

    References
    ----------
    Arrow columnar format: fixed-size primitive layout, validity bitmaps, fixed-size list
    layout; canonical extension types; Arrow PyCapsule interface.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from numpack.io import arrow_to_numpy_zero_copy
    >>> arrow_to_numpy_zero_copy(pa.array([1, None, 3]), nulls="mask")
    masked_array(data=[1, --, 3],
                 mask=[False,  True, False],
           fill_value=999999)
    """
    plan = by_name("arrow").module().to_numpy(arrow_array, nulls=nulls)
    return carry_out(plan, copy)


@overload
def table_to_numpy_zero_copy(
    table: Any, column: str | int, *, nulls: Nulls = "convert", copy: bool | None = None
) -> Array: ...
@overload
def table_to_numpy_zero_copy(
    table: Any, column: None = None, *, nulls: Nulls = "convert", copy: bool | None = None
) -> dict[str, Array]: ...
@fast_import_column
@translate_errors("from Arrow")
def table_to_numpy_zero_copy(
    table: Any,
    column: str | int | None = None,
    *,
    nulls: Nulls = "convert",
    copy: bool | None = None,
) -> Array | dict[str, Array]:
    """Return arrays over the memory of one column of a table, or of all.

    Parameters
    ----------
    table : pyarrow.Table, pyarrow.RecordBatch or object with ``__arrow_c_stream__``
    column : str or int, optional
        The name or position of one column; by default all columns are converted.
    nulls, copy
        As for `arrow_to_numpy_zero_copy`.

    Returns
    -------
    ndarray or dict of str to ndarray
        One column, or all in the order of the table.

    Raises
    ------
    NotFoundError
        A `KeyError`: there is no column of that name.
    InvalidValueError
        Several columns have that name.
    IndexRangeError
        There is no column at that position.
    ZeroCopyError, UnsupportedError, NullError
        As `arrow_to_numpy_zero_copy`.
    WrongTypeError
        `table` is not a table.

    References
    ----------
    Arrow PyCapsule interface, ``__arrow_c_stream__``.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from numpack.io import table_to_numpy_zero_copy
    >>> table_to_numpy_zero_copy(pa.table({"x": [1.5, 2.5]}), "x")
    array([1.5, 2.5])
    """
    arrow: Any = by_name("arrow").module()
    found = arrow.as_table(table)
    plan = functools.partial(arrow.to_numpy, nulls=nulls)
    if column is not None:
        one: Array = carry_out(plan(arrow.select(found, column)), copy)
        return one
    return {name: carry_out(plan(found.column(name)), copy) for name in arrow.names(found)}
