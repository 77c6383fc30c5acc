"""`NumPack.attrs`: JSON attributes of the arrays and of the store, as mappings."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from ...errors import NotFoundError, StoreError
from .. import commits
from ..checks import checked_attribute, checked_key, entry_of
from ..commits.attributes import REMOVED, AttributeChange
from ..format.log.attributes import values_of
from ..format.naming import exact_name, listed, quoted

if TYPE_CHECKING:
    from .modes import BatchModes


class Attributes(MutableMapping[str, Any]):
    """The attributes of one array, or of the store: a mapping of names to JSON values.

    Each change is one commit; `update` is one for all its items. In `batch_mode` changes are
    kept in memory and committed with the arrays of the batch; of two writers that set the same
    attribute, the last one to commit prevails. Every read sees the newest commit.

    Values are what JSON holds: strings, integers of 64 bits (from -2**63 to 2**64 - 1), finite
    floats, booleans, ``None``, lists and dictionaries with string keys. Tuples become lists,
    NumPy scalars and arrays of numbers, booleans or strings become plain values and lists.
    What is returned is a copy: changing a list in it changes nothing in the store, so assign
    it again.

    The JSON of all attributes of an array may take 1 MiB, with 32 levels of lists and
    dictionaries.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack
    >>> with NumPack("attributes.npk") as npk:
    ...     npk.save({"x": np.zeros((2, 3))})
    ...     npk.attrs["x"].update(dims=["time", "lat"], units="K")
    ...     npk.attrs["x"]["dims"]
    ['time', 'lat']
    """

    def __init__(self, store: BatchModes, name: str | None) -> None:
        self._store = store
        self._name = name
        self._cached: tuple[bytes, dict[str, Any]] = b"", {}

    def __getitem__(self, key: str) -> Any:
        """Return a copy of a value."""
        values = self._values()
        if key not in values:
            raise self._missing_error(key, values)
        return copy.deepcopy(values[key])

    def __setitem__(self, key: str, value: Any) -> None:
        """Set one value; ``update`` sets several in one commit."""
        self._change(AttributeChange({checked_key(key): checked_attribute(key, value)}))

    def __delitem__(self, key: str) -> None:
        """Remove a value, which must exist."""
        values = self._values()
        if key not in values:
            raise self._missing_error(key, values)
        self._change(AttributeChange({checked_key(key): REMOVED}))

    def __contains__(self, key: object) -> bool:
        """Return whether there is a value of this name."""
        return key in self._values()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the values, in the order in which they were added."""
        return iter(list(self._values()))

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._values())

    def __eq__(self, other: object) -> bool:
        """Compare with any mapping."""
        return self._values() == dict(other) if isinstance(other, Mapping) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as of every mutable mapping

    def __repr__(self) -> str:
        """Return the values, as a dictionary prints them."""
        return f"Attributes({self._values()!r})"

    def update(  # type: ignore[override]  # the base class has overloads
        self, other: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **values: Any
    ) -> None:
        """Set several values in one commit.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("updated.npk") as npk:
        ...     npk.attrs.store.update({"title": "Temperatures"}, version=3)
        ...     dict(npk.attrs.store)
        {'title': 'Temperatures', 'version': 3}
        """
        new = dict(other, **values)
        self._change(
            AttributeChange(
                {checked_key(key): checked_attribute(key, value) for key, value in new.items()}
            )
        )

    def clear(self) -> None:
        """Remove all values in one commit.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("cleared.npk") as npk:
        ...     npk.attrs.store["title"] = "Temperatures"
        ...     npk.attrs.store.clear()
        ...     npk.attrs.store
        Attributes({})
        """
        self._change(AttributeChange(clears=True))

    def _values(self) -> dict[str, Any]:
        """Return the current values, which the caller must not change."""
        text, batch = self._text(), self._store._batch  # noqa: SLF001 -- of the same package
        if batch.depth and self._name in batch.attributes:
            return batch.attributes[self._name].applied(text)
        known = self._cached
        if known[0] is not text:
            known = self._cached = text, values_of(text)
        return known[1]

    def _text(self) -> bytes:
        """Return the committed attributes."""
        session = self._store._session()  # noqa: SLF001
        text: bytes
        if self._name is None:
            text = session.history.refresh().attrs
            return text
        arrays, batch = session.arrays(), self._store._batch  # noqa: SLF001
        if batch.depth and self._name not in arrays and self._name in batch.kept:
            return b""  # the batch is about to save the array
        text = entry_of(arrays, self._name).attrs
        return text

    def _change(self, change: AttributeChange) -> None:
        store = self._store
        session, batch = store._session(), store._batch  # noqa: SLF001
        if not batch.depth:
            with store._handle.write_transaction() as writing:  # noqa: SLF001
                commits.set_attributes(writing, {self._name: change})
            return
        if session.read_only:
            raise StoreError(session.read_only)
        batch.change_attributes(self._name, self._text(), change)

    def _missing_error(self, key: object, values: Mapping[str, Any]) -> NotFoundError:
        owner = "the store" if self._name is None else quoted(self._name)
        name = quoted(key) if isinstance(key, str) else repr(key)
        return NotFoundError(
            f"{owner} has no attribute {name}; its attributes are: {listed(values)}"
        )


class StoreAttributes(Mapping[str, Attributes]):
    """The attributes of each array of a store by its name, and those of the store.

    Attributes belong to the name of an array: they stay when it is saved again, changed or
    rewritten, `clone` copies them, and dropping the array removes them.

    Attributes
    ----------
    store : Attributes
        Those of the store itself.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack
    >>> with NumPack("named.npk") as npk:
    ...     npk.save({"x": np.zeros((2, 3)), "y": np.zeros(2)})
    ...     npk.attrs["x"]["units"] = "K"
    ...     npk.attrs.store["title"] = "Temperatures"
    ...     list(npk.attrs), dict(npk.attrs["x"]), dict(npk.attrs.store)
    (['x', 'y'], {'units': 'K'}, {'title': 'Temperatures'})
    """

    def __init__(self, store: BatchModes) -> None:
        self._store = store

    @property
    def store(self) -> Attributes:
        """The attributes of the store itself."""
        return Attributes(self._store, None)

    def __getitem__(self, array_name: str) -> Attributes:
        """Return the attributes of an array, which must exist."""
        found = Attributes(self._store, exact_name(array_name, "attrs"))
        found._text()  # noqa: SLF001 -- raises if there is no such array
        return found

    def __contains__(self, array_name: object) -> bool:
        """Return whether there is an array of this name."""
        return isinstance(array_name, str) and exact_name(array_name) in self._names()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the arrays."""
        return iter(self._names())

    def __len__(self) -> int:
        """Return the number of arrays."""
        return len(self._names())

    def __repr__(self) -> str:
        """Return the names of the arrays."""
        return f"StoreAttributes(of {listed(self._names(), 'no arrays')})"

    def _names(self) -> dict[str, None]:
        """Return the names of the arrays, and of those that a batch is about to save."""
        names, batch = list(self._store._session().arrays()), self._store._batch  # noqa: SLF001
        return dict.fromkeys([*names, *(batch.kept if batch.depth else ())])
