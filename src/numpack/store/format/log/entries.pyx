# cython: language_level=3
"""The dictionary of a store's arrays: built from a snapshot, and updated by commits.

Ordinary arrays of a snapshot are validated here for speed, because opening a store validates
all of them. The checks are those of `records.entry`, which handles all other arrays.
"""

cimport cython
from libc.limits cimport LLONG_MAX

from numpack.store.kernels.checksums cimport BLOCK_BYTES

from .state cimport CatalogUpdate, Entry, LogCursor, new_entry

from ..dtype_codes import MAX_NDIM, SIZES

cdef enum:
    ID = 17  # characters of an id of eight digits
    DIGITS = 8

cdef Py_ssize_t NDIM_MAX = MAX_NDIM
cdef dict KNOWN_SIZES = SIZES


def read_entries(dict arrays, str token, next_id, otherwise) -> dict:
    """Return the entries of a snapshot.

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
            made = ordinary(<dict>record, token, next_id)
        entries[name] = otherwise(name, record) if made is None else made
    return entries


cdef Entry ordinary(dict record, str token, long long next_id):
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
    nbytes = nbytes_of(<list>shape, KNOWN_SIZES.get(code))
    if nbytes <= 0 or (tail and not nbytes % BLOCK_BYTES):
        return None
    return new_entry(identifier, code, tuple(<list>shape), time, tail)


cdef bint is_id(str identifier, str token, long long next_id):
    """Return whether an id consists of eight digits, a hyphen and the token."""
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
cdef long long nbytes_of(list shape, size) except -1:
    """Return the size of an array in bytes; 0 if it needs the general checks."""
    cdef long long total, count
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
