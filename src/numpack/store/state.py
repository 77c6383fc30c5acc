"""What the log says: the arrays of a store as they are after some commit."""

from __future__ import annotations

import json
import math
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from .schema import DTYPES, decode_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._dtypes import DType

Record = dict[str, Any]

_format = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_parse = json.JSONDecoder().raw_decode  # json.loads spends more on preparing than on parsing
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
    def dtype(self) -> DType:
        """The dtype; needs ml_dtypes for bfloat16 and narrower floats."""
        code = self.code
        if type(code) is str and (known := DTYPES.get(code)) is not None:
            return known
        return decode_dtype(code)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array: without the rows that were dropped."""
        if not self.dropped:
            return self.stored
        return (self.stored[0] - self.dropped, *self.stored[1:])

    @property
    def data_file(self) -> str:
        """Path of the rows in the store's folder."""
        return self.old_file or f"data/{self.id}.bin"

    @property
    def sum_file(self) -> str:
        """Path of the checksums of the whole blocks; there is none without such blocks."""
        return f"data/{self.id}.sum"

    @property
    def dropped_file(self) -> str:
        """Path of the list of dropped rows; there is none before the first is dropped."""
        return f"data/{self.id}.del"

    @property
    def nbytes(self) -> int:
        """Bytes that the stored rows take in the data file."""
        return math.prod(self.stored) * self.dtype.itemsize

    @property
    def kept_nbytes(self) -> int:
        """Bytes of the rows that were not dropped."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.stored[1:]) * self.dtype.itemsize

    def record(self) -> Record:
        """Give what the log keeps; what has its usual value is left out."""
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

    @classmethod
    def of(cls, record: Record, modified: int) -> Entry:
        """Read what the log keeps."""
        return cls(
            record["id"],
            record["dtype"],
            tuple(record["shape"]),
            modified,
            record["tail"],
            record.get("dropped", 0),
            record.get("dropped_crc32", 0),
            record.get("revision", 0),
            record.get("writable", False),
        )

    def changed(self, fields: Record, modified: int) -> Entry:
        """Give the entry after a commit that sets some fields."""
        get = fields.get
        stored = (fields["rows"], *self.stored[1:]) if "rows" in fields else self.stored
        return Entry(
            self.id,
            self.code,
            stored,
            modified,
            get("tail", self.tail),
            get("dropped", self.dropped),
            get("dropped_crc32", self.dropped_crc),
            get("revision", self.revision),
            get("writable", self.writable),
        )


class State(NamedTuple):
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
    arrays: dict[str, Entry] = {}  # noqa: RUF012 -- the state of no store; nobody changes it
    journal: int | None = None

    def new_id(self, ahead: int = 0) -> str:
        """Give the id of the next data file, or of one `ahead` of it."""
        return f"{self.next_id + ahead:08d}-{self.token}"

    def snapshot(self) -> Record:
        """Give the line of a log that says it all."""
        line: Record = {"store": self.token, "commit": self.commit, "next_id": self.next_id}
        if self.journal is not None:
            line["journal"] = self.journal
        line["arrays"] = {
            name: {**entry.record(), "modified_us": entry.modified}
            for name, entry in self.arrays.items()
        }
        return line

    @classmethod
    def of_snapshot(cls, line: Record) -> State:
        """Read a snapshot line."""
        arrays = {
            name: Entry.of(record, record["modified_us"])
            for name, record in line["arrays"].items()
        }
        return cls(line["store"], line["commit"], line["next_id"], arrays, line.get("journal"))

    def after(self, lines: Sequence[Record]) -> State:
        """Return the state after some commits.

        `arrays` is changed in place, when all lines have been read: copying the names for
        each commit would cost in proportion to their number. Other threads look names up in
        it, and copy it as a whole where they iterate over it.
        """
        step = _Step(self)
        for line in lines:
            is_commit = "time_us" in line  # a snapshot says what is known already
            if line["commit"] != step.commit + is_commit:
                msg = f"commit {line['commit']} follows commit {step.commit}"
                raise ValueError(msg)
            if is_commit:
                step.read(line)
        for name in step.gone:
            del self.arrays[name]
        self.arrays.update(step.fresh)
        return State(self.token, step.commit, step.next_id, self.arrays, step.journal)


class _Step:
    """What some commits change of a state."""

    def __init__(self, state: State) -> None:
        self._arrays = state.arrays
        self.commit, self.next_id, self.journal = state.commit, state.next_id, state.journal
        self.gone: set[str] = set()  # of the names in the state
        self.fresh: dict[str, Entry] = {}  # entries that are new or changed

    def read(self, line: Record) -> None:
        """Take one more commit over."""
        time = line["time_us"]
        changes = {
            name: self._entry(name).changed(fields, time)
            for name, fields in line.get("set", {}).items()
        }
        for name, record in line.get("put", {}).items():
            changes[name] = Entry.of(record, time)
            self.next_id = max(self.next_id, int(record["id"].partition("-")[0]) + 1)
        for name in line.get("drop", ()):
            self._drop(name)
        self.fresh.update(changes)
        self.commit, self.journal = line["commit"], line.get("journal")

    def _entry(self, name: str) -> Entry:
        found = self.fresh.get(name)
        if found is None:
            if name in self.gone:
                raise KeyError(name)
            found = self._arrays[name]
        return found

    def _drop(self, name: str) -> None:
        self._entry(name)
        self.fresh.pop(name, None)
        if name in self._arrays:
            self.gone.add(name)


def encode(line: Mapping[str, Any]) -> bytes:
    """Write a line of the log, with its checksum."""
    text = _format(line)[:-1]
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
    """Read lines of the log, at once: that takes a fraction of the time."""
    for line in lines:
        end = len(line) - CHECK_LENGTH
        if line[end:] != _CHECK + b'%08x"}\n' % zlib.crc32(line[:end]):
            msg = "its checksum is wrong"
            raise ValueError(msg)
    text = b"".join((b"[", b",".join(lines), b"]")).decode("utf-8", "surrogatepass")
    decoded: list[Record] = _parse(text)[0]
    return decoded
