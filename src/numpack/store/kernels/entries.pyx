# cython: language_level=3
"""The dictionary of a store's arrays: made of a snapshot, and changed by commits.

The arrays of a snapshot that are as most are get checked here, because opening a store does it.
What is checked is what `records.entry` checks. All else is left to that.
"""

cimport cython

from ..format.dtype_codes import MAX_NDIM, SIZES

cdef extern from *:
    """
    #define numpack_new_tuple(type, arguments) \
        PyTuple_Type.tp_new((PyTypeObject *)(type), (arguments), NULL)
    """
    object numpack_new_tuple(object type, tuple arguments)

cdef enum:
    ID = 17  # characters of an id of eight digits
    DIGITS = 8
    BLOCK = 1 << 20  # bytes that have a checksum of their own

cdef Py_ssize_t MOST_AXES = MAX_NDIM
cdef long long LONGEST = 0x7FFFFFFFFFFFFFFF
cdef dict KNOWN_SIZES = SIZES


def read_entries(dict arrays, str token, next_id, type entry_class, otherwise) -> dict:
    """Return the arrays of a snapshot.

    Parameters
    ----------
    arrays : dict of str to object
        As JSON has them.
    token : str
        Of the store.
    next_id : int
    entry_class : type
        A named tuple: `catalog.Entry`.
    otherwise : callable
        Takes name and record of an array that needs a closer look; returns the entry.
    """
    cdef dict entries = {}
    for name, record in arrays.items():
        made = None
        if name and type(record) is dict:
            made = usual(<dict>record, token, next_id, entry_class)
        entries[name] = otherwise(name, record) if made is None else made
    return entries


cdef object usual(dict record, str token, long long next_id, type entry_class):
    """Return an array that is as most are; None if it needs a closer look."""
    identifier, code = record.get("id"), record.get("dtype")
    shape, tail, time = record.get("shape"), record.get("tail"), record.get("modified_us")
    if len(record) != 5 or type(code) is not str or type(shape) is not list:
        return None
    if type(identifier) is not str or not is_id(<str>identifier, token, next_id):
        return None
    if type(tail) is not int or type(time) is not int or not 0 <= tail <= 0xFFFFFFFF:
        return None
    if not 0 <= time <= LONGEST or len(<list>shape) > MOST_AXES:
        return None
    nbytes = bytes_of(<list>shape, KNOWN_SIZES.get(code))
    if nbytes <= 0 or (tail and not nbytes % BLOCK):
        return None
    fields = (identifier, code, tuple(<list>shape), time, tail, 0, 0, 0, False, "")
    return numpack_new_tuple(entry_class, (fields,))


cdef bint is_id(str identifier, str token, long long next_id):
    """Check an id of eight digits."""
    cdef Py_ssize_t i
    cdef Py_UCS4 digit
    cdef long long number = 0
    if len(identifier) != ID or identifier[DIGITS] != u"-" or len(token) != ID - DIGITS - 1:
        return False
    for i in range(DIGITS):
        digit = identifier[i]
        if not u"0" <= digit <= u"9":
            return False
        number = 10 * number + (<int>digit - c"0")
    for i in range(ID - DIGITS - 1):
        if identifier[DIGITS + 1 + i] != token[i]:
            return False
    return number < next_id


@cython.cdivision(True)
cdef long long bytes_of(list shape, size) except -1:
    """Return the bytes of an array; 0 if it needs a closer look."""
    cdef long long total, count
    if size is None:
        return 0
    total = size
    for extent in shape:
        if type(extent) is not int or not 0 < extent <= LONGEST:
            return 0
        count = extent
        if total > LONGEST // count:
            return 0
        total *= count
    return total


def apply_update(update) -> None:
    """Bring the arrays of a catalog up to date with the commits that it follows.

    No Python code runs meanwhile: no other thread sees a part of a commit, and no signal
    handler can come between two of its steps.

    Parameters
    ----------
    update : CatalogUpdate
    """
    change(<tuple>update)


def apply_and_install(log, cursor, update) -> None:
    """Do as `apply_update`, and make a cursor the one of a log, at once."""
    change(<tuple>update)
    log._cursor = cursor


cdef int change(tuple update) except -1:
    cdef dict arrays = (<tuple>update[0])[3]
    for name in <list>update[1]:
        del arrays[name]
    arrays.update(<dict>update[2])
    return 0
