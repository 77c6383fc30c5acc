"""What a framework takes of Arrow's types, and in what form it gets the others."""

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
    """One framework's.

    Attributes
    ----------
    label : str
        The framework's name in messages.
    rule : Rule
        Which types it does not take or misreads, and what takes the place of each.
    misreads : callable
        Tells whether it misreads one array because of where its values lie.
    """

    label: str
    rule: Rule
    misreads: Callable[[pa.Array], bool] = lambda _: False

    def check(self, columns: Columns) -> None:
        """Refuse what cannot be exported: pyarrow exports no extension type of another."""
        types = columns.schema.types if hasattr(columns, "schema") else [columns.type]
        for type_ in types:
            found = Rewriting(self.rule).target(type_)
            if contains(found, _is_twice_extended):
                why = f"Arrow exports no extension type of another: {found}"
                refuse(f"to {self.label}", describe_columns(columns), why, "pass array.storage")

    def rewrites(self, column: Column) -> bool:
        """Tell whether a column is rewritten before the framework gets it."""
        type_ = column.type  # a chunked array makes a new object of it each time
        if Rewriting(self.rule).target(type_) is not type_:
            return True
        chunks = [column] if isinstance(column, pa.Array) else column.chunks
        return any(map(self.misreads, chunks))

    def prepare(self, columns: Columns, *, independent: bool = False) -> Columns:
        """Rewrite what has to be; with `independent` copy the rest too."""
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
        """Find why columns are copied on the way, and how many bytes of them."""
        parts = columns.columns if hasattr(columns, "columns") else [columns]
        moved = [each for each in parts if self.rewrites(each)]
        if not moved:
            return None, nbytes(columns)
        type_ = moved[0].type
        target = Rewriting(self.rule).target(type_)
        if target == type_:
            why = f"{self.label} misreads slices of {type_} where values are null or nested"
            obstacle = Obstacle(why, "copy the slice once: pa.concat_arrays([array])")
        else:
            why = f"{self.label} does not read {type_} where it lies"
            obstacle = Obstacle(why, f"keep it in Arrow as {target}")
        return obstacle, sum(map(nbytes, moved))

    def plan(
        self,
        columns: Columns,
        make: Callable[[Columns], T],
        also: tuple[Obstacle | None, int] | None = None,
    ) -> Plan[T]:
        """Plan the way of columns to an object that `make` builds over their buffers.

        Parameters
        ----------
        columns : pyarrow.Array, ChunkedArray, RecordBatch or Table
        make : callable
            Takes what `prepare` gives.
        also : tuple of Obstacle and int, optional
            Why `make` copies, and how many bytes, in place of what is found here.
        """
        self.check(columns)
        obstacle, size = self.obstacle(columns) if also is None else also
        made = translate_errors(make, f"to {self.label}", lambda: describe_columns(columns))
        return Plan(
            direction=f"to {self.label}",
            describe=lambda: describe_columns(columns),
            nbytes=size,
            result=lambda: made(self.prepare(columns)),
            independent=lambda: made(self.prepare(columns, independent=True)),
            obstacle=obstacle,
        )


def portable(type_: pa.DataType, parents: Parents, /) -> pa.DataType | None:
    """Replace what the C data interface loses: nested run ends, extensions in dictionaries."""
    if not parents:
        return None
    if pa.types.is_dictionary(parents[-1]):
        return storage_type(type_)
    runs = pa.types.is_run_end_encoded(parents[-1]) and pa.types.is_run_end_encoded(type_)
    return type_.value_type if runs else None


def _is_twice_extended(type_: pa.DataType) -> bool:
    outer = isinstance(type_, pa.BaseExtensionType)
    return outer and isinstance(type_.storage_type, pa.BaseExtensionType)
