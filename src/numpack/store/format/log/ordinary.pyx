# cython: language_level=3
"""Ordinary lines of the log, read natively: snapshots and changes as this version writes them.

Opening a store reads and validates a snapshot and the commits after it, so this is the larger
part of what opening costs. The functions of this module only ever accept: they make the checks
of `records`, and decline a line by returning None if it fails one, or if it is written in
another way, has escapes in its strings or describes anything rare. Then the general reader
reads the line again, accepts it or says what is wrong.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.limits cimport LLONG_MAX
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memchr, memcmp

from numpack.store.kernels.checksums cimport BLOCK_BYTES

from .line_writer cimport CHECK_LENGTH, ends_with_checksum
from .state cimport Catalog, CatalogUpdate, Entry, new_entry

from ..dtype_codes import MAX_NDIM, SIZES

cdef enum:
    ID = 17  # characters of an id of eight digits
    DIGITS = 8
    TOKEN = 8  # characters of the store's token
    MAX_DIGITS = 18  # of a number; fewer than a 64-bit integer may have

cdef enum:
    ROWS, TAIL, DROPPED, DROPPED_CRC, REVISION, MEMBERS  # of a change

cdef Py_ssize_t NDIM_MAX = MAX_NDIM
cdef dict KNOWN_SIZES = SIZES
cdef const char *MEMBER_NAMES[MEMBERS]
MEMBER_NAMES[:] = [b'"rows":', b'"tail":', b'"dropped":', b'"dropped_crc32":', b'"revision":']


cdef struct Text:  # what follows in a line, up to its checksum
    const char *at
    const char *end


def read_header_line(bytes line not None) -> int:
    """Return the number of commits in the header line; -1 if the line is declined."""
    cdef Text text
    cdef int64_t commits
    if not begin(&text, PyBytes_AS_STRING(line), len(line)):
        return -1
    if not skip(&text, b'{"numpack":1,"commits":') or not number(&text, &commits):
        return -1
    while skip(&text, b" "):
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
    cdef dict changed = {}
    cdef Catalog now = catalog, found
    cdef Py_ssize_t snapshot_end = -1, snapshot_length = 0
    cdef const char *base = PyBytes_AS_STRING(data)
    cdef const char *line_end
    if not 0 <= start <= stop <= len(data):
        return None
    while start < stop:
        line_end = <const char *>memchr(base + start, c"\n", stop - start)
        if line_end == NULL:
            return None
        length = line_end + 1 - (base + start)
        found = commit(base + start, length, now, changed)
        if found is None:
            found = snapshot(base + start, length)
            if found is None or found.commit != now.commit or found.token != now.token:
                return None
            snapshot_end, snapshot_length = start + length, length
        else:
            now = found
        start += length
    return CatalogUpdate(now, [], changed), snapshot_end, snapshot_length


cdef Catalog snapshot(const char *line, Py_ssize_t length):
    """Return the catalog that a snapshot describes; None if the line is declined."""
    cdef Text text
    cdef int64_t last, next_id, journal
    cdef dict entries = {}
    if not begin(&text, line, length) or not skip(&text, b'{"store":"'):
        return None
    token = hexadecimal(&text)
    if token is None or not skip(&text, b'","commit":') or not number(&text, &last):
        return None
    if not skip(&text, b',"next_id":') or not number(&text, &next_id):
        return None
    if not checksum_of_journal(&text, &journal) or not skip(&text, b',"arrays":{'):
        return None
    if not skip(&text, b"}"):
        if not read_arrays(&text, token, next_id, last, entries):
            return None
    if text.at != text.end:
        return None
    return Catalog(token, last, next_id, entries, None if journal < 0 else journal)


cdef bint checksum_of_journal(Text *text, int64_t *journal) noexcept:
    """Read the checksum of the journal, -1 if there is none; return whether it is right."""
    journal[0] = -1
    if not skip(text, b',"journal":'):
        return True
    return number(text, journal) and journal[0] <= 0xFFFFFFFF


cdef bint read_arrays(
    Text *text, str token, int64_t next_id, int64_t last, dict entries
) except -1:
    """Read the arrays of a snapshot, up to the brace after them; return whether it could."""
    cdef set ids = set()
    cdef Entry made
    while True:
        name = string(text)
        if name is None or not name or name in entries or not skip(text, b":{"):
            return False
        made = array(text, token, next_id, last)
        if made is None or made.id in ids:
            return False
        ids.add(made.id)
        entries[name] = made
        if skip(text, b"}"):
            return True
        if not skip(text, b","):
            return False


cdef Entry array(Text *text, str token, int64_t next_id, int64_t last):
    """Return the entry of an array, read up to the brace after it; None to decline."""
    cdef Entry made
    cdef int64_t tail, time, dropped = 0, dropped_crc = 0, revision = 0
    if not skip(text, b'"id":"') or text.end - text.at < ID:
        return None
    identifier = PyUnicode_DecodeASCII(text.at, ID, NULL) if is_ascii(text.at, ID) else ""
    text.at += ID
    if not is_id(identifier, token, next_id) or not skip(text, b'","dtype":'):
        return None
    code = string(text)
    if code is None or not skip(text, b',"shape":['):
        return None
    shape = extents(text)
    if shape is None or not skip(text, b',"tail":') or not number(text, &tail):
        return None
    if skip(text, b',"dropped":'):
        if not number(text, &dropped) or not skip(text, b',"dropped_crc32":'):
            return None
        if not number(text, &dropped_crc):
            return None
    if skip(text, b',"revision":') and not number(text, &revision):
        return None
    if not skip(text, b',"modified_us":') or not number(text, &time) or not skip(text, b"}"):
        return None
    made = new_entry(identifier, code, shape, time, tail)
    made.dropped, made.dropped_crc, made.revision = dropped, dropped_crc, revision
    return made if are_numbers_right(made, last) else None


cdef Catalog commit(const char *line, Py_ssize_t length, Catalog before, dict changed):
    """Return the catalog after a commit that changes arrays; None if the line is declined.

    The changed entries are added to `changed`, unless the line is declined.
    """
    cdef Text text
    cdef int64_t this, time, journal
    cdef dict made = {}
    cdef Entry known
    if not begin(&text, line, length) or not skip(&text, b'{"commit":'):
        return None
    if not number(&text, &this) or this != before.commit + 1:
        return None
    if not skip(&text, b',"time_us":') or not number(&text, &time):
        return None
    if not skip(&text, b',"set":{'):
        return None
    while True:
        name = string(&text)
        if name is None or name in made or not skip(&text, b":{"):
            return None
        known = changed.get(name) or before.arrays.get(name)
        if known is None:
            return None
        known = change(&text, known, this, time)
        if known is None:
            return None
        made[name] = known
        if skip(&text, b"}"):
            break
        if not skip(&text, b","):
            return None
    if not checksum_of_journal(&text, &journal) or text.at != text.end:
        return None
    changed.update(made)
    return Catalog(
        before.token, this, before.next_id, before.arrays, None if journal < 0 else journal
    )


cdef Entry change(Text *text, Entry before, int64_t this, int64_t time):
    """Return the entry with the changes that follow, up to the brace; None to decline."""
    cdef Entry made
    cdef int64_t values[MEMBERS]
    cdef bint given[MEMBERS]
    if type(before.code) is not str or not read_members(text, values, given):
        return None
    made = before.copy()
    made.modified = time
    if given[ROWS]:
        if not before.stored or values[ROWS] < before.stored[0]:
            return None
        made.stored = (values[ROWS], *before.stored[1:])
    if given[TAIL]:
        made.tail = values[TAIL]
    if given[DROPPED]:
        if values[DROPPED] < before.dropped:
            return None
        made.dropped = values[DROPPED]
    if given[DROPPED_CRC]:
        made.dropped_crc = values[DROPPED_CRC]
    if given[REVISION]:
        made.revision = values[REVISION]
    return made if are_numbers_right(made, this) else None


cdef bint read_members(Text *text, int64_t *values, bint *given) noexcept:
    """Read the members of a change and the brace after them; return whether it could."""
    cdef int member
    for member in range(MEMBERS):
        given[member] = False
    while True:
        for member in range(MEMBERS):
            if skip(text, MEMBER_NAMES[member]):
                break
        else:
            return False
        if given[member] or not number(text, &values[member]):
            return False
        given[member] = True
        if skip(text, b"}"):
            return True
        if not skip(text, b","):
            return False


cdef bint are_numbers_right(Entry made, int64_t last) except -1:
    """Check the numbers of an entry as `records` does; decline what is rare as well."""
    cdef tuple stored = made.stored
    cdef int64_t nbytes = nbytes_of(stored, KNOWN_SIZES.get(made.code))
    if nbytes <= 0 or (made.tail and not nbytes % BLOCK_BYTES):
        return False
    if not 0 <= made.tail <= 0xFFFFFFFF or not 0 <= made.dropped_crc <= 0xFFFFFFFF:
        return False
    if made.dropped and (not stored or made.dropped > stored[0]):
        return False
    return made.revision <= last


# Decoded lines -----------------------------------------------------------------------------


def read_entries(dict arrays, str token, next_id, otherwise) -> dict:
    """Return the entries of a snapshot that the JSON parser has decoded.

    Parameters
    ----------
    arrays : dict of str to object
        Decoded JSON.
    token : str
        The store's token.
    next_id : int
    otherwise : callable
        Takes the name and record of an array that needs the general checks; returns the entry.
    """
    cdef dict entries = {}
    for name, record in arrays.items():
        made = None
        if name and type(record) is dict:
            made = decoded(<dict>record, token, next_id)
        entries[name] = otherwise(name, record) if made is None else made
    return entries


cdef Entry decoded(dict record, str token, int64_t next_id):
    """Return the entry of an ordinary array; None if it needs the general checks."""
    identifier, code = record.get("id"), record.get("dtype")
    shape, tail, time = record.get("shape"), record.get("tail"), record.get("modified_us")
    if len(record) != 5 or type(code) is not str or type(shape) is not list:
        return None
    if type(identifier) is not str or not is_id(<str>identifier, token, next_id):
        return None
    if type(tail) is not int or type(time) is not int or not 0 <= tail <= 0xFFFFFFFF:
        return None
    if not 0 <= time <= LLONG_MAX or len(<list>shape) > NDIM_MAX:
        return None
    nbytes = nbytes_of(tuple(<list>shape), KNOWN_SIZES.get(code))
    if nbytes <= 0 or (tail and not nbytes % BLOCK_BYTES):
        return None
    return new_entry(identifier, code, tuple(<list>shape), time, tail)


cdef bint is_id(str identifier, str token, int64_t next_id):
    """Return whether an id consists of eight digits, a hyphen and the token."""
    cdef Py_ssize_t i
    cdef Py_UCS4 digit
    cdef int64_t number = 0
    if len(identifier) != ID or identifier[DIGITS] != u"-" or len(token) != TOKEN:
        return False
    for i in range(DIGITS):
        digit = identifier[i]
        if not u"0" <= digit <= u"9":
            return False
        number = 10 * number + (<int>digit - c"0")
    for i in range(TOKEN):
        if identifier[DIGITS + 1 + i] != token[i]:
            return False
    return number < next_id


@cython.cdivision(True)
cdef int64_t nbytes_of(tuple shape, size) except -1:
    """Return the size of an array in bytes; 0 if it needs the general checks."""
    cdef int64_t total, count
    if size is None:
        return 0
    total = size
    for extent in shape:
        if type(extent) is not int or not 0 < extent <= LLONG_MAX:
            return 0
        count = extent
        if total > LLONG_MAX // count:
            return 0
        total *= count
    return total


# JSON --------------------------------------------------------------------------------------


cdef extern from *:
    str PyUnicode_DecodeASCII(const char *, Py_ssize_t, const char *)


cdef bint begin(Text *text, const char *line, Py_ssize_t length) noexcept:
    """Begin to read a line whose checksum is right; return whether it is."""
    text.at, text.end = line, line + length - CHECK_LENGTH
    return length > CHECK_LENGTH and ends_with_checksum(line, length)


cdef inline bint skip(Text *text, const char *word) noexcept:
    """Skip the characters of a word if they are next; return whether they were."""
    cdef const char *at = text.at
    while word[0]:
        if at == text.end or at[0] != word[0]:
            return False
        at += 1
        word += 1
    text.at = at
    return True


cdef bint number(Text *text, int64_t *value) noexcept:
    """Read a number of a few digits, without sign, fraction and leading zeros."""
    cdef const char *first = text.at
    value[0] = 0
    while text.at < text.end and c"0" <= text.at[0] <= c"9":
        if text.at - first == MAX_DIGITS:
            return False
        value[0] = 10 * value[0] + (text.at[0] - c"0")
        text.at += 1
    return text.at > first and (first[0] != c"0" or text.at == first + 1)


cdef str string(Text *text):
    """Return a string without escapes; None to decline."""
    cdef const char *first
    cdef const char *at
    if not skip(text, b'"'):
        return None
    first = at = text.at
    while at < text.end and at[0] != c'"':
        if <unsigned char>at[0] < 0x20 or at[0] == c"\\":
            return None
        at += 1
    if at == text.end:
        return None
    text.at = at + 1
    if is_ascii(first, at - first):
        return PyUnicode_DecodeASCII(first, at - first, NULL)
    try:
        return PyUnicode_DecodeUTF8(first, at - first, NULL)
    except UnicodeDecodeError:  # a name may contain surrogates
        return None


cdef bint is_ascii(const char *text, Py_ssize_t length) noexcept:
    cdef Py_ssize_t i
    cdef unsigned char all = 0
    for i in range(length):
        all |= <unsigned char>text[i]
    return all < 0x80


cdef str hexadecimal(Text *text):
    """Return a token of eight lower-case hexadecimal digits; None to decline."""
    cdef int i
    cdef char digit
    if text.end - text.at < TOKEN:
        return None
    for i in range(TOKEN):
        digit = text.at[i]
        if not (c"0" <= digit <= c"9" or c"a" <= digit <= c"f"):
            return None
    text.at += TOKEN
    return PyUnicode_DecodeASCII(text.at - TOKEN, TOKEN, NULL)


cdef tuple extents(Text *text):
    """Return a list of numbers as a tuple, read up to the bracket after it; None to decline."""
    cdef list found = []
    cdef int64_t extent
    if skip(text, b"]"):
        return ()
    while len(found) < NDIM_MAX:
        if not number(text, &extent):
            return None
        found.append(extent)
        if skip(text, b"]"):
            return tuple(found)
        if not skip(text, b","):
            return None
    return None
