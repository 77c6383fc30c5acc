"""The zero-copy functions of NumPack's interface: each names a pair of frameworks.

Every function takes ``copy=None | False | True``: share, or copy once with `CopyWarning`
where memory cannot be shared; share, or raise `ZeroCopyError`; independent, writable
memory.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from .._core.policy import carry_out, check_copy, wrong_type
from .._dlpack.decorators import fast_export, fast_import, fast_import_column, fast_wrap
from ..adapters import by_name, of_object
from ..adapters._foreign_errors import OWN, guarded, translate
from ..adapters.dlpack import DLPackBuffer, receive
from ..adapters.numpy import expect
from .wrapper import ZeroCopyArray

if TYPE_CHECKING:
    import os

    import pyarrow as pa
    import torch

    from .._core.memory import Array
    from ..adapters.safetensors import SafetensorsFile

__all__ = [
    "DLPackBuffer",
    "ZeroCopyArray",
    "arrow_to_numpy_zero_copy",
    "from_dlpack",
    "numpy_to_arrow_zero_copy",
    "numpy_to_torch_zero_copy",
    "safetensors_to_numpy_zero_copy",
    "table_to_numpy_zero_copy",
    "to_dlpack",
    "torch_to_numpy_zero_copy",
    "wrap_for_zero_copy",
]


@fast_wrap(DLPackBuffer)
def to_dlpack(array: Array, *, order: str = "C", copy: bool | None = None) -> DLPackBuffer:
    """Make an array available to every DLPack consumer, any number of times.

    Parameters
    ----------
    array : ndarray
        Of a dtype that DLPack can name, those of ml_dtypes included.
    order : {"C", "K"}, default "C"
        ``"C"``: C-contiguous for consumers that refuse strides; ``"K"``: strides kept.
    copy : bool or None, optional
        The copy policy for what `order` asks for.

    Returns
    -------
    DLPackBuffer
        Shares memory with `array`.

    Raises
    ------
    ZeroCopyError
        `array` is not in the form that `order` asks for and ``copy=False``.
    UnsupportedError
        DLPack has no name for the dtype.
    WrongTypeError
        `array` is no ndarray.

    References
    ----------
    DLPack 1.1, ``DLManagedTensorVersioned``; array API standard 2024.12, ``__dlpack__``.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from numpack.io import to_dlpack
    >>> a = np.zeros(3)
    >>> torch.from_dlpack(to_dlpack(a)).data_ptr() == a.ctypes.data
    True
    """
    return DLPackBuffer(expect("to_dlpack", array, copy), order=order, copy=copy)


@fast_import()
def from_dlpack(capsule: Any, *, device: Any = None, copy: bool | None = None) -> Array:
    """Make an array over the memory of a DLPack capsule or producer.

    Parameters
    ----------
    capsule : capsule or object with ``__dlpack__``
        A raw capsule, legacy or versioned, is consumed. A producer that predates a
        keyword of the protocol is asked again without it.
    device : None or "cpu", optional
        NumPy arrays live on the CPU.
    copy : bool or None, optional
        The copy policy. Memory on another device can only be copied, by its producer.

    Returns
    -------
    ndarray
        Shares memory, and is writable unless the producer says that it is read-only.
        bfloat16 and narrower types come as those of ml_dtypes.

    Raises
    ------
    ZeroCopyError
        Memory cannot be shared and ``copy=False``, or the producer refuses.
    UnsupportedError
        NumPy has no dtype for the values, or they are sparse, quantized and the like.
    InvalidValueError
        The capsule was consumed already or holds nonsense.
    WrongTypeError
        `capsule` is neither a capsule nor a producer.

    References
    ----------
    DLPack 1.1, ``DLManagedTensor`` and ``DLManagedTensorVersioned``; array API standard
    2024.12, ``from_dlpack``.

    Examples
    --------
    >>> import torch
    >>> from numpack.io import from_dlpack
    >>> t = torch.ones(2, dtype=torch.bfloat16)
    >>> a = from_dlpack(t)
    >>> a
    array([1, 1], dtype=bfloat16)
    >>> a.ctypes.data == t.data_ptr()
    True
    """
    try:
        return receive(capsule, device=device, copy=copy)
    except OWN:
        raise
    except BaseException as error:  # noqa: BLE001 -- Rust's panics are no `Exception`
        translate(error, "from DLPack", capsule)


@fast_export("torch")
@guarded("to torch")
def numpy_to_torch_zero_copy(
    array: Array, *, device: Any = None, copy: bool | None = None
) -> torch.Tensor:
    """Make a tensor over the memory of an array.

    Parameters
    ----------
    array : ndarray
        Strides are kept. bfloat16 and float8 of ml_dtypes become torch's.
    device : torch.device or str, optional
        Another device than the CPU needs a transfer, which is a copy.
    copy : bool or None, optional
        The copy policy.

    Returns
    -------
    torch.Tensor
        Writes go both ways. A read-only memory map is mapped again copy-on-write: no byte
        is copied, and writes stay private to the tensor.

    Raises
    ------
    ZeroCopyError
        Memory cannot be shared (byte-swapped, negative strides, misaligned, another
        device) and ``copy=False``.
    UnsupportedError
        torch has no such dtype, or the array is masked.
    WrongTypeError
        `array` is no ndarray.

    Warns
    -----
    CopyWarning
        Memory could not be shared.
    ReadOnlyWarning
        Read-only memory that is no map was shared; torch cannot protect it.

    References
    ----------
    PyTorch, `torch.from_numpy`; POSIX, ``mmap`` with ``MAP_PRIVATE``.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack.io import numpy_to_torch_zero_copy
    >>> a = np.zeros((2, 3), "f4")
    >>> numpy_to_torch_zero_copy(a.T).stride()
    (1, 3)
    """
    array = expect("numpy_to_torch_zero_copy", array, copy)
    return carry_out(by_name("torch").module().from_numpy(array, device=device), copy)


@fast_import("torch")
@guarded("from torch")
def torch_to_numpy_zero_copy(tensor: torch.Tensor, *, copy: bool | None = None) -> Array:
    """Make an array over the memory of a tensor.

    Parameters
    ----------
    tensor : torch.Tensor
        Strided, on the CPU; detached if it needs grad.
    copy : bool or None, optional
        The copy policy.

    Returns
    -------
    ndarray
        With the tensor's strides; bfloat16 and float8 come as those of ml_dtypes.

    Raises
    ------
    ZeroCopyError
        Memory cannot be shared (conjugate or negative bit, another device) and
        ``copy=False``.
    UnsupportedError
        The tensor is sparse, quantized, nested, meta, fake or traced.
    WrongTypeError
        `tensor` is no tensor.

    References
    ----------
    PyTorch, `torch.Tensor.numpy`.

    Examples
    --------
    >>> import torch
    >>> from numpack.io import torch_to_numpy_zero_copy
    >>> t = torch.zeros(2, requires_grad=True)
    >>> torch_to_numpy_zero_copy(t)
    array([0., 0.], dtype=float32)
    """
    owner = of_object(tensor)
    if owner is None or owner.name != "torch":
        fix = "numpack.share(x, 'numpy') takes the arrays of every framework"
        wrong_type("torch_to_numpy_zero_copy", "a torch.Tensor", tensor, fix)
    return carry_out(owner.module().to_numpy(tensor), copy)


@fast_export("arrow")
@guarded("to Arrow")
def numpy_to_arrow_zero_copy(
    array: Array,
    *,
    layout: str = "flat",
    type: Any = None,  # noqa: A002 -- pyarrow's name
    copy: bool | None = None,
) -> pa.Array:
    """Make an Arrow array over the memory of an array.

    Parameters
    ----------
    array : ndarray
        Of any shape. A masked array's mask becomes the validity bitmap, and so does NaT;
        NaN stays NaN.
    layout : {"flat", "tensor", "list"}, default "flat"
        What an N-D array becomes: one value an element in C order; a
        `pyarrow.FixedShapeTensorArray` of one cell a row; fixed-size lists. All share
        memory.
    type : pyarrow.DataType, optional
        The type wanted, for example ``pa.bool8()`` to share booleans as bytes.
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
        `array` is no ndarray.

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
    array = expect("numpy_to_arrow_zero_copy", array, copy)
    plan = by_name("arrow").module().from_numpy(array, layout=layout, type=type)
    return carry_out(plan, copy)


@fast_import("arrow")
@guarded("from Arrow")
def arrow_to_numpy_zero_copy(
    arrow_array: Any, *, nulls: str = "convert", copy: bool | None = None
) -> Array:
    """Make an array over the memory of an Arrow array.

    Parameters
    ----------
    arrow_array : pyarrow.Array, pyarrow.ChunkedArray or Arrow PyCapsule exporter
        Fixed-size lists and fixed-shape tensors become N-D; fixed-size binary becomes
        void (``V``), which unlike ``S`` keeps trailing zero bytes.
    nulls : {"convert", "mask", "raise"}, default "convert"
        What becomes of nulls: NaN, NaT or None in a copy; a `MaskedArray` over the same
        memory; `NullError`.
    copy : bool or None, optional
        The copy policy.

    Returns
    -------
    ndarray
        Read-only where memory is shared, because Arrow memory is immutable.

    Raises
    ------
    ZeroCopyError
        Memory cannot be shared (bool, strings, nulls, several chunks and the like) and
        ``copy=False``.
    UnsupportedError
        No array holds the values: integers above 2**53 beside nulls, a union.
    NullError
        ``nulls="raise"`` and there are nulls.
    WrongTypeError
        `arrow_array` is no Arrow array.

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


@fast_import_column
@guarded("from Arrow")
def table_to_numpy_zero_copy(
    table: Any,
    column: str | int | None = None,
    *,
    nulls: str = "convert",
    copy: bool | None = None,
) -> Array | dict[str, Array]:
    """Make arrays over the memory of a table's columns.

    Parameters
    ----------
    table : pyarrow.Table, pyarrow.RecordBatch or object with ``__arrow_c_stream__``
    column : str or int, optional
        The name or position of one column; all of them if left out.
    nulls, copy
        As for `arrow_to_numpy_zero_copy`.

    Returns
    -------
    ndarray or dict of str to ndarray
        One column, or all in their order.

    Raises
    ------
    NotFoundError
        A `KeyError`: there is no such column.
    InvalidValueError
        Several columns have the name.
    IndexRangeError
        There is no such position.
    ZeroCopyError, UnsupportedError, NullError
        As `arrow_to_numpy_zero_copy`.
    WrongTypeError
        `table` is no table.

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
    arrow = by_name("arrow").module()
    found = arrow.as_table(table)
    plan = functools.partial(arrow.to_numpy, nulls=nulls)
    if column is not None:
        one: Array = carry_out(plan(arrow.select(found, column)), copy)
        return one
    return {name: carry_out(plan(found.column(name)), copy) for name in arrow.names(found)}


def safetensors_to_numpy_zero_copy(
    path: str | os.PathLike[str] | SafetensorsFile,
    tensor: str | None = None,
    *,
    copy: bool | None = None,
) -> Array | dict[str, Array]:
    """Make arrays over the tensors of a safetensors file, which is mapped and not read.

    Parameters
    ----------
    path : str, path-like or SafetensorsFile
        The file; it stays mapped as long as one of its arrays lives.
    tensor : str, optional
        The name of one tensor; all of them if left out.
    copy : bool or None, optional
        The copy policy.

    Returns
    -------
    ndarray or dict of str to ndarray
        One tensor, or all in the order of the file. Read-only; bfloat16 and float8 come as
        those of ml_dtypes.

    Raises
    ------
    NotFoundError
        A `KeyError`: there is no such tensor.
    ZeroCopyError
        The file does not align a tensor to the size of its values and ``copy=False``.
    UnsupportedError
        Values of less than a byte are packed.
    InvalidValueError
        The file is damaged or cut short.
    WrongTypeError
        `path` is no path.

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
    module = by_name("safetensors").module()
    file = path if isinstance(path, module.SafetensorsFile) else module.SafetensorsFile(path)
    if tensor is not None:
        one: Array = carry_out(module.to_numpy(file, tensor=tensor), copy)
        return one
    return {name: carry_out(module.to_numpy(file, tensor=name), copy) for name in file}


@fast_wrap(ZeroCopyArray)
def wrap_for_zero_copy(
    array: Array, *, order: str = "C", copy: bool | None = None
) -> ZeroCopyArray:
    """Wrap an array so that every exit is free; see `ZeroCopyArray`.

    Parameters
    ----------
    array : ndarray
    order : {"C", "K"}, default "C"
    copy : bool or None, optional
        As for `ZeroCopyArray`.

    Returns
    -------
    ZeroCopyArray

    Examples
    --------
    >>> import numpy as np
    >>> from numpack.io import wrap_for_zero_copy
    >>> a = np.arange(3)
    >>> wrap_for_zero_copy(a).to_numpy() is a
    True
    """
    return ZeroCopyArray(array, order=order, copy=copy)
