"""safetensors files: the zero-copy function of NumPack's interface for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from .._core.policy import carry_out, check_copy
from ..adapters import by_name

if TYPE_CHECKING:
    import os

    from .._core.memory import Array
    from ..adapters.safetensors import SafetensorsFile


@overload
def safetensors_to_numpy_zero_copy(
    path: str | os.PathLike[str] | SafetensorsFile, tensor: str, *, copy: bool | None = None
) -> Array: ...
@overload
def safetensors_to_numpy_zero_copy(
    path: str | os.PathLike[str] | SafetensorsFile,
    tensor: None = None,
    *,
    copy: bool | None = None,
) -> dict[str, Array]: ...
def safetensors_to_numpy_zero_copy(
    path: str | os.PathLike[str] | SafetensorsFile,
    tensor: str | None = None,
    *,
    copy: bool | None = None,
) -> Array | dict[str, Array]:
    """Map a safetensors file and return arrays over one tensor or all.

    Parameters
    ----------
    path : str, path-like or SafetensorsFile
        The file; it stays mapped while any of its arrays is alive.
    tensor : str, optional
        The name of one tensor; by default all tensors are returned.
    copy : bool or None, optional
        The copy policy.

    Returns
    -------
    ndarray or dict of str to ndarray
        One tensor, or all in the order of the file. Read-only; bfloat16 and float8 have the
        dtypes of ml_dtypes.

    Raises
    ------
    NotFoundError
        A `KeyError`: there is no tensor of that name.
    ZeroCopyError
        A tensor is not aligned to the size of its values in the file and ``copy=False``.
    UnsupportedError
        The values are sub-byte and packed.
    InvalidValueError
        The file is damaged or cut short.
    WrongTypeError
        `path` is not a path.

    Warns
    -----
    CopyWarning
        A tensor was not aligned.

    References
    ----------
    The safetensors format; POSIX, ``mmap`` with ``MAP_PRIVATE``.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack.io import safetensors_to_numpy_zero_copy
    >>> from safetensors.numpy import save_file
    >>> save_file({"bias": np.zeros(2, "f4"), "weight": np.ones(3, "f4")}, "model.safetensors")
    >>> safetensors_to_numpy_zero_copy("model.safetensors", "weight")
    array([1., 1., 1.], dtype=float32)
    >>> list(safetensors_to_numpy_zero_copy("model.safetensors"))
    ['bias', 'weight']
    """
    check_copy(copy)
    module: Any = by_name("safetensors").module()
    file = path if isinstance(path, module.SafetensorsFile) else module.SafetensorsFile(path)
    if tensor is not None:
        one: Array = carry_out(module.to_numpy(file, tensor=tensor), copy)
        return one
    return {name: carry_out(module.to_numpy(file, tensor=name), copy) for name in file}
