# The lock classes, for `transaction`; lock.pyx documents them.

from libc.stdint cimport int64_t, uint64_t


cdef class FileLock:
    cdef object __weakref__
    cdef object folder
    cdef int descriptor  # of the lock file; -1 if it is not open
    cdef int depth  # how often the lock is held
    cdef unsigned long owner  # the thread that holds it
    cdef uint64_t device, inode  # of the lock file
    cdef bint waiting

    cdef int open(self, int flags) except -1
    cdef int wait(self, int operation) except -1
    cdef int wait_contended(self, int operation, int error) except -1
    cdef int wait_within(self, int operation, double seconds) except -1
    cdef bint is_held_by_caller(self) except -1
    cdef void close_file(self) noexcept


cdef class WriteLock(FileLock):
    cdef bint in_transaction  # held by a `WriteTransaction`
    cdef int64_t changed_at  # ctime of the folder when its names were checked last; 0: unknown
    cdef readonly bint names_changed

    cdef int acquire(self) except -1
    cdef bint try_acquire(self, bint opens) except -1
    cdef int open_for_writing(self) except -1
    cdef bint has_name(self) except -1
    cdef void release(self) noexcept
