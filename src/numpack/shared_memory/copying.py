"""`share_memory`: copies of arrays into shared memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._core.mapped_files import mapping_of
from .._core.policy import wrong_type
from ..adapters import by_name
from ..adapters._foreign_errors import translate_errors
from ..adapters.numpy import refuse_mask
from ..io.pipeline import Pipeline
from .array import SharedArray


@translate_errors("to shared memory")
def share_memory(array: Any) -> SharedArray:
    """Copy an array once into memory that other processes map.

    Parameters
    ----------
    array : array
        Any that `numpack.share` converts to NumPy: of NumPy, PyTorch, Arrow, …, or stored.

    Returns
    -------
    SharedArray
        In C order, of the same dtype, whose pages are all allocated. A `SharedArray` is
        returned as it is.

    Raises
    ------
    UnsupportedError
        Its dtype has Python objects, or it has masked values.
    NoMemoryError
        A `MemoryError`: the machine does not have so much memory.
    WrongTypeError
        It is not an array, or a table of several columns.

    See Also
    --------
    SharedArray : an array of zeros; writing to it saves the copy.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import share_memory
    >>> share_memory(np.arange(3))
    SharedArray([0, 1, 2])
    """
    if type(array) is SharedArray and mapping_of(array) is not None:
        return array
    values = Pipeline(array, by_name("numpy")).plan({}).values()
    if not isinstance(values, np.ndarray):
        wrong_type("share_memory", "a single array", array, "pass each of its columns")
    refuse_mask(values, "shared memory")
    shared = SharedArray._allocate(values.shape, values.dtype, reserve=True)  # noqa: SLF001
    if shared.nbytes:
        np.copyto(shared, values, casting="no")
    return shared
