"""The interface of an adapter: the names that each module of this package provides.

The modules themselves implement these protocols, and mypy checks each one against them in
``tests/typing/check_adapters.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._core.memory import Array
    from .._core.policy import Plan

NO_OPTIONS: frozenset[str] = frozenset()


class Source(Protocol):
    """A framework whose arrays convert to NumPy.

    Attributes
    ----------
    LABEL : str
        The framework's name in messages.
    FROM_OPTIONS : frozenset of str
        Names of the keyword options of `to_numpy`: ``FromOptions.__optional_keys__`` of the
        `TypedDict` that declares them.
    """

    LABEL: str

    @property
    def FROM_OPTIONS(self) -> frozenset[str]: ...  # noqa: N802

    def to_numpy(self, obj: Any, /, *args: Any, **options: Any) -> Plan[Array]:
        """Plan the conversion of an array of the framework to a NumPy array."""


class Adapter(Source, Protocol):
    """A framework whose arrays convert to NumPy and from it.

    Attributes
    ----------
    TO_OPTIONS : frozenset of str
        Names of the keyword options of `from_numpy`, as `FROM_OPTIONS`.
    """

    @property
    def TO_OPTIONS(self) -> frozenset[str]: ...  # noqa: N802

    def from_numpy(self, array: Array, /, *args: Any, **options: Any) -> Plan[Any]:
        """Plan the conversion of a NumPy array to an array of the framework."""


# Optional parts of an adapter ---------------------------------------------------------------


class BridgeImport(NamedTuple):
    """The receiving end of a direct route.

    Attributes
    ----------
    plan : callable
        Takes what the source exports, and options; returns a `Plan`, or ``None`` where the
        conversion has to go through NumPy.
    options : frozenset of str
        The `TO_OPTIONS` that `plan` takes. With any other option the conversion goes through
        NumPy, and the source is not asked to export anything.
    """

    plan: Callable[..., Plan[Any] | None]
    options: frozenset[str] = NO_OPTIONS


class DirectSource(Source, Protocol):
    """A framework whose arrays can bypass NumPy, which cannot hold all that they hold.

    Attributes
    ----------
    BRIDGE_EXPORTS : mapping of str to callable
        By the name of the route: ``"device"`` exports memory of a device as a DLPack producer,
        ``"arrow"`` exports columns (nulls, strings, several chunks) as those of pyarrow. The
        function takes an object and returns what to export, a `Plan` that makes it, or
        ``None`` where the conversion has to go through NumPy.
    """

    @property
    def BRIDGE_EXPORTS(self) -> Mapping[str, Callable[[Any], Any]]: ...  # noqa: N802


class DirectTarget(Adapter, Protocol):
    """A framework that can receive what a `DirectSource` exports."""

    @property
    def BRIDGE_IMPORTS(self) -> Mapping[str, BridgeImport]: ...  # noqa: N802


class ColumnSource(Source, Protocol):
    """A framework of tables, one column of which can be converted."""

    def select_column(self, obj: Any, column: Any, /) -> Any:
        """Select a column; ``None`` where only the whole table can be converted."""


class ZonedSource(Source, Protocol):
    """A framework whose times can have a time zone."""

    def zone(self, obj: Any, /) -> str | None:
        """Return the time zone of an array, or of the first column that has one."""


class ZonedTarget(Adapter, Protocol):
    """A framework to which times with a zone must not lose it by way of NumPy."""

    HAS_ZONES: bool
