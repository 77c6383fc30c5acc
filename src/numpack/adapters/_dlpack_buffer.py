"""The DLPack producer over an ndarray.

Source: DLPack 1.1 (``dlpack.h``) and the array API standard, ``__dlpack__``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._core import dtypes
from .._core.mapped_files import backing_of
from .._core.memory import aligned_copy, normalize_strides
from .._core.policy import carry_out, describe, refuse
from .._dlpack import importing
from .._dlpack.decorators import fast_class
from .._dlpack.exchange_api import publish
from .._dlpack.exporting import Exporter, export
from ..errors import InvalidValueError, ZeroCopyError
from ._fixes import objects_fix
from .numpy import plan_layout, refuse_mask, require_array

if TYPE_CHECKING:
    from .._core.dtypes import DType
    from .._core.memory import Array
    from .._core.policy import Plan


class DLPackBuffer(Exporter):
    """A DLPack producer over an array, for any consumer and any number of requests.

    Parameters
    ----------
    array : ndarray
        Its dtype is one that DLPack defines: bool, integers, float16 to float64, complex64,
        complex128, and the types of ml_dtypes.
    order : {"C", "K"}, default "C"
        ``"C"``: an array that is not C-contiguous, in native byte order and aligned is
        copied once, here, because some consumers accept no strides. ``"K"``: strides are
        kept, except negative ones, which no consumer accepts.
    copy : bool or None, optional
        The copy policy for the copy that `order` requires; True always copies.

    Attributes
    ----------
    array : ndarray
        The exported array.
    kDLCPU, kDLCUDA, kDLCUDAHost, kDLMetal, kDLROCM, kDLROCMHost, kDLCUDAManaged : int
        DLPack's numbers of types of devices; that of ``__dlpack_device__`` is the first.

    Raises
    ------
    ZeroCopyError
        A copy is needed and ``copy=False``.
    UnsupportedError
        DLPack does not define the dtype.

    Notes
    -----
    Memory is shared, and a read-only array is exported with the read-only flag. A file that
    is mapped read-only is mapped again copy-on-write for each consumer: no byte is copied, and
    a write by a consumer that ignores the flag raises no SIGSEGV.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack.io import DLPackBuffer, to_dlpack
    >>> a = np.arange(3.0)
    >>> b = np.from_dlpack(to_dlpack(a))
    >>> np.shares_memory(a, b)
    True
    >>> to_dlpack(a).__dlpack_device__() == (DLPackBuffer.kDLCPU, 0)
    True
    """

    __slots__ = ()

    kDLCPU = 1  # noqa: N815 -- as dlpack.h calls them
    kDLCUDA = 2  # noqa: N815
    kDLCUDAHost = 3  # noqa: N815
    kDLMetal = 8  # noqa: N815
    kDLROCM = 10  # noqa: N815
    kDLROCMHost = 11  # noqa: N815
    kDLCUDAManaged = 13  # noqa: N815

    def __init__(self, array: Array, *, order: str = "C", copy: bool | None = None) -> None:
        array = require_array("DLPackBuffer", array, copy)
        self.array = carry_out(plan_export(array, order), copy)

    def _export(
        self,
        stream: object,
        max_version: tuple[int, int] | None,
        dl_device: tuple[int, int] | None,
        copy: bool | None,
    ) -> object:
        if stream is not None:
            msg = f"the CPU has no streams: stream must be None, not {stream!r}"
            raise InvalidValueError(msg)
        if dl_device is not None and tuple(dl_device) != importing.CPU:
            msg = (
                f"the memory is on the CPU, device {importing.CPU}, but the consumer requested "
                f"device {tuple(dl_device)}; request the CPU and transfer the result"
            )
            raise ZeroCopyError(msg)
        versioned = max_version is not None and tuple(max_version) >= (1, 0)
        array = normalize_strides(
            aligned_copy(self.array)
            if copy
            else backing_of(normalize_strides(self.array)).for_writer()
        )
        return export(array, versioned=versioned, copied=bool(copy))

    def __repr__(self) -> str:
        """Return the dtype, shape and device."""
        return f"DLPackBuffer({describe(self.array)}, device='cpu')"


publish(DLPackBuffer, 0)
fast_class(DLPackBuffer, exported=True)


def plan_export(array: Array, order: str) -> Plan[Array]:
    """Plan the layout in which an array is exported, or refuse its dtype or mask."""
    refuse_mask(array, "DLPack")
    values = array if type(array) is np.ndarray else normalize_strides(array)
    if dtypes.of_numpy(values.dtype) is None:
        fix = objects_fix(values) or _fix_for(values.dtype)
        refuse("to DLPack", describe(array), "DLPack has no name for this dtype", fix)
    return plan_layout(array, order, "to DLPack", exported=True)


def _fix_for(dtype: DType) -> str:
    if dtype.kind in "mM":
        return "pass the counts since 1970 or the durations as array.view('i8')"
    if dtype.kind == "O":
        return "convert it to numbers with array.astype(...) first"
    if dtype.kind == "T":
        return "encode the strings as numbers first"
    if dtype.kind in "fc":
        narrower = "complex128" if dtype.kind == "c" else "float64"
        return f"round it yourself: array.astype(np.{narrower})"
    return "export the bytes: np.frombuffer(array.tobytes(), 'u1')"
