# cython: language_level=3
"""The state of a store in memory: its arrays as of a commit, and the log as far as it was read.

Instances are immutable but for `Catalog.arrays`, so that threads never see half of a change.
"""

import math

cimport cython
from libc.stdint cimport int64_t

from ..dtype_codes import Unusable, is_extension, itemsize, unusable_error
from ..schema import DTYPES, decode_dtype
from .attributes import text_of, values_of


@cython.final
@cython.freelist(16)
@cython.no_gc  # its fields refer to decoded JSON only, so it is never part of a cycle
@cython.auto_pickle(False)
cdef class Entry:
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
    attrs : bytes
        JSON text of its attributes, see `attributes.text_of`; empty if there are none.
    extents : tuple of (int, int) or None
        Number of extents of a published array and CRC-32 of their list, see
        `extents.ObjectMap`; None if its data file holds all of its bytes.
    """

    def __init__(
        self,
        str id,
        code,
        tuple stored,
        modified,
        tail=0,
        dropped=0,
        dropped_crc=0,
        revision=0,
        writable=False,
        str numpack0_file="",
        bytes attrs=b"",
        extents=None,
    ):
        self.id = id
        self.code = code
        self.stored = stored
        self.modified = modified
        self.tail = tail
        self.dropped = dropped
        self.dropped_crc = dropped_crc
        self.revision = revision
        self.writable = writable
        self.numpack0_file = numpack0_file
        self.attrs = attrs
        self.extents = extents

    cdef Entry copy(self):
        cdef Entry made = new_entry(self.id, self.code, self.stored, self.modified, self.tail)
        made.dropped = self.dropped
        made.dropped_crc = self.dropped_crc
        made.revision = self.revision
        made.writable = self.writable
        made.numpack0_file = self.numpack0_file
        made.attrs = self.attrs
        made.extents = self.extents
        return made

    def replace(self, **fields):
        """Return a copy with other values of some fields."""
        return Entry(**dict(zip(ENTRY_FIELDS, self.values(), strict=True)) | fields)

    def values(self):
        """Return the values of all fields, in the order of the class's parameters."""
        return (
            self.id, self.code, self.stored, self.modified, self.tail, self.dropped,
            self.dropped_crc, self.revision, self.writable, self.numpack0_file, self.attrs,
            self.extents,
        )

    def with_changes(self, dict fields, time):
        """Return the entry after a commit that sets some fields.

        Parameters
        ----------
        fields : dict
            Members of the log's ``set``: ``rows``, ``tail``, ``dropped``, ``dropped_crc32``,
            ``revision``, ``writable`` and ``attrs``; only the last is validated.
        time : int
            Of the commit, in microseconds since 1970.
        """
        cdef Entry made = self.copy()
        get = fields.get
        made.modified = time
        if "rows" in fields:
            made.stored = (fields["rows"], *self.stored[1:])
        made.tail = get("tail", self.tail)
        made.dropped = get("dropped", self.dropped)
        made.dropped_crc = get("dropped_crc32", self.dropped_crc)
        made.revision = get("revision", self.revision)
        made.writable = get("writable", self.writable)
        if "attrs" in fields:
            made.attrs = text_of(fields["attrs"])
        return made

    def to_record(self):
        """Return the JSON object that the log stores; default values are omitted."""
        if type(self.code) is Unusable:
            found = self.code.record
            return {key: found[key] for key in found if key != "modified_us"}
        record = {
            "id": self.id, "dtype": self.code, "shape": list(self.stored), "tail": self.tail
        }
        if self.dropped:
            record |= {"dropped": self.dropped, "dropped_crc32": self.dropped_crc}
        if self.revision:
            record["revision"] = self.revision
        if self.writable:
            record["writable"] = True
        if self.attrs:
            record["attrs"] = values_of(self.attrs)
        if self.extents is not None:
            record["extents"] = list(self.extents)
        return record

    @property
    def is_unusable(self):
        """Whether the log's record is invalid, so that the array can only be dropped."""
        return type(self.code) is Unusable

    @property
    def dtype(self):
        """The dtype; requires ml_dtypes for bfloat16 and narrower floats."""
        code = self.code
        if type(code) is Unusable:
            raise unusable_error(code)
        if type(code) is str and (known := DTYPES.get(code)) is not None:
            return known
        return decode_dtype(code)

    @property
    def dtype_name(self):
        """The dtype as NumPy prints it; does not require ml_dtypes."""
        return self.code if is_extension(self.code) else str(self.dtype)

    @property
    def itemsize(self):
        """Size of an element in bytes; does not require ml_dtypes."""
        return itemsize(self.code)

    @property
    def shape(self):
        """Shape of the array, without deleted rows."""
        if not self.dropped:
            if not self.stored and type(self.code) is Unusable:
                raise unusable_error(self.code)
            return self.stored
        return (self.stored[0] - self.dropped, *self.stored[1:])

    @property
    def data_file(self):
        """Path of the data file, relative to the store's folder."""
        return self.numpack0_file or f"data/{self.id}.bin"

    @property
    def checksum_file(self):
        """Path of the checksums of full blocks; absent if the file has no full block."""
        return f"data/{self.id}.sum"

    @property
    def dropped_file(self):
        """Path of the deleted-row list; absent until the first row is deleted."""
        return f"data/{self.id}.del"

    @property
    def extents_file(self):
        """Path of the list of extents; absent if the data file holds all bytes."""
        return f"data/{self.id}.ext"

    @property
    def nbytes(self):
        """Size of the rows in the data file in bytes, deleted rows included."""
        return math.prod(self.stored) * itemsize(self.code)

    @property
    def live_nbytes(self):
        """Size of the live rows in bytes."""
        return math.prod(self.shape) * itemsize(self.code)

    @property
    def row_nbytes(self):
        """Size of one row in bytes."""
        return math.prod(self.stored[1:]) * itemsize(self.code)

    def __eq__(self, other):
        return isinstance(other, Entry) and self.values() == (<Entry>other).values()

    def __repr__(self):
        fields = zip(ENTRY_FIELDS, self.values(), strict=True)
        return f"Entry({', '.join(f'{name}={value!r}' for name, value in fields)})"


ENTRY_FIELDS = (
    "id", "code", "stored", "modified", "tail", "dropped", "dropped_crc", "revision",
    "writable", "numpack0_file", "attrs", "extents",
)


cdef Entry new_entry(str id, object code, tuple stored, object modified, object tail):
    """Return an entry without deleted rows."""
    cdef Entry made = Entry.__new__(Entry)
    made.id, made.code, made.stored = id, code, stored
    made.modified, made.tail = modified, tail
    made.dropped = made.dropped_crc = made.revision = 0
    made.writable, made.numpack0_file, made.attrs = False, "", b""
    made.extents = None
    return made


@cython.final
@cython.freelist(8)
@cython.auto_pickle(False)
cdef class Catalog:
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
    attrs : bytes
        JSON text of the store's own attributes, see `attributes.text_of`.
    """

    def __init__(
        self,
        str token="",
        int64_t commit=0,
        int64_t next_id=1,
        dict arrays=None,
        journal=None,
        bytes attrs=b"",
    ):
        self.token = token
        self.commit = commit
        self.next_id = next_id
        self.arrays = {} if arrays is None else arrays
        self.journal = journal
        self.attrs = attrs

    def new_id(self, int64_t ahead=0):
        """Return the id of the next data file, or of the one `ahead` positions later."""
        return f"{self.next_id + ahead:08d}-{self.token}"

    def after_commit(self, time, put, changes, drop, journal, attrs=None):
        """Return the catalog after a commit made by this process, as a `CatalogUpdate`.

        The arguments are those of `Log.commit`, and trusted. Commits read from a log are validated by
        `records.CommitReader` instead.
        """
        cdef dict arrays = self.arrays
        next_id = self.next_id
        changed = {
            name: arrays[name].with_changes(fields, time) for name, fields in changes.items()
        }
        for name, entry in put.items():
            changed[name] = entry.replace(modified=time)
            next_id = max(next_id, int(entry.id.partition("-")[0]) + 1)
        text = self.attrs if attrs is None else text_of(attrs)
        catalog = Catalog(self.token, self.commit + 1, next_id, arrays, journal, text)
        return CatalogUpdate(catalog, list(drop), changed)

    def with_arrays(self, dict arrays not None):
        """Return a copy with other arrays, which no commit changes."""
        return Catalog(
            self.token, self.commit, self.next_id, arrays, self.journal, self.attrs
        )

    def snapshot(self):
        """Return the snapshot line of the log, which describes all arrays."""
        line = {"store": self.token, "commit": self.commit, "next_id": self.next_id}
        if self.journal is not None:
            line["journal"] = self.journal
        if self.attrs:
            line["attrs"] = values_of(self.attrs)
        line["arrays"] = {
            name: {**entry.to_record(), "modified_us": entry.modified}
            for name, entry in list(self.arrays.items())
        }
        return line

    def __repr__(self):
        return (
            f"Catalog({self.token!r}, commit={self.commit}, next_id={self.next_id}, "
            f"arrays={self.arrays!r}, journal={self.journal}, attrs={self.attrs!r})"
        )


@cython.final
@cython.auto_pickle(False)
cdef class CatalogUpdate:
    """A catalog after some commits, and the changes not yet applied to its arrays.

    Copying the dictionary of arrays at each commit would take time proportional to the number
    of arrays. So `apply_update` changes it in place once the commits are validated.

    Attributes
    ----------
    catalog : Catalog
        Up to date but for `Catalog.arrays`.
    removed : list of str
        Names to remove.
    changed : dict of str to Entry
        New or changed arrays.
    """

    def __init__(self, Catalog catalog not None, list removed not None, dict changed not None):
        self.catalog, self.removed, self.changed = catalog, removed, changed


@cython.final
@cython.freelist(8)
@cython.auto_pickle(False)
cdef class LogCursor:
    """An open log and how far it was read.

    Attributes
    ----------
    descriptor : int
    end : int
        Offset after the last complete line.
    torn : bool
        Whether an incomplete line follows.
    snapshot : int
        Offset after the last snapshot.
    snapshot_length : int
        Length of the last snapshot in bytes.
    catalog : Catalog
    """

    def __init__(
        self,
        int descriptor,
        int64_t end,
        bint torn,
        int64_t snapshot,
        int64_t snapshot_length,
        Catalog catalog not None,
    ):
        self.descriptor, self.end, self.torn = descriptor, end, torn
        self.snapshot, self.snapshot_length = snapshot, snapshot_length
        self.catalog = catalog

    def after_commit(self, int64_t length, Catalog catalog not None):
        """Return the cursor after a commit whose line has `length` bytes."""
        return cursor_after(self, length, catalog)

    def after_snapshot(self, int64_t length):
        """Return the cursor after a snapshot whose line has `length` bytes."""
        cdef LogCursor made = cursor_after(self, length, self.catalog)
        made.snapshot, made.snapshot_length = made.end, length
        return made


cdef LogCursor cursor_after(LogCursor before, int64_t length, Catalog catalog):
    """Return the cursor after a line that does not hold a snapshot."""
    cdef LogCursor made = LogCursor.__new__(LogCursor)
    made.descriptor, made.end, made.torn = before.descriptor, before.end + length, False
    made.snapshot, made.snapshot_length = before.snapshot, before.snapshot_length
    made.catalog = catalog
    return made


def apply_update(CatalogUpdate update not None) -> None:
    """Apply the changes of commits to the arrays of a catalog.

    No Python code runs meanwhile, so no other thread sees part of a commit, and no signal
    handler interrupts it.

    Parameters
    ----------
    update : CatalogUpdate
    """
    apply(update)


def apply_and_install(log, LogCursor cursor not None, CatalogUpdate update not None) -> None:
    """Apply an update and set the cursor of a log, without interruption."""
    apply(update)
    log._cursor = cursor


cdef int apply(CatalogUpdate update) except -1:
    cdef dict arrays = update.catalog.arrays
    for name in update.removed:
        del arrays[name]
    arrays.update(update.changed)
    return 0
