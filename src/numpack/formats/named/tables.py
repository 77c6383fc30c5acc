"""Files of tables that become stores and back, by the names of NumPack 0.7."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._calls import to_file, to_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._calls import StorePath


def from_parquet(
    file: StorePath,
    npk_path: StorePath,
    array_name: str | None = None,
    drop_if_exists: bool = False,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Store the columns of a Parquet file, as `convert` does.

    Parameters
    ----------
    file : str or os.PathLike
    npk_path : str or os.PathLike
        The store, which keeps its other arrays; it is created if it does not exist.
    array_name : str, optional
        The name of the array, if the file has only one.
    drop_if_exists : bool, default False
        Drop the other arrays of the store, in the same commit.
    chunk_size : int, optional
        Without effect: about 8 MiB are read at a time.
    **options
        Of `convert`, such as ``columns`` and ``dtype``, and of the format.

    Raises
    ------
    InvalidValueError, UnsupportedError, OSError
        As `convert`; the store is as it was.

    Examples
    --------
    >>> import pyarrow as pa
    >>> import pyarrow.parquet as pq
    >>> from numpack import NumPack, from_parquet
    >>> pq.write_table(pa.table({"x": [0, 1, 2]}), "x.parquet")
    >>> from_parquet("x.parquet", "parquet.npk", drop_if_exists=True)
    >>> with NumPack("parquet.npk", mode="r") as npk:
    ...     npk["x"].tolist()
    [0, 1, 2]
    """
    to_store(file, npk_path, array_name, drop_if_exists, chunk_size, options, "parquet")


def from_feather(
    file: StorePath,
    npk_path: StorePath,
    array_name: str | None = None,
    drop_if_exists: bool = False,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Store the columns of a Feather file, as `convert` does.

    Parameters
    ----------
    file : str or os.PathLike
    npk_path : str or os.PathLike
        The store, which keeps its other arrays; it is created if it does not exist.
    array_name : str, optional
        The name of the array, if the file has only one.
    drop_if_exists : bool, default False
        Drop the other arrays of the store, in the same commit.
    chunk_size : int, optional
        Without effect: about 8 MiB are read at a time.
    **options
        Of `convert`, such as ``columns`` and ``dtype``, and of the format.

    Raises
    ------
    InvalidValueError, UnsupportedError, OSError
        As `convert`; the store is as it was.

    Examples
    --------
    >>> import pyarrow as pa
    >>> import pyarrow.feather
    >>> from numpack import NumPack, from_feather
    >>> pyarrow.feather.write_feather(pa.table({"x": [0, 1, 2]}), "x.feather")
    >>> from_feather("x.feather", "feather.npk", drop_if_exists=True)
    >>> with NumPack("feather.npk", mode="r") as npk:
    ...     npk["x"].tolist()
    [0, 1, 2]
    """
    to_store(file, npk_path, array_name, drop_if_exists, chunk_size, options, "arrow")


def to_parquet(
    npk_path: StorePath,
    file: StorePath,
    array_name: str | Sequence[str] | None = None,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Write arrays of a store to a Parquet file, as `convert` does.

    Parameters
    ----------
    npk_path : str or os.PathLike
    file : str or os.PathLike
        It is replaced once the new one is complete.
    array_name : str or sequence of str, optional
        The arrays, by default all.
    chunk_size : int, optional
        Without effect: about 8 MiB are read at a time.
    **options
        Of `convert`, such as ``dtype``, and of the format.

    Raises
    ------
    InvalidValueError, UnsupportedError, OSError
        As `convert`; the file is as it was.

    Examples
    --------
    >>> import numpy as np
    >>> import pyarrow.parquet as pq
    >>> from numpack import NumPack, to_parquet
    >>> with NumPack("written.npk", drop_if_exists=True) as npk:
    ...     npk.save({"x": np.arange(3)})
    >>> to_parquet("written.npk", "y.parquet")
    >>> pq.read_table("y.parquet")["x"].to_pylist()
    [0, 1, 2]
    """
    to_file(npk_path, file, array_name, chunk_size, options, "parquet")


def to_feather(
    npk_path: StorePath,
    file: StorePath,
    array_name: str | Sequence[str] | None = None,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Write arrays of a store to a Feather file, as `convert` does.

    Parameters
    ----------
    npk_path : str or os.PathLike
    file : str or os.PathLike
        It is replaced once the new one is complete.
    array_name : str or sequence of str, optional
        The arrays, by default all.
    chunk_size : int, optional
        Without effect: about 8 MiB are read at a time.
    **options
        Of `convert`, such as ``dtype``, and of the format.

    Raises
    ------
    InvalidValueError, UnsupportedError, OSError
        As `convert`; the file is as it was.

    Examples
    --------
    >>> import numpy as np
    >>> import pyarrow.feather
    >>> from numpack import NumPack, to_feather
    >>> with NumPack("written.npk", drop_if_exists=True) as npk:
    ...     npk.save({"x": np.arange(3)})
    >>> to_feather("written.npk", "y.feather")
    >>> pyarrow.feather.read_table("y.feather")["x"].to_pylist()
    [0, 1, 2]
    """
    to_file(npk_path, file, array_name, chunk_size, options, "arrow")


from_parquet_table = from_parquet
to_parquet_table = to_parquet
