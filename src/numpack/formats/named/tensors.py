"""Files of tensors that become stores and back, by the names of NumPack 0.7."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._calls import to_file, to_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._calls import StorePath


def from_pt(
    file: StorePath,
    npk_path: StorePath,
    array_name: str | None = None,
    drop_if_exists: bool = False,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Store the tensors of a file of ``torch.save``, as `convert` does.

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
    >>> import torch
    >>> from numpack import NumPack, from_pt
    >>> torch.save({"x": torch.arange(3)}, "x.pt")
    >>> from_pt("x.pt", "pt.npk", drop_if_exists=True)
    >>> with NumPack("pt.npk", mode="r") as npk:
    ...     npk["x"].tolist()
    [0, 1, 2]
    """
    to_store(file, npk_path, array_name, drop_if_exists, chunk_size, options, "torch")


def from_safetensors_file(
    file: StorePath,
    npk_path: StorePath,
    array_name: str | None = None,
    drop_if_exists: bool = False,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Store the tensors of a safetensors file, as `convert` does.

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
    >>> import numpy as np
    >>> from safetensors.numpy import save_file
    >>> from numpack import NumPack, from_safetensors_file
    >>> save_file({"x": np.arange(3)}, "x.safetensors")
    >>> from_safetensors_file("x.safetensors", "safetensors_file.npk", drop_if_exists=True)
    >>> with NumPack("safetensors_file.npk", mode="r") as npk:
    ...     npk["x"].tolist()
    [0, 1, 2]
    """
    to_store(file, npk_path, array_name, drop_if_exists, chunk_size, options, "safetensors")


def to_pt(
    npk_path: StorePath,
    file: StorePath,
    array_name: str | Sequence[str] | None = None,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Write arrays of a store to a file of ``torch.save``, as `convert` does.

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
    >>> import torch
    >>> from numpack import NumPack, to_pt
    >>> with NumPack("written.npk", drop_if_exists=True) as npk:
    ...     npk.save({"x": np.arange(3)})
    >>> to_pt("written.npk", "y.pt")
    >>> torch.load("y.pt")["x"]
    tensor([0, 1, 2])
    """
    to_file(npk_path, file, array_name, chunk_size, options, "torch")


def to_safetensors_file(
    npk_path: StorePath,
    file: StorePath,
    array_name: str | Sequence[str] | None = None,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Write arrays of a store to a safetensors file, as `convert` does.

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
    >>> from safetensors.numpy import load_file
    >>> from numpack import NumPack, to_safetensors_file
    >>> with NumPack("written.npk", drop_if_exists=True) as npk:
    ...     npk.save({"x": np.arange(3)})
    >>> to_safetensors_file("written.npk", "y.safetensors")
    >>> load_file("y.safetensors")["x"]
    array([0, 1, 2])
    """
    to_file(npk_path, file, array_name, chunk_size, options, "safetensors")
