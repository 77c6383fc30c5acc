"""The one reader of what a store's files claim: header, mark, snapshot, commit and journal.

Everything here is a pure function of decoded JSON. Nothing that a file says is used, for the
name of another file, a size or an offset, before it has passed through here: types exactly as
the format has them, numbers in range, ids of the format's own pattern and the store's own
token, sizes multiplied in Python integers. What has passed can be used without further checks,
but for the lengths of the files themselves.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..kernels.entries import read_entries
from .catalog import Catalog, CatalogUpdate, Entry, Record
from .dtype_codes import MAX_NDIM, InvalidRecordError, Unusable, brief, itemsize

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK = 1 << 20  # bytes that have a checksum of their own

_LIMIT = 2**63  # of counts, sizes and times
_COUNTED = 2**62  # numbers of commits and ids, so that they can still grow
_U32 = 2**32
_ID = re.compile(r"([0-9]{8,19})-([0-9a-f]{8})", re.ASCII)
_TOKEN = re.compile(r"[0-9a-f]{8}", re.ASCII)

_NEEDED = {"id", "dtype", "shape", "tail"}
_IN_ARRAY = _NEEDED | {"dropped", "dropped_crc32", "revision", "writable", "modified_us"}
_IN_SET = {"rows", "tail", "dropped", "dropped_crc32", "revision", "writable"}
_SNAPSHOT = {"store", "commit", "next_id", "arrays"}
_IN_SNAPSHOT = {"store", "commit", "next_id", "journal", "arrays", "crc32"}
_IN_COMMIT = {"commit", "time_us", "drop", "put", "set", "journal", "crc32"}
_IN_CHANGE = {"id", "width", "rows", "first", "sums"}


class ChangeHead(NamedTuple):
    """What the first line of a journal says of one array."""

    entry: Entry
    rows: int
    first: int
    checksums: int

    @property
    def nbytes(self) -> int:
        """Bytes that row numbers, rows and checksums take in the journal."""
        return self.rows * (8 + self.entry.row_nbytes) + 4 * self.checksums


def header(record: Any) -> tuple[str, float]:
    """Return format and version of a header; further members mean nothing.

    A version greater than 1 may be one of a later format, which may write it otherwise.
    """
    if type(record) is not dict or type(record.get("format")) is not str:
        raise InvalidRecordError("it is no object with a format")
    version = record.get("version")
    if type(version) is not int and not (type(version) is float and 1 < version < math.inf):
        raise InvalidRecordError(f"its version is {brief(version)}, not an integer")
    if version < 1:
        raise InvalidRecordError(f"its version is {brief(version)}, not 1 or more")
    return record["format"], version


def header_line(record: Any) -> int:
    """Return the number of commits that the first line of a log tells."""
    if type(record) is not dict:
        raise InvalidRecordError(f"it is {brief(record)}, not an object")
    return _natural(record, "commits")


def snapshot(line: Any) -> Catalog:
    """Return the catalog that a snapshot tells."""
    if type(line) is not dict or not _SNAPSHOT <= line.keys() <= _IN_SNAPSHOT:
        _check_members(line, _SNAPSHOT, _IN_SNAPSHOT)
    token, arrays = line["store"], line["arrays"]
    if type(token) is not str or not _TOKEN.fullmatch(token):
        raise InvalidRecordError(f"the token is {brief(token)}, not eight hexadecimal digits")
    if type(arrays) is not dict:
        raise InvalidRecordError(f"the arrays are {brief(arrays)}, not an object")
    commit, next_id = _natural(line, "commit", _COUNTED), _natural(line, "next_id", _COUNTED)

    def unusual(name: str, record: Any) -> Entry:
        _check_members(record, {"modified_us"}, _IN_ARRAY)
        time = _natural(record, "modified_us")
        return entry(name, record, time, token=token, next_id=next_id, commit=commit)

    entries = read_entries(arrays, token, next_id, Entry, unusual)
    if len(entries) > 1 and len({each[0] for each in entries.values()}) != len(entries):
        raise InvalidRecordError("two arrays have one id")
    journal = _u32(line, "journal") if "journal" in line else None
    return Catalog(token, commit, next_id, entries, journal)


class CommitReader:
    """Reads commits of a log that follow a catalog, which stays as it is.

    Parameters
    ----------
    catalog : Catalog

    Attributes
    ----------
    catalog : Catalog
        After the last commit that was read, but for its arrays, which are those before all.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._gone: set[str] = set()  # names of the arrays before
        self._fresh: dict[str, Entry] = {}  # entries that are new or changed

    def read(self, line: Any) -> None:
        """Read one more line.

        Raises
        ------
        InvalidRecordError
            It is wrong, and nothing of it was taken over.
        """
        if type(line) is dict and "time_us" in line:
            self._read_commit(line)
        else:
            _check_repeated(self.catalog, line)

    def _read_commit(self, line: Record) -> None:
        if not line.keys() <= _IN_COMMIT:
            _check_members(line, {"commit", "time_us"}, _IN_COMMIT)
        commit, time = line.get("commit"), _natural(line, "time_us")
        if type(commit) is not int or commit != self.catalog.commit + 1:
            before = f"commit {self.catalog.commit:,}"
            raise InvalidRecordError(f"commit {brief(commit)} follows {before}")
        journal = _u32(line, "journal") if "journal" in line else None
        following = self.catalog._replace(commit=commit, journal=journal)
        changes = {
            name: _changed(name, self._entry(name), fields, commit, time)
            for name, fields in _members(line, "set").items()
        }
        if "put" in line:
            following = _put(changes, _members(line, "put"), following, time)
        dropped = self._checked_drops(line)
        for name in dropped:
            self._fresh.pop(name, None)
            if name in self.catalog.arrays:
                self._gone.add(name)
        self._fresh.update(changes)
        self.catalog = following

    def update(self) -> CatalogUpdate:
        """Return the catalog after what was read, and what that changes of its arrays."""
        return CatalogUpdate(self.catalog, list(self._gone), self._fresh)

    def names(self) -> list[str]:
        """Return the names of the arrays after what was read."""
        return [*({*self.catalog.arrays} - self._gone | {*self._fresh})]

    def _entry(self, name: str) -> Entry | None:
        found = self._fresh.get(name)
        if found is None and name not in self._gone:
            found = self.catalog.arrays.get(name)
        return found

    def _checked_drops(self, line: Record) -> list[str]:
        names, changed = line.get("drop", []), _members(line, "set")
        if type(names) is not list or not all(isinstance(name, str) for name in names):
            raise InvalidRecordError("the names to drop are no list of strings")
        for name in names:
            if self._entry(name) is None or name in changed:
                raise InvalidRecordError(f"there is no array {brief(name)} to drop")
        if len(set(names)) != len(names):
            raise InvalidRecordError("an array is dropped twice")
        return names


def journal_head(record: Any, catalog: Catalog) -> list[ChangeHead]:
    """Return what the first line of the journal of the last commit says."""
    _check_members(record, {"commit", "arrays"}, {"commit", "arrays", "crc32"})
    if type(record["arrays"]) is not list:
        raise InvalidRecordError(f"the arrays are {brief(record['arrays'])}, not a list")
    known = {
        entry.id: entry for entry in list(catalog.arrays.values()) if not entry.is_unusable
    }
    heads = []
    for each in record["arrays"]:
        _check_members(each, _IN_CHANGE, _IN_CHANGE)
        identifier = each["id"]
        entry = known.pop(identifier, None) if type(identifier) is str else None
        if entry is None:
            raise InvalidRecordError(
                f"no array has the id {brief(identifier)}, or it comes twice"
            )
        heads.append(_change_head(each, entry))
    return heads


def commit_of(record: Any) -> int:
    """Return the number of the commit that a journal belongs to."""
    if type(record) is not dict:
        raise InvalidRecordError(f"it begins with {brief(record)}, not an object")
    return _natural(record, "commit")


def entry(
    name: str, record: Any, modified: int, *, token: str, next_id: int, commit: int
) -> Entry:
    """Return an array as the log describes it.

    Parameters
    ----------
    name : str
    record : object
    modified : int
        Time of the last commit that changed it.
    token : str
        Of the store.
    next_id : int
        The number of the id is less.
    commit : int
        The last one.

    Returns
    -------
    Entry
        One with an `Unusable` code if all that is wrong concerns this array alone: others can
        be read, and this one dropped.

    Raises
    ------
    InvalidRecordError
        The record has no id of the store's, so that nothing of it can be used.
    """
    if not name:
        raise InvalidRecordError("an array has no name")
    _check_members(record, {"id"}, _IN_ARRAY)
    identifier = _checked_id(record["id"], token, next_id)
    try:
        return _described(identifier, record, modified, commit)
    except InvalidRecordError as error:
        return Entry(identifier, Unusable(str(error), record), (), modified)


def _described(identifier: str, record: Record, modified: int, commit: int) -> Entry:
    """Return an array whose id has been checked."""
    _check_members(record, _NEEDED, _IN_ARRAY)
    get = record.get
    made = Entry(
        identifier,
        record["dtype"],
        _checked_extents(record["shape"]),
        modified,
        record["tail"],
        get("dropped", 0),
        get("dropped_crc32", 0),
        get("revision", 0),
        get("writable", False),
    )
    _check_numbers(made, commit)
    return made


def _check_repeated(catalog: Catalog, line: Any) -> None:
    """Check a snapshot behind commits, which tells what is known already."""
    _check_members(line, _SNAPSHOT, _IN_SNAPSHOT)
    if _natural(line, "commit") != catalog.commit or line["store"] != catalog.token:
        raise InvalidRecordError(f"a snapshot is out of turn, not of {catalog.commit:,}")


def _put(changes: dict[str, Entry], put: Record, catalog: Catalog, time: int) -> Catalog:
    """Add the new arrays of a commit; their ids are of no array before."""
    ids = set()
    for name, record in put.items():
        made = entry(
            name, record, time, token=catalog.token, next_id=_COUNTED, commit=catalog.commit
        )
        number = int(made.id.partition("-")[0])
        if number < catalog.next_id or made.id in ids or name in changes:
            raise InvalidRecordError(f"the id {brief(made.id)} or its array comes twice")
        ids.add(made.id)
        changes[name] = made
    numbers = [int(each.partition("-")[0]) + 1 for each in ids]
    return catalog._replace(next_id=max([catalog.next_id, *numbers]))


def _changed(name: str, before: Entry | None, fields: Any, commit: int, time: int) -> Entry:
    """Return an array after a commit that sets some fields."""
    if before is None or before.is_unusable:
        raise InvalidRecordError(f"there is no array {brief(name)} to change")
    if type(fields) is not dict or not fields.keys() <= _IN_SET:
        _check_members(fields, set(), _IN_SET)
    if "rows" in fields:
        rows, stored = fields["rows"], before.stored
        if not stored or type(rows) is not int or rows < stored[0]:
            raise InvalidRecordError(f"{brief(name)} has {brief(rows)} rows, fewer than before")
    made = before.changed(fields, time)
    _check_numbers(made, commit)
    if made.dropped < before.dropped:
        raise InvalidRecordError(f"{brief(name)} has fewer dropped rows than before")
    return made


def _check_numbers(made: Entry, commit: int) -> None:
    """Check the numbers of an array, and that they agree with each other."""
    tail, dropped, crc, revision = made.tail, made.dropped, made.dropped_crc, made.revision
    if not (type(tail) is type(dropped) is type(crc) is type(revision) is int):
        raise InvalidRecordError("tail, dropped, dropped_crc32 or revision is no integer")
    if not (0 <= tail < _U32 and 0 <= crc < _U32):
        raise InvalidRecordError(f"the checksum {brief(tail)} or {brief(crc)} is none")
    if not 0 <= revision <= commit:
        raise InvalidRecordError(f"its revision is {brief(revision)}, after commit {commit:,}")
    if type(made.writable) is not bool:
        raise InvalidRecordError(f"writable is {brief(made.writable)}")
    stored = made.stored
    if not 0 <= dropped <= (stored[0] if stored else 0):
        raise InvalidRecordError(f"{brief(dropped)} rows are dropped of shape {stored}")
    nbytes = check_size(stored, itemsize(made.code))
    if tail and not nbytes % BLOCK:
        raise InvalidRecordError("it has a checksum of no bytes")


def check_size(shape: Sequence[int], size: int) -> int:
    """Return the bytes of an array; raise if they, or those of an axis, cannot be counted."""
    span = math.prod([extent or 1 for extent in shape]) * (size or 1)
    if span >= _LIMIT:
        raise InvalidRecordError(f"shape {shape} of {size:,} bytes each exceeds any memory")
    return math.prod(shape) * size


def _checked_id(identifier: Any, token: str, next_id: int) -> str:
    match = _ID.fullmatch(identifier) if type(identifier) is str else None
    if match is None or match[2] != token:
        wanted = f"eight or more digits, '-' and the store's token {token}"
        raise InvalidRecordError(f"an id is {brief(identifier)}, not {wanted}")
    if int(match[1]) >= next_id:
        raise InvalidRecordError(f"the id {identifier} is not below next_id {next_id:,}")
    return match[0]


def _checked_extents(shape: Any) -> tuple[int, ...]:
    if type(shape) is not list or len(shape) > MAX_NDIM:
        raise InvalidRecordError(f"a shape is no list of up to {MAX_NDIM} extents")
    for extent in shape:
        if type(extent) is not int or not 0 <= extent < _LIMIT:
            raise InvalidRecordError(f"an extent is {brief(extent)}")
    return tuple(shape)


def _change_head(each: Record, entry: Entry) -> ChangeHead:
    width, rows = _natural(each, "width"), _natural(each, "rows")
    first, sums = _natural(each, "first"), _natural(each, "sums")
    if not entry.stored or not width or width != entry.row_nbytes:
        raise InvalidRecordError(f"rows of {entry.id} do not have {width:,} bytes")
    if not 1 <= rows <= entry.stored[0]:
        raise InvalidRecordError(f"{rows:,} rows of {entry.stored[0]:,} of {entry.id} change")
    if first + sums > -(-entry.nbytes // BLOCK):
        raise InvalidRecordError(f"{entry.id} has no {sums:,} blocks from block {first:,} on")
    return ChangeHead(entry, rows, first, sums)


def _check_members(record: Any, needed: set[str], known: set[str]) -> None:
    if type(record) is not dict:
        raise InvalidRecordError(f"there is {brief(record)} instead of an object")
    if missing := needed - record.keys():
        raise InvalidRecordError(f"there is no {min(missing)}")
    if further := record.keys() - known:
        raise InvalidRecordError(f"the member {brief(min(further))} means nothing")


def _members(line: Record, key: str) -> Record:
    members = line.get(key, {})
    if type(members) is not dict:
        raise InvalidRecordError(f"{key} is {brief(members)}, not an object")
    return members


def _natural(record: Record, key: str, limit: int = _LIMIT) -> int:
    value = record.get(key)
    if type(value) is not int or not 0 <= value < limit:
        raise InvalidRecordError(f"{key} is {brief(value)}")
    return value


def _u32(record: Record, key: str) -> int:
    value = record[key]
    if type(value) is not int or not 0 <= value < _U32:
        raise InvalidRecordError(f"{key} is {brief(value)}, not a checksum")
    return value
