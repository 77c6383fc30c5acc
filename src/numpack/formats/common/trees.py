"""What formats with groups have in common: names that are paths, and arrays described late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import InvalidValueError, UnsupportedError
from ...store.format.naming import quoted, unknown_name_error
from .attributes import unwritable_text
from .sources import SlicedSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .._protocol import ArrayInfo

MAX_DEPTH = 64  # groups inside each other
MAX_ARRAYS = 1_000_000
_MAX_RATIO = 10_000  # of what is read to what is stored; deflate reaches about 1,000
_HARMLESS = 1 << 30  # bytes


class Infos(Mapping[str, "ArrayInfo"]):
    """Descriptions of arrays, each made when it is first asked for.

    Describing one may take a pass over its strings, or raise the error of an array that cannot
    be read. The others are not affected.

    Parameters
    ----------
    makers : mapping of str to callable
        Each returns the description of an array, or raises.
    """

    def __init__(self, makers: Mapping[str, Callable[[], ArrayInfo]]) -> None:
        self._makers = makers
        self._made: dict[str, ArrayInfo] = {}

    def __getitem__(self, name: str) -> ArrayInfo:
        """Return the description of an array."""
        found = self._made.get(name)
        if found is None:
            maker = self._makers.get(name)
            if maker is None:
                raise unknown_name_error(name, self._makers)
            found = self._made[name] = maker()
        return found

    def __contains__(self, name: object) -> bool:
        """Return whether there is an array of this name, without describing it."""
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._makers)

    def __len__(self) -> int:
        """Return the number of arrays, with those that cannot be read."""
        return len(self._makers)


class TreeSource(SlicedSource):
    """A source whose arrays are described when they are first asked for.

    Parameters
    ----------
    makers : mapping of str to callable
        See `Infos`.
    attrs : mapping
        Attributes of the file.
    """

    def __init__(
        self, makers: Mapping[str, Callable[[], ArrayInfo]], attrs: Mapping[str, Any]
    ) -> None:
        super().__init__({})
        self.arrays, self.attrs = Infos(makers), attrs
        self.nbytes = None  # known once all arrays have been described


def raising(error: Exception) -> Callable[[], ArrayInfo]:
    """Return a maker for `Infos` of an array that cannot be read."""

    def maker() -> ArrayInfo:
        raise error

    return maker


def checked_paths(names: Iterable[str], label: str, reserved: str = "") -> None:
    """Check that names can be those of arrays in groups, before anything is written.

    Parameters
    ----------
    names : iterable of str
    label : str
        Of the format.
    reserved : str, optional
        How the names of groups and arrays must not begin.

    Raises
    ------
    UnsupportedError
        A part of a name is empty, ``"."`` or ``".."``, or one name is the group of another.
    """
    names = set(names)
    for name in sorted(names):
        parts = name.split("/")
        bad = next((part for part in parts if not is_component(part, reserved)), None)
        if bad is not None:
            refuse_name(name, label, f"the part {bad!r} cannot be the name of a group or array")
        if unwritable_text(name):
            refuse_name(name, label, unwritable_text(name))
        parents = ("/".join(parts[:count]) for count in range(1, len(parts)))
        parent = next((each for each in parents if each in names), None)
        if parent is not None:
            why = f"the array {quoted(parent)} would have to be a group as well"
            refuse_name(name, label, why)
        if len(parts) > MAX_DEPTH:
            refuse_name(name, label, f"it has more than {MAX_DEPTH} parts")


def is_component(part: str, reserved: str = "") -> bool:
    """Return whether a part of a path is safe as the name of a group or an array."""
    is_plain = part not in ("", ".", "..") and "\0" not in part
    return is_plain and not (reserved and part.startswith(reserved))


def refuse_name(name: str, label: str, why: str) -> None:
    """Raise the error for a name that a format cannot hold."""
    fix = "give the array another name with rename="
    msg = f"{quoted(name)} cannot be written to {label}: {why}; {fix}"
    raise UnsupportedError(msg, reason=why, fix=fix, direction=f"to {label}")


def check_name_read(name: str, label: str, path: object) -> None:
    """Check a name that a file has for a group or an array.

    Raises
    ------
    InvalidValueError
        It leads out of its group.
    """
    if not is_component(name):
        msg = (
            f"{path} is not a safe {label} file: it has a group or an array called {name!r}; "
            "names must not be empty, '.' or '..'"
        )
        raise InvalidValueError(msg)


def check_expansion(name: str, nbytes: int, stored: int, label: str) -> None:
    """Refuse an array that is out of proportion to what the file stores of it.

    A file of a few bytes can describe petabytes of fill values.

    Raises
    ------
    InvalidValueError
        The array is larger than 1 GiB, and than 10,000 times what is stored.
    """
    if nbytes > _HARMLESS and nbytes > _MAX_RATIO * stored:
        msg = (
            f"{quoted(name)} takes {nbytes:,} bytes, of which the {label} file stores "
            f"{stored:,}: it would fill the disk with one value; leave it out with arrays=, or "
            "pass sparse=True if you trust the file"
        )
        raise InvalidValueError(msg)


def refuse_read(name: str, label: str, why: str, fix: str) -> UnsupportedError:
    """Return the error for an array of a file that cannot be an array of a store."""
    msg = f"{quoted(name)} cannot be read from {label}: {why}; {fix}"
    return UnsupportedError(msg, reason=why, fix=fix, direction=f"from {label}")
