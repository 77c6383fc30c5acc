# cython: language_level=3
"""Ordinary arrays in lines of the log: their entries, read from JSON natively and validated.

The checks are those of `records.entry`. What fails one, or is rare, is declined.
"""

cimport cython
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.limits cimport LLONG_MAX
from libc.stdint cimport int64_t

from numpack.store.kernels.checksums cimport BLOCK_BYTES

from ..state cimport Entry, new_entry

from ...dtype_codes import MAX_NDIM, SIZES

cdef enum:
    ID = 17  # characters of an id of eight digits
    DIGITS = 8

cdef enum:
    ROWS, TAIL, DROPPED, DROPPED_CRC, REVISION, MEMBERS  # of a change

cdef Py_ssize_t NDIM_MAX = MAX_NDIM
cdef dict KNOWN_SIZES = SIZES
cdef const char *MEMBER_NAMES[MEMBERS]
MEMBER_NAMES[:] = [b'"rows":', b'"tail":', b'"dropped":', b'"dropped_crc32":', b'"revision":']


cdef Entry array(numpack_text *text, str token, int64_t next_id, int64_t last):
    """Return the entry of an array, read up to the brace after it; None to decline."""
    cdef Entry made
    cdef int64_t tail, time, dropped = 0, dropped_crc = 0, revision = 0
    if not numpack_skip(text, b'"id":'):
        return None
    identifier = string(text)
    if identifier is None or not is_id(identifier, token, next_id):
        return None
    if not numpack_skip(text, b',"dtype":'):
        return None
    code = string(text)
    if code is None or not numpack_skip(text, b',"shape":['):
        return None
    shape = extents(text)
    if shape is None or not numpack_skip(text, b',"tail":') or not numpack_number(text, &tail):
        return None
    if numpack_skip(text, b',"dropped":'):
        if not numpack_number(text, &dropped) or not numpack_skip(text, b',"dropped_crc32":'):
            return None
        if not numpack_number(text, &dropped_crc):
            return None
    if numpack_skip(text, b',"revision":') and not numpack_number(text, &revision):
        return None
    if not numpack_skip(text, b',"modified_us":') or not numpack_number(text, &time):
        return None
    if not numpack_skip(text, b"}"):
        return None
    made = new_entry(identifier, code, shape, time, tail)
    made.dropped, made.dropped_crc, made.revision = dropped, dropped_crc, revision
    return made if are_numbers_right(made, last) else None


cdef Entry change(numpack_text *text, Entry before, int64_t this, int64_t time):
    """Return the entry with the changes that follow, up to the brace; None to decline."""
    cdef Entry made
    cdef int64_t values[MEMBERS]
    cdef bint given[MEMBERS]
    if type(before.code) is not str or before.extents is not None:
        return None
    if not read_members(text, values, given):
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


cdef bint read_members(numpack_text *text, int64_t *values, bint *given) noexcept:
    """Read the members of a change and the brace after them; return whether it could."""
    cdef int member
    for member in range(MEMBERS):
        given[member] = False
    while True:
        for member in range(MEMBERS):
            if numpack_skip(text, MEMBER_NAMES[member]):
                break
        else:
            return False
        if given[member] or not numpack_number(text, &values[member]):
            return False
        given[member] = True
        if numpack_skip(text, b"}"):
            return True
        if not numpack_skip(text, b","):
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


cdef str string(numpack_text *text):
    """Return a string without escapes; None to decline."""
    cdef const char *first
    cdef size_t length
    if not numpack_string(text, &first, &length):
        return None
    try:
        return PyUnicode_DecodeUTF8(first, length, NULL)
    except UnicodeDecodeError:  # a name may contain surrogates
        return None


cdef tuple extents(numpack_text *text):
    """Return a list of numbers as a tuple, read up to the bracket after it; None to decline."""
    cdef list found = []
    cdef int64_t extent
    if numpack_skip(text, b"]"):
        return ()
    while len(found) < NDIM_MAX:
        if not numpack_number(text, &extent):
            return None
        found.append(extent)
        if numpack_skip(text, b"]"):
            return tuple(found)
        if not numpack_skip(text, b","):
            return None
    return None


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
