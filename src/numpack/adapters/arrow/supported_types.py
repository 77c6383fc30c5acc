"""The Arrow types that a framework supports, and what replaces the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from ..._core.policy import Obstacle, Plan, refuse
from .direct import copy_columns, describe_columns
from .errors import translate_errors
from .rewrite import Rewriting
from .trees import contains, storage_type
from .views import nbytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .direct import Columns
    from .rewrite import Column, Parents, Rule

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SupportedTypes:
    """The Arrow types that one framework supports.

    Attributes
    ----------
    label : str
        The framework's name in messages.
    rule : Rule
        Replaces the types that the framework does not support or misreads.
    misreads : callable
        Returns whether the framework misreads an array because of its offsets.
    """

    label: str
    rule: Rule
    misreads: Callable[[pa.Array], bool] = lambda _: False

    def check(self, columns: Columns) -> None:
        """Refuse extension types stored as extension types, which pyarrow cannot export."""
        types = columns.schema.types if hasattr(columns, "schema") else [columns.type]
        for type_ in types:
            target = Rewriting(self.rule).target(type_)
            if contains(target, _is_nested_extension):
                why = f"pyarrow cannot export an extension type stored as another: {target}"
                refuse(f"to {self.label}", describe_columns(columns), why, "pass array.storage")

    def rewrites(self, column: Column) -> bool:
        """Check whether a column has to be rewritten for the framework."""
        type_ = column.type  # read once: a chunked array returns a new object each time
        if Rewriting(self.rule).target(type_) is not type_:
            return True
        chunks = [column] if isinstance(column, pa.Array) else column.chunks
        return any(map(self.misreads, chunks))

    def prepare(self, columns: Columns, *, independent: bool = False) -> Columns:
        """Rewrite the columns that need it; with `independent`, copy the others too."""
        if isinstance(columns, pa.Array | pa.ChunkedArray):
            if self.rewrites(columns):
                return Rewriting(self.rule).column(columns)
            return copy_columns(columns) if independent else columns
        parts = [self.prepare(each, independent=independent) for each in columns.columns]
        fields = [
            field.with_type(part.type)
            for field, part in zip(columns.schema, parts, strict=True)
        ]
        schema = pa.schema(fields, columns.schema.metadata)
        if not parts:
            return columns
        return type(columns).from_arrays(parts, schema=schema)

    def obstacle(self, columns: Columns) -> tuple[Obstacle | None, int]:
        """Return why columns have to be copied, if they do, and the number of bytes."""
        parts = columns.columns if hasattr(columns, "columns") else [columns]
        copied = [each for each in parts if self.rewrites(each)]
        if not copied:
            return None, nbytes(columns)
        type_ = copied[0].type
        target = Rewriting(self.rule).target(type_)
        if target == type_:
            why = f"{self.label} misreads slices of {type_} with null or nested values"
            obstacle = Obstacle(why, "copy the slice once: pa.concat_arrays([array])")
        else:
            why = f"{self.label} cannot read {type_} in place"
            obstacle = Obstacle(why, f"keep it in Arrow as {target}")
        return obstacle, sum(map(nbytes, copied))

    def plan(
        self,
        columns: Columns,
        make: Callable[[Columns], T],
        cost: tuple[Obstacle | None, int] | None = None,
    ) -> Plan[T]:
        """Plan the conversion of columns to an object that `make` builds over their buffers.

        Parameters
        ----------
        columns : pyarrow.Array, ChunkedArray, RecordBatch or Table
        make : callable
            Called with the result of `prepare`.
        cost : tuple of Obstacle and int, optional
            Why `make` copies, and the number of bytes; by default the result of `obstacle`.
        """
        self.check(columns)
        obstacle, size = self.obstacle(columns) if cost is None else cost
        build = translate_errors(make, f"to {self.label}", lambda: describe_columns(columns))
        return Plan(
            direction=f"to {self.label}",
            describe=lambda: describe_columns(columns),
            nbytes=size,
            result=lambda: build(self.prepare(columns)),
            independent=lambda: build(self.prepare(columns, independent=True)),
            obstacle=obstacle,
        )


def portable(type_: pa.DataType, parents: Parents, /) -> pa.DataType | None:
    """Replace the types that the C data interface loses.

    These are run-end encoded values of run-end encoded arrays, and extension types as the
    values of dictionaries.
    """
    if not parents:
        return None
    if pa.types.is_dictionary(parents[-1]):
        return storage_type(type_)
    runs = pa.types.is_run_end_encoded(parents[-1]) and pa.types.is_run_end_encoded(type_)
    return type_.value_type if runs else None


def _is_nested_extension(type_: pa.DataType) -> bool:
    outer = isinstance(type_, pa.BaseExtensionType)
    return outer and isinstance(type_.storage_type, pa.BaseExtensionType)
