"""Files of arrays that become stores and back, by the names of NumPack 0.7."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._calls import to_file, to_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._calls import StorePath


def from_npy(
    file: StorePath,
    npk_path: StorePath,
    array_name: str | None = None,
    drop_if_exists: bool = False,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Store the array of an ``.npy`` file, as `convert` does.

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
    >>> import numpy as np
    >>> from numpack import NumPack, from_npy
    >>> np.save("x.npy", np.arange(3))
    >>> from_npy("x.npy", "npy.npk", drop_if_exists=True)
    >>> with NumPack("npy.npk", mode="r") as npk:
    ...     npk["x"].tolist()
    [0, 1, 2]
    """
    to_store(file, npk_path, array_name, drop_if_exists, chunk_size, options, "npy")


def from_hdf5(
    file: StorePath,
    npk_path: StorePath,
    array_name: str | None = None,
    drop_if_exists: bool = False,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Store the datasets of an HDF5 file, as `convert` does.

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
    >>> import h5py, numpy as np
    >>> from numpack import NumPack, from_hdf5
    >>> with h5py.File("x.h5", "w") as file:
    ...     file["x"] = np.arange(3)
    >>> from_hdf5("x.h5", "hdf5.npk", drop_if_exists=True)
    >>> with NumPack("hdf5.npk", mode="r") as npk:
    ...     npk["x"].tolist()
    [0, 1, 2]
    """
    to_store(file, npk_path, array_name, drop_if_exists, chunk_size, options, "hdf5")


def from_zarr(
    file: StorePath,
    npk_path: StorePath,
    array_name: str | None = None,
    drop_if_exists: bool = False,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Store the arrays of a Zarr group or array, as `convert` does.

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
    >>> import numpy as np, zarr
    >>> from numpack import NumPack, from_zarr
    >>> array = zarr.create_array("x.zarr", name="x", data=np.arange(3), overwrite=True)
    >>> from_zarr("x.zarr", "zarr.npk", drop_if_exists=True)
    >>> with NumPack("zarr.npk", mode="r") as npk:
    ...     npk["x"].tolist()
    [0, 1, 2]
    """
    to_store(file, npk_path, array_name, drop_if_exists, chunk_size, options, "zarr")


def to_npy(
    npk_path: StorePath,
    file: StorePath,
    array_name: str | None = None,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Write the array of a store to an ``.npy`` file, as `convert` does.

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
    >>> from numpack import NumPack, to_npy
    >>> with NumPack("written.npk", drop_if_exists=True) as npk:
    ...     npk.save({"x": np.arange(3)})
    >>> to_npy("written.npk", "y.npy")
    >>> np.load("y.npy")
    array([0, 1, 2])
    """
    to_file(npk_path, file, array_name, chunk_size, options, "npy")


def to_hdf5(
    npk_path: StorePath,
    file: StorePath,
    array_name: str | Sequence[str] | None = None,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Write arrays of a store to an HDF5 file, as `convert` does.

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
    >>> import h5py
    >>> from numpack import NumPack, to_hdf5
    >>> with NumPack("written.npk", drop_if_exists=True) as npk:
    ...     npk.save({"x": np.arange(3)})
    >>> to_hdf5("written.npk", "y.h5")
    >>> h5py.File("y.h5")["x"][:]
    array([0, 1, 2])
    """
    to_file(npk_path, file, array_name, chunk_size, options, "hdf5")


def to_zarr(
    npk_path: StorePath,
    file: StorePath,
    array_name: str | Sequence[str] | None = None,
    chunk_size: int | None = None,
    **options: Any,
) -> None:
    """Write arrays of a store to a Zarr group or array, as `convert` does.

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
    >>> import zarr
    >>> from numpack import NumPack, to_zarr
    >>> with NumPack("written.npk", drop_if_exists=True) as npk:
    ...     npk.save({"x": np.arange(3)})
    >>> to_zarr("written.npk", "y.zarr")
    >>> zarr.open("y.zarr")["x"][:]
    array([0, 1, 2])
    """
    to_file(npk_path, file, array_name, chunk_size, options, "zarr")
