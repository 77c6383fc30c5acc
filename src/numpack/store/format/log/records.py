"""Validation of the records in a store's files: the header, snapshots and commits.

All functions are pure functions of decoded JSON. No value from a file is used as a file name,
size or offset before it is validated here: types match the format exactly, numbers are in
range, ids match the format's pattern and the store's token, and sizes are computed with Python
integers. Validated values need no further checks, except against the lengths of the files.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from ...kernels.checksums import BLOCK
from ..dtype_codes import MAX_NDIM, InvalidRecordError, Unusable, brief, itemsize
from .attributes import text_of
from .ordinary.arrays import read_entries
from .state import Catalog, CatalogUpdate, Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .lines import Record

_LIMIT = 2**63  # exclusive, of counts, sizes and times
_NUMBER_LIMIT = 2**62  # exclusive, of commit numbers and ids, so that they can still grow
_U32 = 2**32
MAX_EXTENTS = 4096  # of an array
_ID = re.compile(r"([0-9]{8,19})-([0-9a-f]{8})", re.ASCII)
_TOKEN = re.compile(r"[0-9a-f]{8}", re.ASCII)

_NEEDED = {"id", "dtype", "shape", "tail"}
_IN_ARRAY = _NEEDED | {
    "dropped",
    "dropped_crc32",
    "revision",
    "writable",
    "attrs",
    "extents",
    "modified_us",
}
_IN_SET = {"rows", "tail", "dropped", "dropped_crc32", "revision", "writable", "attrs"}
_SNAPSHOT = {"store", "commit", "next_id", "arrays"}
_IN_SNAPSHOT = {"store", "commit", "next_id", "journal", "attrs", "arrays", "crc32"}
_IN_COMMIT = {"commit", "time_us", "drop", "put", "set", "journal", "attrs", "crc32"}


def header(record: Any) -> tuple[str, float]:
    """Return the format and version of a store's header; ignore other members.

    A version greater than 3 may be written as a float by a later format.
    """
    if type(record) is not dict or type(record.get("format")) is not str:
        raise InvalidRecordError("it is not an object with a format")
    version = record.get("version")
    if type(version) is not int and not (type(version) is float and 3 < version < math.inf):
        raise InvalidRecordError(f"its version is {brief(version)}, not an integer")
    if version < 1:
        raise InvalidRecordError(f"its version is {brief(version)}, not 1 or more")
    return record["format"], version


def commit_count(record: Any) -> int:
    """Return the number of commits recorded in the header line of a log."""
    if type(record) is not dict:
        raise InvalidRecordError(f"it is {brief(record)}, not an object")
    return natural(record, "commits")


def snapshot(line: Any) -> Catalog:
    """Return the catalog described by a snapshot."""
    if type(line) is not dict or not _SNAPSHOT <= line.keys() <= _IN_SNAPSHOT:
        check_members(line, _SNAPSHOT, _IN_SNAPSHOT)
    token, arrays = line["store"], line["arrays"]
    if type(token) is not str or not _TOKEN.fullmatch(token):
        raise InvalidRecordError(f"the token is {brief(token)}, not eight hexadecimal digits")
    if type(arrays) is not dict:
        raise InvalidRecordError(f"the arrays are {brief(arrays)}, not an object")
    commit, next_id = (
        natural(line, "commit", _NUMBER_LIMIT),
        natural(line, "next_id", _NUMBER_LIMIT),
    )

    def unusual(name: str, record: Any) -> Entry:
        check_members(record, {"modified_us"}, _IN_ARRAY)
        time = natural(record, "modified_us")
        return entry(name, record, time, token=token, next_id=next_id, commit=commit)

    entries = read_entries(arrays, token, next_id, unusual)
    if len(entries) > 1 and len({each.id for each in entries.values()}) != len(entries):
        raise InvalidRecordError("two arrays have the same id")
    journal = _u32(line, "journal") if "journal" in line else None
    return Catalog(token, commit, next_id, entries, journal, text_of(line.get("attrs", {})))


class CommitReader:
    """Validator of successive commits; collects their changes without applying them.

    Parameters
    ----------
    catalog : Catalog
        The catalog before the commits; it is not modified.

    Attributes
    ----------
    catalog : Catalog
        The catalog after the last commit read, except for `Catalog.arrays`, which remain
        those before the first.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._removed: set[str] = set()  # names in `catalog.arrays`
        self._changed: dict[str, Entry] = {}  # new or changed entries

    def read(self, line: Any) -> None:
        """Validate one more line and collect its changes.

        Raises
        ------
        InvalidRecordError
            The line is invalid; none of its changes are collected.
        """
        if type(line) is dict and "time_us" in line:
            self._read_commit(line)
        else:
            _check_later_snapshot(self.catalog, line)

    def _read_commit(self, line: Record) -> None:
        if not line.keys() <= _IN_COMMIT:
            check_members(line, {"commit", "time_us"}, _IN_COMMIT)
        commit, time = line.get("commit"), natural(line, "time_us")
        if type(commit) is not int or commit != self.catalog.commit + 1:
            previous = f"commit {self.catalog.commit:,}"
            raise InvalidRecordError(f"commit {brief(commit)} follows {previous}")
        journal = _u32(line, "journal") if "journal" in line else None
        next_id = self.catalog.next_id
        attrs = text_of(line["attrs"]) if "attrs" in line else self.catalog.attrs
        changes = {
            name: _with_changes(name, self._entry(name), fields, commit, time)
            for name, fields in _members(line, "set").items()
        }
        if "put" in line:
            next_id = _put(changes, _members(line, "put"), self.catalog, commit, time)
        for name in self._names_to_drop(line):
            self._changed.pop(name, None)
            if name in self.catalog.arrays:
                self._removed.add(name)
        self._changed.update(changes)
        before = self.catalog
        self.catalog = Catalog(before.token, commit, next_id, before.arrays, journal, attrs)

    def update(self) -> CatalogUpdate:
        """Return the catalog after the commits read, and their changes to its arrays."""
        return CatalogUpdate(self.catalog, list(self._removed), self._changed)

    def names(self) -> list[str]:
        """Return the names of the arrays after the commits read."""
        return [*({*self.catalog.arrays} - self._removed | {*self._changed})]

    def _entry(self, name: str) -> Entry | None:
        found = self._changed.get(name)
        if found is None and name not in self._removed:
            found = self.catalog.arrays.get(name)
        return found

    def _names_to_drop(self, line: Record) -> list[str]:
        names, changed = line.get("drop", []), _members(line, "set")
        if type(names) is not list or not all(isinstance(name, str) for name in names):
            raise InvalidRecordError("the names to drop are not a list of strings")
        for name in names:
            if self._entry(name) is None or name in changed:
                raise InvalidRecordError(f"there is no array {brief(name)} to drop")
        if len(set(names)) != len(names):
            raise InvalidRecordError("an array is dropped twice")
        return names


def entry(
    name: str, record: Any, modified: int, *, token: str, next_id: int, commit: int
) -> Entry:
    """Return the entry of an array that the log describes.

    Parameters
    ----------
    name : str
    record : object
    modified : int
        Time of the last commit that changed the array.
    token : str
        The store's token.
    next_id : int
        Exclusive upper bound for the number in the id.
    commit : int
        Number of the last commit.

    Returns
    -------
    Entry
        With an `Unusable` code if the error affects this array only: others can be read, and
        this one can be dropped.

    Raises
    ------
    InvalidRecordError
        The record lacks a valid id of this store.
    """
    if not name:
        raise InvalidRecordError("an array has no name")
    check_members(record, {"id"}, _IN_ARRAY)
    identifier = _checked_id(record["id"], token, next_id)
    try:
        return _described(identifier, record, modified, commit)
    except InvalidRecordError as error:
        return Entry(identifier, Unusable(str(error), record), (), modified)


def _described(identifier: str, record: Record, modified: int, commit: int) -> Entry:
    """Return the entry of an array whose id is valid."""
    check_members(record, _NEEDED, _IN_ARRAY)
    get = record.get
    made = Entry(
        identifier,
        record["dtype"],
        _checked_shape(record["shape"]),
        modified,
        record["tail"],
        get("dropped", 0),
        get("dropped_crc32", 0),
        get("revision", 0),
        get("writable", False),
        attrs=text_of(get("attrs", {})),
        extents=_checked_extents(record["extents"]) if "extents" in record else None,
    )
    _check_numbers(made, commit)
    if made.extents is not None and (made.writable or not made.nbytes):
        raise InvalidRecordError("it has extents and is writable, or has no bytes")
    return made


def _check_later_snapshot(catalog: Catalog, line: Any) -> None:
    """Check a snapshot that follows commits; its arrays are already known."""
    check_members(line, _SNAPSHOT, _IN_SNAPSHOT)
    if natural(line, "commit") != catalog.commit or line["store"] != catalog.token:
        raise InvalidRecordError(f"a snapshot is not of commit {catalog.commit:,}")


def _put(
    changes: dict[str, Entry], put: Record, before: Catalog, commit: int, time: int
) -> int:
    """Add a commit's new arrays to `changes`; return the next id.

    Their ids must not have been used before.
    """
    ids = set()
    for name, record in put.items():
        made = entry(
            name,
            record,
            time,
            token=before.token,
            next_id=_NUMBER_LIMIT,
            commit=commit,
        )
        number = int(made.id.partition("-")[0])
        if number < before.next_id or made.id in ids or name in changes:
            raise InvalidRecordError(f"the id {brief(made.id)} or its array occurs twice")
        ids.add(made.id)
        changes[name] = made
    numbers = [int(each.partition("-")[0]) + 1 for each in ids]
    return max([before.next_id, *numbers])


def _with_changes(
    name: str, before: Entry | None, fields: Any, commit: int, time: int
) -> Entry:
    """Validate a commit that sets some fields of an array; return the entry after it."""
    if before is None or before.is_unusable:
        raise InvalidRecordError(f"there is no array {brief(name)} to change")
    if before.extents is not None:
        raise InvalidRecordError(f"{brief(name)} has extents, which no commit changes")
    if type(fields) is not dict or not fields.keys() <= _IN_SET:
        check_members(fields, set(), _IN_SET)
    if "rows" in fields:
        rows, stored = fields["rows"], before.stored
        if not stored or type(rows) is not int or rows < stored[0]:
            raise InvalidRecordError(f"{brief(name)} has {brief(rows)} rows, fewer than before")
    made = before.with_changes(fields, time)
    _check_numbers(made, commit)
    if made.dropped < before.dropped:
        raise InvalidRecordError(f"{brief(name)} has fewer deleted rows than before")
    return made


def _check_numbers(made: Entry, commit: int) -> None:
    """Check the numbers of an entry individually and against each other."""
    tail, dropped, crc, revision = made.tail, made.dropped, made.dropped_crc, made.revision
    if not (type(tail) is type(dropped) is type(crc) is type(revision) is int):
        raise InvalidRecordError("tail, dropped, dropped_crc32 or revision is not an integer")
    if not (0 <= tail < _U32 and 0 <= crc < _U32):
        raise InvalidRecordError(
            f"the checksum {brief(tail)} or {brief(crc)} is not a 32-bit number"
        )
    if not 0 <= revision <= commit:
        raise InvalidRecordError(f"its revision is {brief(revision)}, after commit {commit:,}")
    if type(made.writable) is not bool:
        raise InvalidRecordError(f"writable is {brief(made.writable)}")
    stored = made.stored
    if not 0 <= dropped <= (stored[0] if stored else 0):
        raise InvalidRecordError(f"{brief(dropped)} rows are deleted from shape {stored}")
    nbytes = check_size(stored, itemsize(made.code))
    if tail and not nbytes % BLOCK:
        raise InvalidRecordError("it has a checksum of no bytes")


def check_size(shape: Sequence[int], size: int) -> int:
    """Return the size of an array in bytes.

    Raises
    ------
    InvalidRecordError
        The size exceeds a 64-bit integer, axes of length 0 counted as 1, as NumPy does.
    """
    span = math.prod([extent or 1 for extent in shape]) * (size or 1)
    if span >= _LIMIT:
        raise InvalidRecordError(
            f"shape {shape} with {size:,} bytes per element exceeds the address space"
        )
    return math.prod(shape) * size


def _checked_id(identifier: Any, token: str, next_id: int) -> str:
    match = _ID.fullmatch(identifier) if type(identifier) is str else None
    if match is None or match[2] != token:
        wanted = f"eight or more digits, '-' and the store's token {token}"
        raise InvalidRecordError(f"an id is {brief(identifier)}, not {wanted}")
    if int(match[1]) >= next_id:
        raise InvalidRecordError(f"the id {identifier} is not below next_id {next_id:,}")
    return match[0]


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if type(shape) is not list or len(shape) > MAX_NDIM:
        raise InvalidRecordError(f"a shape is not a list of up to {MAX_NDIM} extents")
    for extent in shape:
        if type(extent) is not int or not 0 <= extent < _LIMIT:
            raise InvalidRecordError(f"an extent is {brief(extent)}")
    return tuple(shape)


def _checked_extents(extents: Any) -> tuple[int, int]:
    if type(extents) is not list or [type(each) for each in extents] != [int, int]:
        raise InvalidRecordError(f"the extents are {brief(extents)}, not two integers")
    count, crc = extents
    if not (1 <= count <= MAX_EXTENTS and 0 <= crc < _U32):
        raise InvalidRecordError(f"the extents are {brief(extents)}, out of range")
    return count, crc


def check_members(record: Any, needed: set[str], known: set[str]) -> None:
    """Check that a record is an object with all needed members, and only known ones."""
    if type(record) is not dict:
        raise InvalidRecordError(f"there is {brief(record)} instead of an object")
    if missing := needed - record.keys():
        raise InvalidRecordError(f"the member {min(missing)} is missing")
    if unknown := record.keys() - known:
        raise InvalidRecordError(f"the member {brief(min(unknown))} is unknown")


def _members(line: Record, key: str) -> Record:
    members = line.get(key, {})
    if type(members) is not dict:
        raise InvalidRecordError(f"{key} is {brief(members)}, not an object")
    return members


def natural(record: Record, key: str, limit: int = _LIMIT) -> int:
    """Return a member that must be an integer from 0 up to, but not including, `limit`."""
    value = record.get(key)
    if type(value) is not int or not 0 <= value < limit:
        raise InvalidRecordError(f"{key} is {brief(value)}")
    return value


def _u32(record: Record, key: str) -> int:
    value = record[key]
    if type(value) is not int or not 0 <= value < _U32:
        raise InvalidRecordError(f"{key} is {brief(value)}, not a checksum")
    return value
