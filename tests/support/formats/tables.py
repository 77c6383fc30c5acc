"""Arrow tables of NumPy arrays and back, without numpack."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa


def table_of(arrays: dict[str, np.ndarray]) -> pa.Table:
    """Return a table whose N-D columns are fixed-shape tensors."""
    return pa.table({name: arrow_array(array) for name, array in arrays.items()})


def arrow_array(array: np.ndarray) -> pa.Array:
    """Return an Arrow array of numbers, booleans, times or void bytes."""
    flat = array.reshape(-1)
    if array.dtype.kind == "V":
        values = pa.array([bytes(each) for each in flat], pa.binary(array.itemsize))
    else:
        values = pa.array(flat)
    cell = array.shape[1:]
    if not cell:
        return values
    if array.dtype.kind in "mM":
        for extent in reversed(cell):
            values = pa.FixedSizeListArray.from_arrays(values, extent)
        return values
    lists = pa.FixedSizeListArray.from_arrays(values, math.prod(cell))
    tensor = pa.fixed_shape_tensor(values.type, cell)
    return pa.ExtensionArray.from_storage(tensor, lists)


def arrays_of(table: pa.Table) -> dict[str, np.ndarray]:
    """Return the columns of a table as NumPy arrays."""
    return {name: numpy_array(table[name]) for name in table.column_names}


def numpy_array(column: pa.ChunkedArray) -> np.ndarray:
    """Return an Arrow column as a NumPy array."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    shape: tuple[int, ...] = (len(array),)
    if isinstance(array.type, pa.FixedShapeTensorType):
        shape += tuple(array.type.shape)
        array = array.storage.flatten()
    while pa.types.is_fixed_size_list(array.type):
        shape += (array.type.list_size,)
        array = array.flatten()
    if pa.types.is_fixed_size_binary(array.type):
        dtype = f"V{array.type.byte_width}"
        return np.frombuffer(b"".join(array.to_pylist()), dtype).reshape(shape)
    if pa.types.is_date32(array.type):
        return array.cast(pa.int32()).to_numpy().astype("i8").view("M8[D]").reshape(shape)
    return array.to_numpy(zero_copy_only=False).reshape(shape)
