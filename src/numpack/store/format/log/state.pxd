# The classes of `state` for other native modules; state.pyx documents them.

from libc.stdint cimport int64_t


cdef class Entry:
    cdef readonly str id
    cdef readonly object code
    cdef readonly tuple stored
    cdef readonly object modified
    cdef readonly object tail
    cdef readonly object dropped
    cdef readonly object dropped_crc
    cdef readonly object revision
    cdef readonly object writable
    cdef readonly str numpack0_file
    cdef readonly bytes attrs
    cdef readonly object extents

    cdef Entry copy(self)


cdef class Catalog:
    cdef readonly str token
    cdef readonly int64_t commit
    cdef readonly int64_t next_id
    cdef readonly dict arrays
    cdef readonly object journal
    cdef readonly bytes attrs


cdef class CatalogUpdate:
    cdef readonly Catalog catalog
    cdef readonly list removed
    cdef readonly dict changed


cdef class LogCursor:
    cdef readonly int descriptor
    cdef readonly int64_t end
    cdef readonly bint torn
    cdef readonly int64_t snapshot
    cdef readonly int64_t snapshot_length
    cdef readonly Catalog catalog


cdef Entry new_entry(str id, object code, tuple stored, object modified, object tail)
cdef LogCursor cursor_after(LogCursor before, int64_t length, Catalog catalog)
