"""The writers' lock, and the turns of those who write.

Taking and leaving a lock is native, because a signal handler may raise between any two steps of
Python code: what Ctrl-C interrupts would stay locked for good.
"""

import os
import threading
import time

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint64_t
from posix.fcntl cimport O_CLOEXEC, O_CREAT, O_NONBLOCK, O_RDONLY, O_RDWR
from posix.stat cimport S_ISREG, fstat, struct_stat
from posix.unistd cimport close

from ...errors import LockError, LockTimeoutError, StoreError
from .directory import removed_error
from .forks import register, registered
from .lock_errors import held_by_thread_error, no_locks_error, lock_timeout_error

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
    /* The time of a folder's last change, in ns since 1970; -1 if it cannot be told. */
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

cdef int64_t TICK = 50_000_000  # ns: times of files that are closer together may be the same
cdef double LONGEST_PAUSE = 0.02  # seconds between two tries to get a lock within a time


cdef class FileLock:
    """The lock file of a folder, open or not, and whether this object has locked it.

    A forked child closes its copies at once, or the lock would live as long as the child.
    """

    cdef object __weakref__
    cdef object folder
    cdef int descriptor
    cdef int depth  # how often it was taken
    cdef unsigned long owner  # the thread that holds it
    cdef uint64_t device, inode  # of the file
    cdef bint waits

    def __cinit__(self, folder):
        self.descriptor = -1
        self.folder = folder

    def __dealloc__(self):
        self.drop()

    def after_fork(self):
        """Close the copy."""
        self.waits = False
        self.drop()

    def is_waiting(self):
        """Tell whether a thread is waiting for the lock."""
        return self.waits

    cdef int open(self, int flags) except -1:
        """Open the file.

        The GIL is kept: a child that is forked meanwhile would have a copy that nobody closes.
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
            raise StoreError(f"{self.folder.path}/{LOCK} is no regular file; remove it")
        self.device, self.inode = status.st_dev, status.st_ino
        self.descriptor = descriptor
        return 0

    cdef int wait(self, int operation) except -1:
        """Wait for the lock; the GIL is only released if somebody else has it."""
        if flock(self.descriptor, operation | LOCK_NB) < 0:
            self.waits = True
            try:
                self.wait_on(operation, errno)
            finally:
                self.waits = False
        self.owner = PyThread_get_thread_ident()
        return 0

    cdef int wait_on(self, int operation, int error) except -1:
        if error != EAGAIN and error != EINTR:
            raise no_locks_error(self.folder.path, error)
        if self.is_held_by_caller():
            raise StoreError(another_use(self.folder.path))
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
            pause = min(2 * pause, LONGEST_PAUSE)
        return 0

    cdef bint is_held_by_caller(self) except -1:
        """Tell whether the calling thread holds this lock by another object."""
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

    cdef void drop(self) noexcept:
        cdef int descriptor = self.descriptor
        self.depth, self.descriptor = 0, -1
        if descriptor >= 0:
            close(descriptor)


cdef class WriteLock(FileLock):
    """The lock of a store's folder; the operating system drops it when the holder dies.

    Each has a descriptor of its own, which makes the handles of one process queue as well;
    its holder may take it again. The threads of one handle have to queue elsewhere.

    Parameters
    ----------
    folder : Folder
        Its `lock_timeout` is how many seconds to wait; ``None``: for ever.

    Attributes
    ----------
    names_changed : bool
        Whether files of the folder may have got or lost their names since the lock was taken
        the time before.
    """

    cdef bint in_transaction  # it was taken by a `WriteTransaction`
    cdef int64_t changed_at  # when the folder was changed last, as far as its names are known
    cdef readonly bint names_changed

    def __enter__(self):
        """Wait for the lock to write; raise `StoreError` where nothing can be written."""
        self.take()

    def __exit__(self, *exc_info):
        """Let the next writer in."""
        self.leave()

    def close(self):
        """Close the file; it is opened again when it is needed."""
        self.drop()

    def after_fork(self):
        """Close the copy."""
        self.in_transaction = self.waits = False
        self.drop()

    cdef int take(self) except -1:
        while not self.depth:
            if self.descriptor < 0:
                self.open_for_writing()
            self.wait(LOCK_EX)
            if self.has_name():
                break
            self.drop()  # the file was removed or replaced: another may be locked by now
        self.depth += 1
        return 0

    cdef bint try_take(self, bint opens) except -1:
        """Take the lock if nobody has it; open the file first if that is allowed."""
        if self.depth:
            return False
        if self.descriptor < 0:
            if not opens:
                return False
            self.open_for_writing()
        if flock(self.descriptor, LOCK_EX | LOCK_NB) < 0:
            return False
        if not self.has_name():
            self.drop()
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
        """Tell whether the locked file is the one that has the name in the folder.

        A folder that has not changed since it was looked at has the same names. The time of a
        change that is just past says nothing: there may be another at the same time.
        """
        cdef int folder = self.folder.descriptor
        cdef int64_t changed_at = numpack_changed_at(folder)
        self.names_changed = changed_at != self.changed_at or changed_at < 0
        if self.names_changed:
            if not numpack_is_named(folder, b"lock", self.device, self.inode):
                return False
            self.changed_at = changed_at if changed_at < numpack_now() - TICK else 0
        return True

    cdef void leave(self) noexcept:
        if self.depth:  # it is 0 in a child that was forked meanwhile
            self.depth -= 1
            if not self.depth:
                flock(self.descriptor, LOCK_UN)


cdef class SharedLock(FileLock):
    """The same lock for a reader that has to keep writers out; it needs no right to write.

    Where there is no file to lock, or no locks, there is no writer. A thread that holds the
    lock to write keeps them out already.

    Parameters
    ----------
    folder : Folder
    """

    def __enter__(self):
        """Wait until nobody writes."""
        try:
            self.open(O_RDONLY)
        except OSError:
            return
        if self.is_held_by_caller():
            self.drop()
            return
        try:
            self.wait(LOCK_SH)
        except LockTimeoutError:
            raise
        except LockError:
            return
        self.depth = 1

    def __exit__(self, *exc_info):
        """Let writers in again."""
        self.drop()

    def would_wait(self):
        """Tell whether somebody writes, other than the calling thread."""
        try:
            self.open(O_RDONLY)
        except OSError:
            return False
        try:
            if flock(self.descriptor, LOCK_SH | LOCK_NB) == 0:
                return False
            return errno == EAGAIN and not self.is_held_by_caller()
        finally:
            self.drop()


@cython.freelist(4)
cdef class MutexGuard:
    """A lock of this process's threads, for a ``with`` statement.

    Parameters
    ----------
    mutex : threading.RLock
    path : str
        The store's, for the error.
    seconds : float or None
        How long to wait; ``None``: for ever.
    """

    cdef object mutex, path, seconds

    def __cinit__(self, mutex, path, seconds):
        self.mutex, self.path, self.seconds = mutex, path, seconds

    def __enter__(self):
        """Wait for the lock."""
        wait_for_thread(self.mutex, self.path, self.seconds)

    def __exit__(self, *exc_info):
        """Let the next thread in."""
        self.mutex.release()


cdef int wait_for_thread(mutex, path, seconds) except -1:
    if seconds is None:
        mutex.acquire()
    elif not mutex.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)):
        raise held_by_thread_error(path, seconds)
    return 0


@cython.freelist(4)
cdef class WriteTransaction:
    """The turn of a thread to write, for a ``with`` statement, which gets the session.

    Parameters
    ----------
    session : Session
        Its `mutex` is for its threads, its `lock` for everybody.
    prepare : callable
        Takes the session, and brings it up to date.
    """

    cdef object session
    cdef object prepare
    cdef object mutex
    cdef WriteLock lock

    def __cinit__(self, session, prepare):
        self.session, self.prepare = session, prepare
        self.mutex, self.lock = session.mutex, session.lock

    def __enter__(self):
        """Wait for the turn."""
        if not self.mutex.acquire(False):
            folder = self.session.folder
            wait_for_thread(self.mutex, folder.path, folder.lock_timeout)
        if self.lock.in_transaction:  # of this very thread: a signal handler asks, say
            self.mutex.release()
            raise StoreError(another_use(self.session.folder.path))
        self.lock.in_transaction = True
        try:
            self.lock.take()
            self.prepare(self.session)
        except BaseException:
            self.end()
            raise
        return self.session

    def __exit__(self, *exc_info):
        """Let the next writer in."""
        self.end()

    cdef int end(self) except -1:
        if self.lock.in_transaction:  # not in a child that was forked meanwhile
            self.lock.in_transaction = False
            self.lock.leave()
            self.mutex.release()
        return 0


cdef class TryLock:
    """The lock to write if nobody has it, for a ``with`` statement, which gets whether it is so.

    Parameters
    ----------
    session : Session
    opens : bool
        Whether to make the attempt where the session has never written.
    """

    cdef object mutex
    cdef WriteLock lock
    cdef bint opens, locked, taken

    def __cinit__(self, session, bint opens):
        self.mutex, self.lock, self.opens = session.mutex, session.lock, opens

    def __enter__(self):
        """Take the lock, or do nothing."""
        if self.mutex.acquire(False):
            self.locked = True
            try:
                self.taken = self.lock.try_take(self.opens)
            except BaseException:
                self.mutex.release()
                raise
        return self.taken

    def __exit__(self, *exc_info):
        """Let the next writer in."""
        if self.taken:
            self.lock.leave()
        if self.locked:
            self.mutex.release()


def another_use(str path) -> str:
    """Tell why a thread cannot wait for a lock that it holds."""
    return (
        f"this thread is writing to the store {path} already, or reading from it with writers "
        "kept out: a signal handler, a callback or an array's own method cannot write to it "
        "meanwhile; do so after the call"
    )
