"""Tensors, tables and frames that become stores and back, by the names of NumPack 0.7."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ..._core.requirements import require
from ...errors import UnsupportedError
from ...io import share
from ...store.format.naming import quoted
from ._calls import lazy_array, lazy_arrays, to_store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    import torch

    from ._calls import StorePath


def from_tensor(
    data: Any, npk_path: StorePath, array_name: str = "data", drop_if_exists: bool = False
) -> None:
    """Store a tensor of PyTorch, or an array of any framework.

    Parameters
    ----------
    data : array
        Of any framework that `share` supports.
    npk_path : str or os.PathLike
        The store, which keeps its other arrays; it is created if it does not exist.
    array_name : str, default "data"
    drop_if_exists : bool, default False
        Drop the other arrays of the store, in the same commit.

    Raises
    ------
    UnsupportedError, OSError
        As `convert`; the store is as it was.

    Examples
    --------
    >>> import torch
    >>> from numpack import from_tensor, to_tensor
    >>> from_tensor(torch.arange(3), "tensor.npk", "x")
    >>> to_tensor("tensor.npk", "x")
    tensor([0, 1, 2])
    """
    to_store({array_name: data}, npk_path, None, drop_if_exists, None, {})


def to_tensor(
    npk_path: StorePath,
    array_name: str | None = None,
    *,
    copy: bool | None = None,
    **options: Any,
) -> torch.Tensor:
    """Return an array of a store as a tensor of PyTorch, over the pages of its file.

    Parameters
    ----------
    npk_path : str or os.PathLike
    array_name : str, optional
        May be left out if the store has one array.
    copy : bool, optional
        As of `share`: by default the memory is shared, copy-on-write, where PyTorch can.
    **options
        Of `share`, such as ``device``.

    Raises
    ------
    NotFoundError
        A `KeyError`: there is no such array.
    InvalidValueError
        The store has several arrays, and none was named.
    UnsupportedError
        PyTorch does not have the dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack, to_tensor
    >>> with NumPack("one_tensor.npk") as npk:
    ...     npk.save({"x": np.arange(3)})
    >>> to_tensor("one_tensor.npk")
    tensor([0, 1, 2])
    """
    return share(lazy_array(npk_path, array_name), "torch", copy=copy, **options)


def from_tensor_dict(
    data: Mapping[str, Any], npk_path: StorePath, drop_if_exists: bool = False
) -> None:
    """Store tensors by their names, such as a state dict of PyTorch, in one commit.

    Parameters
    ----------
    data : mapping of str to array
        Of any framework that `share` supports.
    npk_path : str or os.PathLike
        The store, which keeps its other arrays; it is created if it does not exist.
    drop_if_exists : bool, default False
        Drop the other arrays of the store, in the same commit.

    Raises
    ------
    UnsupportedError, OSError
        As `convert`; the store is as it was.

    Examples
    --------
    >>> import torch
    >>> from numpack import from_tensor_dict, to_tensor_dict
    >>> from_tensor_dict(torch.nn.Linear(2, 1).state_dict(), "linear.npk")
    >>> {name: tuple(each.shape) for name, each in to_tensor_dict("linear.npk").items()}
    {'weight': (1, 2), 'bias': (1,)}
    """
    to_store(data, npk_path, None, drop_if_exists, None, {})


def to_tensor_dict(
    npk_path: StorePath,
    array_name: str | Sequence[str] | None = None,
    *,
    copy: bool | None = None,
    **options: Any,
) -> dict[str, torch.Tensor]:
    """Return arrays of a store as tensors of PyTorch, over the pages of their files.

    Parameters
    ----------
    npk_path : str or os.PathLike
    array_name : str or sequence of str, optional
        By default all.
    copy : bool, optional
        As of `share`: by default the memory is shared, copy-on-write, where PyTorch can.
    **options
        Of `share`, such as ``device``.

    Raises
    ------
    NotFoundError
        A `KeyError`: there is no such array.
    UnsupportedError
        PyTorch does not have a dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack, to_tensor_dict
    >>> with NumPack("tensors.npk") as npk:
    ...     npk.save({"x": np.arange(3), "y": np.zeros(1)})
    >>> to_tensor_dict("tensors.npk", ["x"])
    {'x': tensor([0, 1, 2])}
    """
    arrays = lazy_arrays(npk_path, array_name)
    return {name: share(each, "torch", copy=copy, **options) for name, each in arrays.items()}


def from_table(
    data: Any, npk_path: StorePath, drop_if_exists: bool = False, **options: Any
) -> None:
    """Store the columns of a table of Arrow, Polars, DuckDB or datasets.

    Parameters
    ----------
    data : table
    npk_path : str or os.PathLike
        The store, which keeps its other arrays; it is created if it does not exist.
    drop_if_exists : bool, default False
        Drop the other arrays of the store, in the same commit.
    **options
        Of `convert`, such as ``columns`` and ``nulls``.

    Raises
    ------
    UnsupportedError, OSError
        As `convert`; the store is as it was.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from numpack import from_table, to_table
    >>> from_table(pa.table({"x": [1.5, 2.5], "id": ["a", "b"]}), "table.npk", columns=["x"])
    >>> to_table("table.npk").to_pydict()
    {'x': [1.5, 2.5]}
    """
    to_store(data, npk_path, None, drop_if_exists, None, options)


def to_table(
    npk_path: StorePath,
    array_name: str | Sequence[str] | None = None,
    *,
    copy: bool | None = None,
) -> pa.Table:
    """Return arrays of a store as the columns of an Arrow table.

    Rows of N-D arrays become fixed-shape tensors.

    Parameters
    ----------
    npk_path : str or os.PathLike
    array_name : str or sequence of str, optional
        By default all. They must have the same number of rows.
    copy : bool, optional
        As of `share`: by default columns share the pages of the files where Arrow can, and a
        `CopyWarning` names those that are copied.

    Raises
    ------
    NotFoundError
        A `KeyError`: there is no such array.
    UnsupportedError
        Arrow has no type for a dtype, or an array is 0-d.
    ArrowInvalid
        The arrays have different numbers of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack, to_table
    >>> with NumPack("columns.npk") as npk:
    ...     npk.save({"x": np.arange(3), "y": np.zeros(3)})
    >>> to_table("columns.npk", "x").to_pydict()
    {'x': [0, 1, 2]}
    """
    require("to_table", "pyarrow>=18", "numpack[arrow]")
    import pyarrow as pa  # noqa: PLC0415 -- on demand

    columns = {}
    for name, array in lazy_arrays(npk_path, array_name).items():
        _require_column(name, array.ndim, "an Arrow table")
        layout: Literal["tensor", "flat"] = "tensor" if array.ndim > 1 else "flat"
        columns[name] = share(array, "arrow", copy=copy, layout=layout)
    return pa.table(columns)


def from_dataframe(
    data: Any, npk_path: StorePath, drop_if_exists: bool = False, **options: Any
) -> None:
    """Store the columns of a frame of pandas or Polars.

    Levels of the index that have names are columns too; an index without a name is left out.

    Parameters
    ----------
    data : pandas.DataFrame or polars.DataFrame
    npk_path : str or os.PathLike
        The store, which keeps its other arrays; it is created if it does not exist.
    drop_if_exists : bool, default False
        Drop the other arrays of the store, in the same commit.
    **options
        Of `convert`, such as ``columns`` and ``nulls``.

    Raises
    ------
    UnsupportedError, OSError
        As `convert`; the store is as it was.

    Examples
    --------
    >>> import pandas as pd
    >>> from numpack import from_dataframe, to_dataframe
    >>> from_dataframe(pd.DataFrame({"x": [1.5, 2.5], "n": [3, 4]}), "frame.npk")
    >>> to_dataframe("frame.npk")
         x  n
    0  1.5  3
    1  2.5  4
    """
    to_store(data, npk_path, None, drop_if_exists, None, options)


def to_dataframe(
    npk_path: StorePath,
    array_name: str | Sequence[str] | None = None,
    *,
    copy: bool | None = None,
) -> Any:
    """Return arrays of a store as the columns of a frame of pandas.

    Parameters
    ----------
    npk_path : str or os.PathLike
    array_name : str or sequence of str, optional
        By default all. They must have the same number of rows.
    copy : bool, optional
        As of `share`: by default columns share the pages of the files, copy-on-write.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    NotFoundError
        A `KeyError`: there is no such array.
    UnsupportedError
        An array is not one-dimensional.
    ValueError
        The arrays have different numbers of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack, to_dataframe
    >>> with NumPack("series.npk") as npk:
    ...     npk.save({"x": np.arange(2), "y": np.ones(2)})
    >>> to_dataframe("series.npk")
       x    y
    0  0  1.0
    1  1  1.0
    """
    require("to_dataframe", "pandas>=2.2.2", "numpack[pandas]")
    import pandas as pd  # noqa: PLC0415 -- on demand

    columns = {}
    for name, array in lazy_arrays(npk_path, array_name).items():
        _require_column(name, array.ndim, "a frame of pandas", most=1)
        columns[name] = share(array, "pandas", copy=copy)
    return pd.DataFrame(columns, copy=False)


def _require_column(name: str, ndim: int, label: str, most: int = 64) -> None:
    if not 1 <= ndim <= most:
        reason = f"a column has rows{' of one value' if most == 1 else ''}"
        fix = "choose others with array_name=, or load it with NumPack.load"
        msg = (
            f"{quoted(name)} has {ndim} dimensions and is no column of {label}: {reason}; {fix}"
        )
        raise UnsupportedError(msg, reason=reason, fix=fix)
