"""Exclusive access to a session: among the threads of a handle, and among processes.

Acquiring and releasing locks is native, because a signal handler may raise an exception between
any two steps of Python code: after an interrupt (Ctrl-C), a lock could remain held forever.
"""

import threading

cimport cython

from numpack.store.fs.lock cimport WriteLock

from .lock_errors import held_by_thread_error, reentrant_error


@cython.freelist(4)
cdef class MutexGuard:
    """Context manager that holds a mutex, with a timeout.

    Parameters
    ----------
    mutex : threading.RLock
    path : str
        Path of the store, for the error.
    seconds : float or None
        How long to wait; None waits forever.
    """

    cdef object mutex, path, seconds

    def __cinit__(self, mutex, path, seconds):
        self.mutex, self.path, self.seconds = mutex, path, seconds

    def __enter__(self):
        """Acquire the mutex."""
        acquire_mutex(self.mutex, self.path, self.seconds)

    def __exit__(self, *exc_info):
        """Release the mutex."""
        self.mutex.release()


cdef int acquire_mutex(mutex, path, seconds) except -1:
    if seconds is None:
        mutex.acquire()
    elif not mutex.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)):
        raise held_by_thread_error(path, seconds)
    return 0


@cython.freelist(4)
cdef class WriteTransaction:
    """Context manager for exclusive write access; returns the session.

    Parameters
    ----------
    session : Session
        Its `mutex` excludes other threads of the handle, its `lock` all other writers.
    prepare : callable
        Called with the session, to bring it up to date, once both are held.
    """

    cdef object session
    cdef object prepare
    cdef object mutex
    cdef WriteLock lock

    def __cinit__(self, session, prepare):
        self.session, self.prepare = session, prepare
        self.mutex, self.lock = session.mutex, session.lock

    def __enter__(self):
        """Acquire mutex and lock, and prepare the session."""
        if not self.mutex.acquire(False):
            folder = self.session.folder
            acquire_mutex(self.mutex, folder.path, folder.lock_timeout)
        if self.lock.in_transaction:  # of the calling thread, for example in a signal handler
            self.mutex.release()
            raise reentrant_error(self.session.folder.path)
        self.lock.in_transaction = True
        try:
            self.lock.acquire()
            self.prepare(self.session)
        except BaseException:
            self.end()
            raise
        return self.session

    def __exit__(self, *exc_info):
        """Release lock and mutex."""
        self.end()

    cdef int end(self) except -1:
        if self.lock.in_transaction:  # False in a child forked during the transaction
            self.lock.in_transaction = False
            self.lock.release()
            self.mutex.release()
        return 0


cdef class TryLock:
    """Context manager that acquires the write lock if it is free; `as` binds whether it was.

    Parameters
    ----------
    session : Session
    opens : bool
        Whether to try even if the session has not opened the lock file yet.
    """

    cdef object mutex
    cdef WriteLock lock
    cdef bint opens, has_mutex, has_lock

    def __cinit__(self, session, bint opens):
        self.mutex, self.lock, self.opens = session.mutex, session.lock, opens

    def __enter__(self):
        """Acquire the lock, or do nothing."""
        if self.mutex.acquire(False):
            self.has_mutex = True
            try:
                self.has_lock = self.lock.try_acquire(self.opens)
            except BaseException:
                self.mutex.release()
                raise
        return self.has_lock

    def __exit__(self, *exc_info):
        """Release what was acquired."""
        if self.has_lock:
            self.lock.release()
        if self.has_mutex:
            self.mutex.release()
