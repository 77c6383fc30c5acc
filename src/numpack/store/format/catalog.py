"""What the log says: the arrays of a store as they are after some commit."""

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
    """One array as the log has it.

    Attributes
    ----------
    id : str
        Names its files; never used twice.
    code : str, list or dict
        The dtype, see `schema.encode_dtype`.
    stored : tuple of int
        Shape of what is in the data file: dropped rows included.
    modified : int
        Time of the last commit that changed it, in microseconds since 1970.
    tail : int
        CRC-32 of the bytes behind the last whole block; 0 if there are none.
    dropped : int
        How many rows were dropped.
    dropped_crc : int
        CRC-32 of their list.
    revision : int
        Number of the last commit that changed rows in place; 0 if none did.
    writable : bool
        Whether somebody writes to its rows in place without checksums (`writable_batch_mode`).
    old_file : str
        The data file in a folder of NumPack 0.x, where it is not named by the id.
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
    old_file: str = ""

    @property
    def is_unusable(self) -> bool:
        """Whether what the log says of it makes no sense, so that it can only be dropped."""
        return type(self.code) is Unusable

    @property
    def dtype(self) -> DType:
        """The dtype; needs ml_dtypes for bfloat16 and narrower floats."""
        code = self.code
        if type(code) is Unusable:
            raise unusable_error(code)
        if type(code) is str and (known := DTYPES.get(code)) is not None:
            return known
        return decode_dtype(code)

    @property
    def dtype_name(self) -> str:
        """The dtype as NumPy prints it; does not need ml_dtypes."""
        return self.code if is_extension(self.code) else str(self.dtype)

    @property
    def itemsize(self) -> int:
        """Bytes of an element; does not need ml_dtypes."""
        return itemsize(self.code)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array: without the rows that were dropped."""
        if not self.dropped:
            if not self.stored and type(self.code) is Unusable:
                raise unusable_error(self.code)
            return self.stored
        return (self.stored[0] - self.dropped, *self.stored[1:])

    @property
    def data_file(self) -> str:
        """Path of the rows in the store's folder."""
        return self.old_file or f"data/{self.id}.bin"

    @property
    def checksum_file(self) -> str:
        """Path of the checksums of the whole blocks; there is none without such blocks."""
        return f"data/{self.id}.sum"

    @property
    def dropped_file(self) -> str:
        """Path of the list of dropped rows; there is none before the first is dropped."""
        return f"data/{self.id}.del"

    @property
    def nbytes(self) -> int:
        """Bytes that the stored rows take in the data file."""
        return math.prod(self.stored) * itemsize(self.code)

    @property
    def live_nbytes(self) -> int:
        """Bytes of the rows that were not dropped."""
        return math.prod(self.shape) * itemsize(self.code)

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.stored[1:]) * itemsize(self.code)

    def changed(self, fields: Record, time: int) -> Entry:
        """Return the array after a commit that sets some fields, which are not checked."""
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

    def record(self) -> Record:
        """Give what the log keeps; what has its usual value is left out."""
        if type(self.code) is Unusable:
            told = self.code.record
            return {key: told[key] for key in told if key != "modified_us"}
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
    """What the log says up to some commit.

    Attributes
    ----------
    token : str
        Drawn when the store was made; part of every file name, so that a store made anew
        in the same folder never reuses one.
    commit : int
        Number of the last commit.
    next_id : int
        Number of the next data file.
    arrays : dict of str to Entry
        In the order in which the names came. Commits change it in place, see `after`:
        whoever iterates over it copies it first.
    journal : int or None
        CRC-32 of the journal, if the last commit is one whose rows are written in place
        after it.
    """

    token: str = ""
    commit: int = 0
    next_id: int = 1
    arrays: dict[str, Entry] = {}  # noqa: RUF012 -- the catalog of no store; nobody changes it
    journal: int | None = None

    def new_id(self, ahead: int = 0) -> str:
        """Give the id of the next data file, or of one `ahead` of it."""
        return f"{self.next_id + ahead:08d}-{self.token}"

    def after(
        self,
        time: int,
        put: Mapping[str, Entry],
        changes: Mapping[str, Record],
        drop: Iterable[str],
        journal: int | None,
    ) -> CatalogUpdate:
        """Return the catalog after a commit of this process.

        What is read from a log has to be checked: see `records.CommitReader`.
        """
        arrays, next_id = self.arrays, self.next_id
        fresh = {name: arrays[name].changed(fields, time) for name, fields in changes.items()}
        for name, entry in put.items():
            fresh[name] = entry._replace(modified=time)
            next_id = max(next_id, int(entry.id.partition("-")[0]) + 1)
        catalog = Catalog(self.token, self.commit + 1, next_id, arrays, journal)
        return CatalogUpdate(catalog, list(drop), fresh)

    def snapshot(self) -> Record:
        """Give the line of a log that says it all."""
        line: Record = {"store": self.token, "commit": self.commit, "next_id": self.next_id}
        if self.journal is not None:
            line["journal"] = self.journal
        line["arrays"] = {
            name: {**entry.record(), "modified_us": entry.modified}
            for name, entry in list(self.arrays.items())
        }
        return line


class CatalogUpdate(NamedTuple):
    """A catalog after some commits, whose dictionary of arrays has yet to follow them.

    Copying the dictionary for each commit would cost in proportion to the number of arrays.
    So `kernels.entries.apply_update` changes it in place once the commits are validated.

    Attributes
    ----------
    catalog : Catalog
    gone : list of str
        Names to remove from its arrays.
    fresh : dict of str to Entry
        Arrays that are new or changed.
    """

    catalog: Catalog
    gone: list[str]
    fresh: dict[str, Entry]


def encode(line: Mapping[str, Any]) -> bytes:
    """Write a line of the log, with its checksum."""
    try:
        text = _format(line)[:-1]
    except RecursionError:  # of what a log tells of an array that cannot be used
        raise CorruptStoreError("the log is damaged: it is nested too deeply") from None
    return checked(text.encode("utf-8", "surrogatepass"))  # a name may be any str


def checked(body: bytes) -> bytes:
    """Close a line of the log with its checksum."""
    return body + _CHECK + b'%08x"}\n' % zlib.crc32(body)


def decode(line: bytes) -> Record:
    """Read a line of the log.

    Raises
    ------
    ValueError
        The line is damaged.
    """
    return decode_all((line,))[0]


def decode_all(lines: Sequence[bytes]) -> list[Record]:
    """Read lines of the log, at once: that takes a fraction of the time.

    What they claim is not checked, but for their checksums: `records` does that.
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
        raise InvalidRecordError("it is no single object")
    records: list[Record] = decoded
    return records


def has_duplicates(line: bytes) -> bool:
    """Return whether a member occurs twice in an object of a line that was read."""
    found = False

    def check(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len(dict(pairs)) != len(pairs)

    json.loads(line.decode("utf-8", "surrogatepass"), object_pairs_hook=check)
    return found


def _refuse(constant: str) -> Any:
    raise InvalidRecordError(f"{constant} is no number of JSON")


# json.loads spends more on preparing than on parsing
_parse = json.JSONDecoder(parse_constant=_refuse).raw_decode
