# cython: language_level=3
"""Ordinary lines of the log, read natively: snapshots and changes as this version writes them.

Opening a store reads and validates a snapshot and the commits after it, so this is the larger
part of what opening costs. The functions of this module only ever accept: they make the checks
of `records`, and decline a line by returning None if it fails one, or if it is written in
another way, has escapes in its strings or describes anything rare. Then the general reader
reads the line again, accepts it or says what is wrong.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcmp
from posix.unistd cimport close, pread

from numpack.store.fs.syscalls cimport open_regular

from ..line_writer cimport CHECK_LENGTH, ends_with_checksum
from ..state cimport Catalog, CatalogUpdate, Entry, LogCursor
from .arrays cimport (
    TOKEN,
    array,
    change,
    numpack_is_hexadecimal,
    numpack_number,
    numpack_skip,
    numpack_text,
    string,
)

from ..state import apply_update

cdef enum:
    WINDOW = 8 * 1024  # bytes at the end of the log that are read when it is opened
    HEADER_LINE = 64


def open_ordinary(int folder, bytes name not None, int flags) -> LogCursor | None:
    """Open the log and read it from its last snapshot; None if anything needs the general way.

    The general way opens it again, so it is also taken if the log cannot be opened.

    Parameters
    ----------
    folder : int
        Descriptor of the store's folder.
    name : bytes
    flags : int
    """
    cdef char[WINDOW] window
    cdef char[HEADER_LINE] head
    cdef const char *header = window
    cdef int64_t size = 0, start
    cdef ssize_t count
    cdef int descriptor = open_regular(folder, PyBytes_AS_STRING(name), flags, &size)
    cdef LogCursor cursor = None
    if descriptor < 0:
        return None
    try:
        start = max(0, size - WINDOW)
        if start:  # the header line is read first, because commits may be made meanwhile
            header = head
            if pread(descriptor, head, HEADER_LINE, 0) < HEADER_LINE:
                return None
        count = pread(descriptor, window, WINDOW, start)
        cursor = cursor_of(descriptor, header, window, count, start)
        return cursor
    finally:
        if cursor is None:
            close(descriptor)


cdef LogCursor cursor_of(
    int descriptor, const char *header, const char *window, ssize_t count, int64_t start
):
    """Return the log, given its header line and its last bytes; None to decline."""
    cdef ssize_t at = count - 1, whole
    cdef const char *line_end
    cdef int64_t commits, end
    cdef Catalog catalog
    while at >= 0 and window[at] != c"\n":
        at -= 1
    whole = at + 1
    while at > 0 and not is_snapshot(window + at, whole - at):
        at -= 1
    at += 1  # what precedes is the line end of the previous line
    if at <= 1 or (not start and count < HEADER_LINE):
        return None
    line_end = <const char *>memchr(window + at, c"\n", whole - at)
    commits = header_line(header, HEADER_LINE)
    catalog = snapshot(window + at, line_end + 1 - (window + at))
    if catalog is None or commits < 0:
        return None
    last, length = line_end + 1 - window, line_end + 1 - (window + at)
    found = commits_between(catalog, window, last, whole)
    if found is None or (<CatalogUpdate>found[0]).catalog.commit < commits:
        return None
    if found[1] >= 0:
        last, length = found[1], found[2]
    apply_update(found[0])
    end = start + whole
    return LogCursor(
        descriptor, end, whole < count, start + last, length, (<CatalogUpdate>found[0]).catalog
    )


cdef bint is_snapshot(const char *text, ssize_t length) noexcept:
    """Return whether a line that is a snapshot begins after a line end."""
    return length > 10 and memcmp(text, b'\n{"store":', 10) == 0


def read_header_line(bytes line not None) -> int:
    """Return the number of commits in the header line; -1 if the line is declined."""
    return header_line(PyBytes_AS_STRING(line), len(line))


cdef int64_t header_line(const char *line, Py_ssize_t length) noexcept:
    cdef numpack_text text
    cdef int64_t commits
    if not begin(&text, line, length):
        return -1
    if not numpack_skip(&text, b'{"numpack":1,"commits":'):
        return -1
    if not numpack_number(&text, &commits):
        return -1
    while numpack_skip(&text, b" "):
        pass
    return commits if text.at == text.end else -1


def read_snapshot(bytes data not None, Py_ssize_t start, Py_ssize_t stop) -> Catalog | None:
    """Return the catalog that a snapshot describes; None if the line is declined.

    Parameters
    ----------
    data : bytes
    start, stop : int
        Where the line is in them.
    """
    if not 0 <= start <= stop <= len(data):
        return None
    return snapshot(PyBytes_AS_STRING(data) + start, stop - start)


def read_commits(
    Catalog catalog not None, bytes data not None, Py_ssize_t start, Py_ssize_t stop
) -> tuple | None:
    """Return the changes of the lines that follow a commit; None if one of them is declined.

    Parameters
    ----------
    catalog : Catalog
        As of the commit before them; it is not modified.
    data : bytes
    start, stop : int
        Where the lines are in them; the last one is complete.

    Returns
    -------
    CatalogUpdate
    int
        Position after the last snapshot among them; -1 if there is none.
    int
        Length of that snapshot in bytes.
    """
    if not 0 <= start <= stop <= len(data):
        return None
    return commits_between(catalog, PyBytes_AS_STRING(data), start, stop)


cdef tuple commits_between(
    Catalog catalog, const char *data, Py_ssize_t start, Py_ssize_t stop
):
    cdef dict changed = {}
    cdef Catalog now = catalog, found
    cdef Py_ssize_t snapshot_end = -1, snapshot_length = 0, length
    cdef const char *line_end
    while start < stop:
        line_end = <const char *>memchr(data + start, c"\n", stop - start)
        if line_end == NULL:
            return None
        length = line_end + 1 - (data + start)
        found = commit(data + start, length, now, changed)
        if found is None:
            found = snapshot(data + start, length)
            if found is None or found.commit != now.commit or found.token != now.token:
                return None
            snapshot_end, snapshot_length = start + length, length
        else:
            now = found
        start += length
    return CatalogUpdate(now, [], changed), snapshot_end, snapshot_length


cdef Catalog snapshot(const char *line, Py_ssize_t length):
    """Return the catalog that a snapshot describes; None if the line is declined."""
    cdef numpack_text text
    cdef int64_t last, next_id, journal
    cdef dict entries = {}
    if not begin(&text, line, length) or not numpack_skip(&text, b'{"store":"'):
        return None
    token = token_of(&text)
    if token is None or not numpack_skip(&text, b',"commit":'):
        return None
    if not numpack_number(&text, &last):
        return None
    if not numpack_skip(&text, b',"next_id":') or not numpack_number(&text, &next_id):
        return None
    if not checksum_of_journal(&text, &journal) or not numpack_skip(&text, b',"arrays":{'):
        return None
    if not numpack_skip(&text, b"}"):
        if not read_arrays(&text, token, next_id, last, entries):
            return None
    if text.at != text.end:
        return None
    return Catalog(token, last, next_id, entries, None if journal < 0 else journal)


cdef bint checksum_of_journal(numpack_text *text, int64_t *journal) noexcept:
    """Read the checksum of the journal, -1 if there is none; return whether it is right."""
    journal[0] = -1
    if not numpack_skip(text, b',"journal":'):
        return True
    return numpack_number(text, journal) and journal[0] <= <int64_t>0xFFFFFFFF


cdef bint read_arrays(
    numpack_text *text, str token, int64_t next_id, int64_t last, dict entries
) except -1:
    """Read the arrays of a snapshot, up to the brace after them; return whether it could."""
    cdef set ids = set()
    cdef Entry made
    while True:
        name = string(text)
        if name is None or not name or name in entries or not numpack_skip(text, b":{"):
            return False
        made = array(text, token, next_id, last)
        if made is None or made.id in ids:
            return False
        ids.add(made.id)
        entries[name] = made
        if numpack_skip(text, b"}"):
            return True
        if not numpack_skip(text, b","):
            return False


cdef Catalog commit(const char *line, Py_ssize_t length, Catalog before, dict changed):
    """Return the catalog after a commit that changes arrays; None if the line is declined.

    The changed entries are added to `changed`, unless the line is declined.
    """
    cdef numpack_text text
    cdef int64_t this, time, journal
    cdef dict made = {}
    cdef Entry known
    if not begin(&text, line, length) or not numpack_skip(&text, b'{"commit":'):
        return None
    if not numpack_number(&text, &this) or this != before.commit + 1:
        return None
    if not numpack_skip(&text, b',"time_us":') or not numpack_number(&text, &time):
        return None
    if not numpack_skip(&text, b',"set":{'):
        return None
    while True:
        name = string(&text)
        if name is None or name in made or not numpack_skip(&text, b":{"):
            return None
        known = changed.get(name) or before.arrays.get(name)
        if known is None:
            return None
        known = change(&text, known, this, time)
        if known is None:
            return None
        made[name] = known
        if numpack_skip(&text, b"}"):
            break
        if not numpack_skip(&text, b","):
            return None
    if not checksum_of_journal(&text, &journal) or text.at != text.end:
        return None
    changed.update(made)
    found = None if journal < 0 else journal
    return Catalog(
        before.token, this, before.next_id, before.arrays, found, before.attrs
    )


cdef str token_of(numpack_text *text):
    """Return the token of a store and read the quotation mark after it; None to decline."""
    cdef const char *first = text.at
    if text.end - first < TOKEN or not numpack_is_hexadecimal(first, TOKEN):
        return None
    text.at += TOKEN
    return PyUnicode_DecodeUTF8(first, TOKEN, NULL) if numpack_skip(text, b'"') else None


cdef bint begin(numpack_text *text, const char *line, Py_ssize_t length) noexcept:
    """Begin to read a line whose checksum is right; return whether it is."""
    text.at, text.end = line, line + length - CHECK_LENGTH
    return length > CHECK_LENGTH and ends_with_checksum(line, length)
