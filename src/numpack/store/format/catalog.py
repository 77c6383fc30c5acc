"""The catalog: the arrays of a store after a commit, as recorded in the log."""

from __future__ import annotations

import json
import math
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import CorruptStoreError
from .dtype_codes import InvalidRecordError, Unusable, is_extension, itemsize, unusable_error
from .schema import DTYPES, decode_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..._core.dtypes import DType

Record = dict[str, Any]

_format = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_CHECK = b',"crc32":"'
CHECK_LENGTH = len(_CHECK) + 8 + len('"}\n')


class Entry(NamedTuple):
    """The log's record of one array.

    Attributes
    ----------
    id : str
        Base name of its files; never reused.
    code : str, list or dict
        The dtype as encoded by `schema.encode_dtype`.
    stored : tuple of int
        Shape of the data file's contents, deleted rows included.
    modified : int
        Time of the last commit that changed the array, in microseconds since 1970.
    tail : int
        CRC-32 of the bytes after the last full block; 0 if there are none.
    dropped : int
        Number of deleted rows.
    dropped_crc : int
        CRC-32 of the deleted-row list.
    revision : int
        Number of the last commit that changed rows in place; 0 if none did.
    writable : bool
        Whether rows may be written in place without checksums (`writable_batch_mode`).
    numpack0_file : str
        Name of the data file in a NumPack 0.x folder, where the id does not name it; else
        empty.
    """

    id: str
    code: Any
    stored: tuple[int, ...]
    modified: int
    tail: int = 0
    dropped: int = 0
    dropped_crc: int = 0
    revision: int = 0
    writable: bool = False
    numpack0_file: str = ""

    @property
    def is_unusable(self) -> bool:
        """Whether the log's record is invalid, so that the array can only be dropped."""
        return type(self.code) is Unusable

    @property
    def dtype(self) -> DType:
        """The dtype; requires ml_dtypes for bfloat16 and narrower floats."""
        code = self.code
        if type(code) is Unusable:
            raise unusable_error(code)
        if type(code) is str and (known := DTYPES.get(code)) is not None:
            return known
        return decode_dtype(code)

    @property
    def dtype_name(self) -> str:
        """The dtype as NumPy prints it; does not require ml_dtypes."""
        return self.code if is_extension(self.code) else str(self.dtype)

    @property
    def itemsize(self) -> int:
        """Size of an element in bytes; does not require ml_dtypes."""
        return itemsize(self.code)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array, without deleted rows."""
        if not self.dropped:
            if not self.stored and type(self.code) is Unusable:
                raise unusable_error(self.code)
            return self.stored
        return (self.stored[0] - self.dropped, *self.stored[1:])

    @property
    def data_file(self) -> str:
        """Path of the data file, relative to the store's folder."""
        return self.numpack0_file or f"data/{self.id}.bin"

    @property
    def checksum_file(self) -> str:
        """Path of the checksums of full blocks; absent if the file has no full block."""
        return f"data/{self.id}.sum"

    @property
    def dropped_file(self) -> str:
        """Path of the deleted-row list; absent until the first row is deleted."""
        return f"data/{self.id}.del"

    @property
    def nbytes(self) -> int:
        """Size of the rows in the data file in bytes, deleted rows included."""
        return math.prod(self.stored) * itemsize(self.code)

    @property
    def live_nbytes(self) -> int:
        """Size of the live rows in bytes."""
        return math.prod(self.shape) * itemsize(self.code)

    @property
    def row_nbytes(self) -> int:
        """Size of one row in bytes."""
        return math.prod(self.stored[1:]) * itemsize(self.code)

    def with_changes(self, fields: Record, time: int) -> Entry:
        """Return the entry after a commit that sets some fields; they are not validated."""
        get, stored = fields.get, self.stored
        if "rows" in fields:
            stored = (fields["rows"], *stored[1:])
        return Entry(
            self.id,
            self.code,
            stored,
            time,
            get("tail", self.tail),
            get("dropped", self.dropped),
            get("dropped_crc32", self.dropped_crc),
            get("revision", self.revision),
            get("writable", self.writable),
        )

    def to_record(self) -> Record:
        """Return the JSON object that the log stores; default values are omitted."""
        if type(self.code) is Unusable:
            found = self.code.record
            return {key: found[key] for key in found if key != "modified_us"}
        record: Record = {
            "id": self.id,
            "dtype": self.code,
            "shape": list(self.stored),
            "tail": self.tail,
        }
        if self.dropped:
            record |= {"dropped": self.dropped, "dropped_crc32": self.dropped_crc}
        if self.revision:
            record["revision"] = self.revision
        if self.writable:
            record["writable"] = True
        return record


class Catalog(NamedTuple):
    """The contents of a store as of one commit.

    Attributes
    ----------
    token : str
        Random; drawn when the store is created. It is part of every data file's name, so
        that a store created again in the same folder never reuses a name.
    commit : int
        Number of the last commit.
    next_id : int
        Number of the next data file.
    arrays : dict of str to Entry
        In insertion order. Commits change the dictionary in place (see `CatalogUpdate`), so
        copy it before iterating over it.
    journal : int or None
        CRC-32 of the journal if the last commit replaces rows in place, else None.
    """

    token: str = ""
    commit: int = 0
    next_id: int = 1
    arrays: dict[str, Entry] = {}  # noqa: RUF012 -- placeholder; never modified
    journal: int | None = None

    def new_id(self, ahead: int = 0) -> str:
        """Return the id of the next data file, or of the one `ahead` positions later."""
        return f"{self.next_id + ahead:08d}-{self.token}"

    def after_commit(
        self,
        time: int,
        put: Mapping[str, Entry],
        changes: Mapping[str, Record],
        drop: Iterable[str],
        journal: int | None,
    ) -> CatalogUpdate:
        """Return the catalog after a commit made by this process.

        The arguments are trusted. Commits read from a log are validated by
        `records.CommitReader` instead.
        """
        arrays, next_id = self.arrays, self.next_id
        changed = {
            name: arrays[name].with_changes(fields, time) for name, fields in changes.items()
        }
        for name, entry in put.items():
            changed[name] = entry._replace(modified=time)
            next_id = max(next_id, int(entry.id.partition("-")[0]) + 1)
        catalog = Catalog(self.token, self.commit + 1, next_id, arrays, journal)
        return CatalogUpdate(catalog, list(drop), changed)

    def snapshot(self) -> Record:
        """Return the snapshot line of the log, which describes all arrays."""
        line: Record = {"store": self.token, "commit": self.commit, "next_id": self.next_id}
        if self.journal is not None:
            line["journal"] = self.journal
        line["arrays"] = {
            name: {**entry.to_record(), "modified_us": entry.modified}
            for name, entry in list(self.arrays.items())
        }
        return line


class CatalogUpdate(NamedTuple):
    """A catalog after some commits, and the changes not yet applied to its arrays.

    Copying the dictionary of arrays at each commit would take time proportional to the number
    of arrays. So `kernels.entries.apply_update` changes it in place once the commits are
    validated.

    Attributes
    ----------
    catalog : Catalog
        Up to date but for `Catalog.arrays`.
    removed : list of str
        Names to remove.
    changed : dict of str to Entry
        New or changed arrays.
    """

    catalog: Catalog
    removed: list[str]
    changed: dict[str, Entry]


def encode(line: Mapping[str, Any]) -> bytes:
    """Encode a line of the log, checksum included."""
    try:
        text = _format(line)[:-1]
    except RecursionError:  # raised by the record of an unusable array
        raise CorruptStoreError("the log is damaged: it is nested too deeply") from None
    return add_checksum(text.encode("utf-8", "surrogatepass"))  # names may hold surrogates


def add_checksum(body: bytes) -> bytes:
    """Terminate a line of the log with its checksum."""
    return body + _CHECK + b'%08x"}\n' % zlib.crc32(body)


def decode(line: bytes) -> Record:
    """Decode a line of the log.

    Raises
    ------
    ValueError
        The line is damaged.
    """
    return decode_lines((line,))[0]


def decode_lines(lines: Sequence[bytes]) -> list[Record]:
    """Decode several lines of the log in one call to the JSON parser, which is much faster.

    Only the checksums are verified. `records` validates the contents.
    """
    for line in lines:
        end = len(line) - CHECK_LENGTH
        if line[end:] != _CHECK + b'%08x"}\n' % zlib.crc32(line[:end]):
            raise InvalidRecordError("its checksum is wrong")
    text = b"".join((b"[", b",".join(lines), b"]")).decode("utf-8", "surrogatepass")
    try:
        decoded, end = _parse(text)
    except (RecursionError, MemoryError):
        raise InvalidRecordError("it is nested too deeply, or too long") from None
    if end != len(text) or len(decoded) != len(lines):
        raise InvalidRecordError("it is not a single object")
    records: list[Record] = decoded
    return records


def has_duplicates(line: bytes) -> bool:
    """Return whether an object in a valid line has the same member twice."""
    found = False

    def check(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len(dict(pairs)) != len(pairs)

    json.loads(line.decode("utf-8", "surrogatepass"), object_pairs_hook=check)
    return found


def _refuse(constant: str) -> Any:
    raise InvalidRecordError(f"{constant} is not a JSON number")


# For short lines, json.loads spends more time on setup than on parsing.
_parse = json.JSONDecoder(parse_constant=_refuse).raw_decode
