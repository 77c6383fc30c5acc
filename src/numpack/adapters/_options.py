"""Types of the options of `share` that several adapters have in common.

An adapter declares its options once, as a `TypedDict`: ``FromOptions`` those of its
`to_numpy`, ``ToOptions`` those of its `from_numpy`. The overloads of `share` are typed by
them, and their keys are the names that are accepted when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from collections.abc import Hashable

Layout: TypeAlias = Literal["flat", "tensor", "list"]
Nulls: TypeAlias = Literal["convert", "mask", "raise"]
Order: TypeAlias = Literal["C", "K"]

Target: TypeAlias = Literal[
    "numpy",
    "torch",
    "jax",
    "tensorflow",
    "cupy",
    "onnxruntime",
    "xarray",
    "pandas",
    "polars",
    "duckdb",
    "nanoarrow",
    "arro3",
    "safetensors",
    "scipy",
    "dlpack",
    "arrow",
    "cuda_array_interface",
    "array_interface",
    "buffer",
]


class ColumnOptions(TypedDict, total=False):
    """Options of a conversion from columns.

    Attributes
    ----------
    nulls : {"convert", "mask", "raise"}
        How NumPy represents nulls.
    column : str, int or hashable
        The name or position of one column of a table.
    """

    nulls: Nulls
    column: Hashable


class ArrowOptions(TypedDict, total=False):
    """Options of a conversion to a library of Arrow arrays.

    Attributes
    ----------
    layout : {"flat", "tensor", "list"}
        The type of an N-D array: one value an element in C order, a fixed-shape tensor a
        row, or nested fixed-size lists.
    type : pyarrow.DataType or None
        The Arrow type; inferred from the dtype if ``None``.
    """

    layout: Layout
    type: Any  # pyarrow has no type hints
