"""The lock file of a store, locked by `flock`.

Acquiring and releasing locks is native, because a signal handler may raise an exception between
any two steps of Python code: after an interrupt (Ctrl-C), a lock could remain held forever.
"""

import os
import time

from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint64_t
from posix.fcntl cimport O_CLOEXEC, O_CREAT, O_NONBLOCK, O_RDONLY, O_RDWR
from posix.stat cimport S_ISREG, fstat, struct_stat
from posix.unistd cimport close

from ...errors import LockError, LockTimeoutError, StoreError
from .errors import removed_error
from .forks import register, registered
from .lock_errors import lock_timeout_error, no_locks_error, reentrant_error

cdef extern from "<fcntl.h>" nogil:
    int O_NOFOLLOW
    int openat(int folder, const char *name, int flags, ...)

cdef extern from "<sys/file.h>" nogil:
    int LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN
    int flock(int descriptor, int operation)

cdef extern from *:
    """
    #include <fcntl.h>
    #include <stdint.h>
    #include <sys/stat.h>
    #include <time.h>
    #ifdef __APPLE__
    #define st_ctim st_ctimespec
    #endif
    /* The ctime of a folder in ns since 1970; -1 if it is not available. */
    static inline int64_t
    numpack_changed_at(int folder)
    {
        struct stat status;
        if (fstat(folder, &status) < 0) {
            return -1;
        }
        return (int64_t)status.st_ctim.tv_sec * 1000000000 + status.st_ctim.tv_nsec;
    }
    static inline int64_t
    numpack_now(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    static inline int
    numpack_is_named(int folder, const char *name, uint64_t device, uint64_t inode)
    {
        struct stat found;
        return fstatat(folder, name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
               (uint64_t)found.st_dev == device && (uint64_t)found.st_ino == inode;
    }
    """
    int64_t numpack_changed_at(int folder) nogil
    int64_t numpack_now() nogil
    bint numpack_is_named(int folder, const char *name, uint64_t device, uint64_t inode) nogil

LOCK = "lock"

cdef int64_t RESOLUTION = 50_000_000  # ns; ctimes less than this apart may be equal
cdef double MAX_PAUSE = 0.02  # seconds between two attempts to acquire a lock


cdef class FileLock:
    """The lock file of a folder, open or closed, locked by this object or not.

    A forked child closes its copies of the descriptor, which would otherwise hold the lock
    until the child exits.
    """

    def __cinit__(self, folder):
        self.descriptor = -1
        self.folder = folder

    def __dealloc__(self):
        self.close_file()

    def after_fork(self):
        """Close the child's copy of the descriptor."""
        self.waiting = False
        self.close_file()

    def is_waiting(self):
        """Return whether a thread is waiting for the lock."""
        return self.waiting

    cdef int open(self, int flags) except -1:
        """Open the lock file.

        The GIL is held, so that no fork in between leaves the child a descriptor that
        `after_fork` does not know.
        """
        cdef struct_stat status
        cdef int descriptor = -1
        register(self)
        flags |= O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
        while descriptor < 0:
            descriptor = openat(self.folder.descriptor, b"lock", flags, 0o666)
            if descriptor < 0:
                if errno != EINTR:
                    raise OSError(errno, os.strerror(errno), LOCK)
                PyErr_CheckSignals()
        if fstat(descriptor, &status) < 0 or not S_ISREG(status.st_mode):
            close(descriptor)
            raise StoreError(f"{self.folder.path}/{LOCK} is not a regular file; remove it")
        self.device, self.inode = status.st_dev, status.st_ino
        self.descriptor = descriptor
        return 0

    cdef int wait(self, int operation) except -1:
        """Acquire the lock; release the GIL only if it is contended."""
        if flock(self.descriptor, operation | LOCK_NB) < 0:
            self.waiting = True
            try:
                self.wait_contended(operation, errno)
            finally:
                self.waiting = False
        self.owner = PyThread_get_thread_ident()
        return 0

    cdef int wait_contended(self, int operation, int error) except -1:
        if error != EAGAIN and error != EINTR:
            raise no_locks_error(self.folder.path, error)
        if self.is_held_by_caller():
            raise reentrant_error(self.folder.path)
        if self.folder.lock_timeout is not None:
            return self.wait_within(operation, self.folder.lock_timeout)
        cdef int descriptor = self.descriptor, result = -1
        while result < 0:
            PyErr_CheckSignals()
            with nogil:
                result = flock(descriptor, operation)
            if result < 0 and errno != EINTR:
                raise no_locks_error(self.folder.path, errno)
        return 0

    cdef int wait_within(self, int operation, double seconds) except -1:
        cdef double until = time.monotonic() + seconds, pause = 0.0005, left
        while flock(self.descriptor, operation | LOCK_NB) < 0:
            if errno != EAGAIN and errno != EINTR:
                raise no_locks_error(self.folder.path, errno)
            left = until - time.monotonic()
            if left <= 0:
                raise lock_timeout_error(self.folder.path, seconds, self.device, self.inode)
            time.sleep(min(pause, left))
            pause = min(2 * pause, MAX_PAUSE)
        return 0

    cdef bint is_held_by_caller(self) except -1:
        """Return whether the calling thread holds this lock through another object."""
        cdef unsigned long caller = PyThread_get_thread_ident()
        for each in registered():
            if isinstance(each, FileLock):
                other = <FileLock>each
                if (
                    other.depth
                    and other.owner == caller
                    and other.device == self.device
                    and other.inode == self.inode
                ):
                    return True
        return False

    cdef void close_file(self) noexcept:
        """Close the lock file, which releases the lock."""
        cdef int descriptor = self.descriptor
        self.depth, self.descriptor = 0, -1
        if descriptor >= 0:
            close(descriptor)


cdef class WriteLock(FileLock):
    """The exclusive lock of a store; the operating system releases it if the holder dies.

    Each object has its own descriptor, so the handles of one process exclude each other too.
    The lock is reentrant. It does not exclude the threads of one handle: see `MutexGuard`.

    Parameters
    ----------
    folder : Folder
        Its `lock_timeout` limits the wait in seconds; None waits forever.

    Attributes
    ----------
    names_changed : bool
        Whether files in the folder may have been created, renamed or removed since the lock
        was held the last time.
    """

    def __enter__(self):
        """Acquire the lock; raise `StoreError` if the store cannot be written."""
        self.acquire()

    def __exit__(self, *exc_info):
        """Release the lock."""
        self.release()

    def close(self):
        """Close the lock file; it is reopened when needed."""
        self.close_file()

    def after_fork(self):
        """Close the child's copy of the descriptor."""
        self.in_transaction = self.waiting = False
        self.close_file()

    cdef int acquire(self) except -1:
        while not self.depth:
            if self.descriptor < 0:
                self.open_for_writing()
            self.wait(LOCK_EX)
            if self.has_name():
                break
            self.close_file()  # the file was removed or replaced: lock the new one
        self.depth += 1
        return 0

    cdef bint try_acquire(self, bint opens) except -1:
        """Acquire the lock if it is free; open the lock file only if `opens`."""
        if self.depth:
            return False
        if self.descriptor < 0:
            if not opens:
                return False
            self.open_for_writing()
        if flock(self.descriptor, LOCK_EX | LOCK_NB) < 0:
            return False
        if not self.has_name():
            self.close_file()
            return False
        self.depth, self.owner = 1, PyThread_get_thread_ident()
        return True

    cdef int open_for_writing(self) except -1:
        self.changed_at = 0
        try:
            return self.open(O_RDWR | O_CREAT)
        except StoreError:
            raise
        except OSError as error:
            if self.folder.is_removed():
                raise removed_error(self.folder.path) from None
            msg = f"the store {self.folder.path} cannot be written: {error}"
            raise StoreError(msg) from error

    cdef bint has_name(self) except -1:
        """Return whether the name of the lock file still refers to the locked file.

        The names in a folder are the same while its ctime is. A very recent ctime is
        not relied on, because a later change may have the same one.
        """
        cdef int folder = self.folder.descriptor
        cdef int64_t changed_at = numpack_changed_at(folder)
        self.names_changed = changed_at != self.changed_at or changed_at < 0
        if self.names_changed:
            if not numpack_is_named(folder, b"lock", self.device, self.inode):
                return False
            self.changed_at = changed_at if changed_at < numpack_now() - RESOLUTION else 0
        return True

    cdef void release(self) noexcept:
        if self.depth:  # 0 in a child forked while the lock was held
            self.depth -= 1
            if not self.depth and flock(self.descriptor, LOCK_UN) < 0:
                self.close_file()  # another handle of this process may wait for the lock


cdef class SharedLock(FileLock):
    """The shared lock of a store, for readers that must exclude writers.

    It requires no write permission. If there is no lock file or no support for locks, nothing
    is locked, because there can be no writer either; the same applies if the calling thread
    holds the exclusive lock.

    Parameters
    ----------
    folder : Folder
    """

    def __enter__(self):
        """Wait until no process is writing."""
        try:
            self.open(O_RDONLY)
        except OSError:
            return
        if self.is_held_by_caller():
            self.close_file()
            return
        try:
            self.wait(LOCK_SH)
        except LockTimeoutError:
            raise
        except LockError:
            return
        self.depth = 1

    def __exit__(self, *exc_info):
        """Release the lock."""
        self.close_file()

    def would_wait(self):
        """Return whether another thread or process holds the exclusive lock."""
        try:
            self.open(O_RDONLY)
        except OSError:
            return False
        try:
            if flock(self.descriptor, LOCK_SH | LOCK_NB) == 0:
                return False
            return errno == EAGAIN and not self.is_held_by_caller()
        finally:
            self.close_file()
