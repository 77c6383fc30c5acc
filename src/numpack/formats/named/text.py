"""Files of text that become stores and back, by the names of NumPack 0.7."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._calls import to_file, to_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._calls import StorePath


def from_csv(
    file: StorePath,
    npk_path: StorePath,
    array_name: str | None = None,
    drop_if_exists: bool = False,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    r"""Store the columns of a CSV file, as `convert` does.

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
    >>> from pathlib import Path
    >>> from numpack import NumPack, from_csv
    >>> size = Path("x.csv").write_text("x\n0\n1\n2\n")
    >>> from_csv("x.csv", "csv.npk", drop_if_exists=True)
    >>> with NumPack("csv.npk", mode="r") as npk:
    ...     npk["x"].tolist()
    [0, 1, 2]
    """
    to_store(file, npk_path, array_name, drop_if_exists, chunk_size, options, "csv")


def from_txt(
    file: StorePath,
    npk_path: StorePath,
    array_name: str | None = None,
    drop_if_exists: bool = False,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    r"""Store the array of a text file of numbers, as `convert` does.

    Parameters
    ----------
    file : str or os.PathLike
    npk_path : str or os.PathLike
        The store, which keeps its other arrays; it is created if it does not exist.
    array_name : str, optional
        The name of the array, if it is not to be that of the file.
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
    >>> from pathlib import Path
    >>> from numpack import NumPack, from_txt
    >>> size = Path("x.txt").write_text("0\n1\n2\n")
    >>> from_txt("x.txt", "txt.npk", drop_if_exists=True)
    >>> with NumPack("txt.npk", mode="r") as npk:
    ...     npk["x"].tolist()
    [0.0, 1.0, 2.0]
    """
    to_store(file, npk_path, array_name, drop_if_exists, chunk_size, options, "csv")


def to_csv(
    npk_path: StorePath,
    file: StorePath,
    array_name: str | Sequence[str] | None = None,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Write arrays of a store to a CSV file, as `convert` does.

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
    >>> from pathlib import Path
    >>> from numpack import NumPack, to_csv
    >>> with NumPack("written.npk", drop_if_exists=True) as npk:
    ...     npk.save({"x": np.arange(3)})
    >>> to_csv("written.npk", "y.csv")
    >>> Path("y.csv").read_text().split()
    ['"x"', '0', '1', '2']
    """
    to_file(npk_path, file, array_name, chunk_size, options, "csv")


def to_txt(
    npk_path: StorePath,
    file: StorePath,
    array_name: str | None = None,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Write the array of a store to a text file of numbers, as `convert` does.

    Parameters
    ----------
    npk_path : str or os.PathLike
    file : str or os.PathLike
        It is replaced once the new one is complete.
    array_name : str, optional
        The array, if the store has several.
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
    >>> from pathlib import Path
    >>> from numpack import NumPack, to_txt
    >>> with NumPack("written.npk", drop_if_exists=True) as npk:
    ...     npk.save({"x": np.arange(3)})
    >>> to_txt("written.npk", "y.txt")
    >>> Path("y.txt").read_text().split()
    ['0', '1', '2']
    """
    to_file(npk_path, file, array_name, chunk_size, options, "csv")
