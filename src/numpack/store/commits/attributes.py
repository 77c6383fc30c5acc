"""Changes of attributes: each function is one commit, and requires the store's lock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import InvalidValueError
from ..checks import entry_of
from ..format.dtype_codes import InvalidRecordError
from ..format.log.attributes import TOTAL_LIMIT, text_of, values_of
from ..format.naming import quoted
from .committing import commit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..format.log.state import Catalog, Entry
    from ..session import Session

    Owner = str | None  # the name of an array; None is the store itself

REMOVED = object()  # in place of a value


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """A change of the attributes of one array, or of the store.

    Attributes
    ----------
    values : dict of str to object
        New JSON values by key; `REMOVED` removes a key.
    clears : bool
        Whether all other keys are removed.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    clears: bool = False

    def then(self, later: AttributeChange) -> AttributeChange:
        """Return one change with the effect of this one and a later one."""
        if later.clears:
            return later
        return AttributeChange({**self.values, **later.values}, self.clears)

    def applied(self, text: bytes) -> dict[str, Any]:
        """Return the attributes after the change, as new objects.

        Parameters
        ----------
        text : bytes
            Those before it, see `text_of`.
        """
        after = {} if self.clears else values_of(text)
        for key, value in self.values.items():
            if value is REMOVED:
                after.pop(key, None)
            else:
                after[key] = value
        return after


def set_attributes(session: Session, changes: Mapping[Owner, AttributeChange]) -> None:
    """Commit changes of attributes, unless they change nothing."""
    arrays = session.log.catalog.arrays
    for name in changes:
        if name is not None:
            entry_of(arrays, name)
    if record := record_of(session.log.catalog, changes):
        commit(session, **record)


def record_of(
    catalog: Catalog, changes: Mapping[Owner, AttributeChange], new: Mapping[str, bytes] = {}
) -> dict[str, Any]:
    """Return the arguments of `Log.commit` that change attributes.

    Parameters
    ----------
    catalog : Catalog
    changes : mapping of str or None to AttributeChange
        By the name of the array; ``None`` is the store.
    new : mapping of str to bytes
        The attributes of arrays that the same commit puts into new files.

    Raises
    ------
    InvalidValueError
        The attributes of the store would be too large.
    """
    texts: dict[Owner, bytes] = dict(new.items())
    record: dict[str, Any] = {}
    for name, change in changes.items():
        if name not in new:
            before = catalog.attrs if name is None else catalog.arrays[name].attrs
            after = change.applied(before)
            texts[name] = checked_text(name, after)
            if texts[name] != before:
                if name is None:
                    record["attrs"] = after
                else:
                    record.setdefault("changes", {})[name] = {"attrs": after}
    _check_total(catalog, texts)
    return record


def new_array_attributes(
    catalog: Catalog, names: Iterable[str], changes: Mapping[Owner, AttributeChange]
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the attributes of arrays that a commit puts into new files.

    Parameters
    ----------
    catalog : Catalog
    names : iterable of str
        Of the arrays, which keep the attributes that their names have.
    changes : mapping of str or None to AttributeChange
        Changes of these and other attributes in the same commit.

    Returns
    -------
    dict of str to bytes
        Attributes by the names of the arrays.
    dict
        See `record_of`.
    """
    texts = {
        name: _text_after(name, catalog.arrays.get(name), changes.get(name)) for name in names
    }
    return texts, record_of(catalog, changes, texts) if changes else {}


def _text_after(name: str, before: Entry | None, change: AttributeChange | None) -> bytes:
    """Return the attributes of a new file's array, which takes the place of another."""
    text = b"" if before is None else before.attrs
    return text if change is None else checked_text(name, change.applied(text))


def checked_text(name: Owner, attributes: dict[str, Any]) -> bytes:
    """Return the JSON text of attributes; raise if they are too large."""
    try:
        return text_of(attributes)
    except InvalidRecordError as error:
        owner = "the store" if name is None else quoted(name)
        msg = f"attributes of {owner}: {error}; save large values as an array"
        raise InvalidValueError(msg) from None


def _check_total(catalog: Catalog, texts: Mapping[Owner, bytes]) -> None:
    """Check the size of all attributes of the store once some have new texts."""
    if not any(texts.values()):
        return
    kept = [entry.attrs for name, entry in catalog.arrays.items() if name not in texts]
    own = [] if None in texts else [catalog.attrs]
    total = sum(map(len, [*kept, *own, *texts.values()]))
    if total > TOTAL_LIMIT:
        msg = (
            f"all attributes of the store would take {total:,} bytes of JSON, and no more than "
            f"{TOTAL_LIMIT:,} are allowed; save large values as an array"
        )
        raise InvalidValueError(msg)
