"""The writers' lock, and the turns of those who write.

Taking and leaving a lock is native, because a signal handler may raise between any two steps of
Python code: what Ctrl-C interrupts would stay locked for good.
"""

import os

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport close

from ..errors import StoreError
from .files import removed
from .forks import remember

cdef extern from "<sys/file.h>" nogil:
    int LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN
    int flock(int descriptor, int operation)

LOCK = "lock"


cdef class Lock:
    """The lock of a store's folder; the operating system drops it when the holder dies.

    Each has a descriptor of its own, which makes the handles of one process queue as well;
    its holder may take it again. The threads of one handle have to queue elsewhere.
    A forked child closes its copies at once, or the lock would live as long as the child.

    Parameters
    ----------
    folder : Folder
    """

    cdef object __weakref__
    cdef object folder
    cdef int descriptor
    cdef int depth
    cdef bint is_in_turn  # it was taken by a `Turn`

    def __cinit__(self):
        self.descriptor = -1

    def __init__(self, folder):
        self.folder = folder

    def __dealloc__(self):
        self.drop()

    def __enter__(self):
        """Wait for the lock to write; raise `StoreError` where nothing can be written."""
        self.take()

    def __exit__(self, *exc_info):
        """Let the next writer in."""
        self.leave()

    def take_at_once(self):
        """Take the lock again if nobody has it; tell whether that was so."""
        if self.descriptor < 0 or self.depth or flock(self.descriptor, LOCK_EX | LOCK_NB) < 0:
            return False
        self.depth = 1
        return True

    def forget(self):
        """Close the file; it is opened again when it is needed."""
        self.drop()

    def after_fork(self):
        """Close the copy."""
        self.is_in_turn = False
        self.drop()

    cdef int take(self) except -1:
        while not self.depth:
            if self.descriptor < 0:
                remember(self)
                self.descriptor = opened(self.folder)
            wait_for(self.descriptor, LOCK_EX)
            if has_name(self.descriptor):
                break
            self.drop()  # the file was removed: another may be locked by now
        self.depth += 1
        return 0

    cdef void leave(self) noexcept:
        if self.depth:  # it is 0 in a child that was forked meanwhile
            self.depth -= 1
            if not self.depth:
                flock(self.descriptor, LOCK_UN)

    cdef void drop(self) noexcept:
        cdef int descriptor = self.descriptor
        self.depth, self.descriptor = 0, -1
        if descriptor >= 0:
            close(descriptor)


cdef class SharedLock:
    """The same lock for a reader that has to keep writers out; it needs no right to write.

    Where there is no file to lock there is no writer.

    Parameters
    ----------
    folder : Folder
    """

    cdef object folder
    cdef int descriptor

    def __cinit__(self):
        self.descriptor = -1

    def __init__(self, folder):
        self.folder = folder

    def __dealloc__(self):
        self.drop()

    def __enter__(self):
        """Wait until nobody writes."""
        try:
            self.descriptor = self.folder.open(LOCK)
        except OSError:
            return
        wait_for(self.descriptor, LOCK_SH)

    def __exit__(self, *exc_info):
        """Let writers in again."""
        self.drop()

    cdef void drop(self) noexcept:
        cdef int descriptor = self.descriptor
        self.descriptor = -1
        if descriptor >= 0:
            close(descriptor)


@cython.freelist(4)
cdef class Turn:
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
    cdef Lock lock

    def __cinit__(self, session, prepare):
        self.session, self.prepare = session, prepare
        self.mutex, self.lock = session.mutex, session.lock

    def __enter__(self):
        """Wait for the turn."""
        self.mutex.acquire()
        if self.lock.is_in_turn:  # of this very thread: a signal handler asks, say
            self.mutex.release()
            msg = f"this thread is writing to the store {self.session.folder.path} already"
            raise StoreError(msg)
        self.lock.is_in_turn = True
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
        if self.lock.is_in_turn:  # not in a child that was forked meanwhile
            self.lock.is_in_turn = False
            self.lock.leave()
            self.mutex.release()
        return 0


cdef int opened(folder) except -1:
    try:
        return folder.open(LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if folder.is_removed():
            raise removed(folder.path) from None
        msg = f"the store {folder.path} cannot be written: {error}"
        raise StoreError(msg) from error


cdef int wait_for(int descriptor, int operation) except -1:
    """Wait for the lock on a file; the GIL is only released if somebody else has it."""
    cdef int result = flock(descriptor, operation | LOCK_NB)
    while result < 0:
        if errno != EAGAIN and errno != EINTR:
            raise OSError(errno, os.strerror(errno))
        PyErr_CheckSignals()
        with nogil:
            result = flock(descriptor, operation)
    return 0


cdef bint has_name(int descriptor) except -1:
    cdef struct_stat status
    if fstat(descriptor, &status) < 0:
        raise OSError(errno, os.strerror(errno))
    return status.st_nlink != 0
