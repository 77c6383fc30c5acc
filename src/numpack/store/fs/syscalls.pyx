# cython: language_level=3
"""Frequent sequences of system calls, each as a single call from Python."""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, ELOOP, EMFILE, ENFILE, errno
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.string cimport strchr
from posix.fcntl cimport O_CLOEXEC, O_NONBLOCK, O_RDONLY
from posix.unistd cimport close, pread

cdef extern from "<unistd.h>" nogil:
    int unlinkat(int folder, const char *name, int flags)

cdef extern from "<fcntl.h>" nogil:
    int openat(int folder, const char *name, int flags, ...)
    int O_DIRECTORY, O_NOFOLLOW, AT_FDCWD

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t *, void *, void *(*)(void *) noexcept nogil, void *)
    int pthread_detach(pthread_t)

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <string.h>
    #include <unistd.h>
    /* Locks of open file descriptions, on a byte beyond the end of any file. */
    static inline int
    numpack_lock_description(int descriptor, int only_tests, int *found)
    {
    #ifdef F_OFD_SETLK
        struct flock lock;
        int status;
        memset(&lock, 0, sizeof(lock)); /* the kernel requires l_pid to be 0 */
        lock.l_type = only_tests ? F_WRLCK : F_RDLCK;
        lock.l_whence = SEEK_SET;
        lock.l_start = (off_t)1 << 62;
        lock.l_len = 1;
        status = fcntl(descriptor, only_tests ? F_OFD_GETLK : F_OFD_SETLK, &lock);
        *found = lock.l_type != F_UNLCK;
        return status;
    #else
        errno = ENOSYS;
        return -1;
    #endif
    }
    """
    int numpack_lock_description(int descriptor, bint only_tests, bint *found) nogil

cdef extern from "status.h" nogil:
    ctypedef struct numpack_status:
        int64_t size
        uint64_t links, device, inode
        bint is_regular

    int numpack_stat(int descriptor, const char *name, numpack_status *found)


cdef int open_regular(int folder, const char *name, int flags, int64_t *size) noexcept nogil:
    """Open a regular file of a folder; return -1 and set errno to ELOOP for any other type.

    O_NONBLOCK keeps the call from blocking on a FIFO; it has no effect on a regular file. No
    link is followed, not even on the way to a file of a subfolder; where the system cannot ensure
    that, opening such a file fails.
    """
    cdef numpack_status status
    cdef int descriptor
    flags |= O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
    if strchr(name, c"/") != NULL:
        descriptor = open_beneath(folder, name, flags)
    else:
        descriptor = openat(folder, name, flags, 0o666)
    if descriptor < 0:
        return -1
    if numpack_stat(descriptor, b"", &status) == 0:
        if status.is_regular:
            size[0] = status.size
            return descriptor
        set_errno(ELOOP)
    close_keeping_errno(descriptor)
    return -1


cdef extern from *:
    """
    #include <errno.h>
    #include <unistd.h>
    static inline void numpack_set_errno(int value) { errno = value; }
    static inline void numpack_close_keeping_errno(int descriptor)
    {
        int saved = errno;
        close(descriptor);
        errno = saved;
    }
    #if defined(__linux__) && __has_include(<linux/openat2.h>)
    #include <fcntl.h>
    #include <linux/openat2.h>
    #include <sys/syscall.h>
    #endif
    static inline int numpack_open_beneath(int folder, const char *name, int flags)
    {
    #ifdef SYS_openat2
        struct open_how how = {.flags = (uint64_t)flags,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        return (int)syscall(SYS_openat2, folder, name, &how, sizeof(how));
    #else
        errno = ENOSYS;
        return -1;
    #endif
    }
    """
    int open_beneath "numpack_open_beneath"(int, const char *, int) noexcept nogil
    void set_errno "numpack_set_errno"(int value) noexcept nogil
    void close_keeping_errno "numpack_close_keeping_errno"(int descriptor) noexcept nogil


cdef extern from *:
    bytes PyUnicode_EncodeFSDefault(str)


cdef class Directory:
    """The descriptor of a folder, closed when the last reference is gone.

    Parameters
    ----------
    path : str
    parent : int, optional
        Descriptor of the parent folder; if given, links are not followed.
    """

    def __cinit__(self, str path, int parent=AT_FDCWD):
        cdef bytes encoded = PyUnicode_EncodeFSDefault(path)
        cdef int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, tries = 0
        self.descriptor = -1
        if b"\0" in encoded:
            raise ValueError("embedded null byte")
        if parent != AT_FDCWD:
            flags |= O_NOFOLLOW
        self.descriptor = openat(parent, encoded, flags)
        if self.descriptor < 0 and may_retry(&tries):
            self.descriptor = openat(parent, encoded, flags)
        if self.descriptor < 0:
            raise OSError(errno, os.strerror(errno), path)

    def __dealloc__(self):
        if self.descriptor >= 0:
            close(self.descriptor)


def open_at(int folder, str name, int flags) -> int:
    """Open a regular file of a folder; create it, if `flags` say so, with mode 0666.

    Links are not followed, and FIFOs do not block. The `errno` of the error for anything but
    a regular file is ELOOP, as for a link, unless the system reports EISDIR or ENXIO.
    """
    cdef bytes path = name.encode()
    cdef const char *where = path
    cdef int64_t size
    cdef int descriptor, tries = 0
    while True:
        with nogil:
            descriptor = open_regular(folder, where, flags, &size)
        if descriptor >= 0:
            return descriptor
        if errno == EINTR:
            PyErr_CheckSignals()
        elif not may_retry(&tries):
            raise OSError(errno, os.strerror(errno), name)


cdef object RELEASE_CACHED = None


def set_release_hook(release_cached) -> None:
    """Set the function to call when too many files are open, before opening is retried."""
    global RELEASE_CACHED
    RELEASE_CACHED = release_cached


cdef bint may_retry(int *tries) except -1:
    """Release cached descriptors if too many files are open; return whether to try again.

    There is one retry. `errno` is preserved if there is none.
    """
    cdef int error = errno
    if error not in (EMFILE, ENFILE) or tries[0] or RELEASE_CACHED is None:
        set_errno(error)
        return False
    tries[0] += 1
    RELEASE_CACHED()
    return True


@cython.final
@cython.no_gc
cdef class OpenFile:
    """An open file of a folder, closed with this object at the latest.

    A signal handler may raise an exception between any two steps of Python code; the
    descriptor does not leak even then.

    Parameters
    ----------
    folder : int
        Descriptor of the folder.
    name : str
    flags : int
    """

    def __cinit__(self, int folder, str name, int flags):
        self.descriptor = -1
        self.descriptor = open_at(folder, name, flags)

    def __dealloc__(self):
        if self.descriptor >= 0:
            close(self.descriptor)

    def __enter__(self) -> int:
        """Return the descriptor."""
        return self.descriptor

    def __exit__(self, *_) -> None:
        """Close the file."""
        self.close()

    def detach(self) -> int:
        """Return the descriptor and transfer its ownership to the caller."""
        cdef int descriptor = self.descriptor
        self.descriptor = -1
        return descriptor

    def close(self) -> None:
        """Close the file, if it is open."""
        cdef int descriptor = self.descriptor
        if descriptor >= 0:
            self.descriptor = -1
            close(descriptor)


def unlink_regular(int folder, str name) -> None:
    """Remove a regular file of a folder; do not remove anything else.

    `FileNotFoundError` is raised if nothing has that name.
    """
    cdef bytes path = name.encode()
    cdef const char *where = path
    cdef numpack_status status
    cdef int failed
    with nogil:  # freeing the blocks of a large file takes some time
        failed = numpack_stat(folder, where, &status)
        if not failed and status.is_regular:
            failed = unlinkat(folder, where, 0)
    if failed:
        raise OSError(errno, os.strerror(errno), name)


def size_of(int descriptor) -> int:
    """Return the size of an open file in bytes."""
    cdef numpack_status status
    if numpack_stat(descriptor, b"", &status) < 0:
        raise OSError(errno, os.strerror(errno))
    return status.size


def hold(int descriptor) -> bool:
    """Hold an open file: `is_held` is true until all copies of the descriptor are closed.

    The descriptor has to be open for reading.

    Returns
    -------
    bool
        False if the system or the file system has no such locks.
    """
    cdef bint found
    return numpack_lock_description(descriptor, False, &found) == 0


def is_held(int descriptor) -> bool:
    """Return whether any process holds a file, other than through this descriptor."""
    cdef bint found = False
    return numpack_lock_description(descriptor, True, &found) == 0 and found


def close_in_background(int descriptor) -> None:
    """Close the last descriptor of a large unlinked file on a separate thread.

    Freeing the pages takes a third of the time in which they were written. Only one such
    thread runs at a time, which bounds the disk space that is not yet freed to one file.
    """
    cdef pthread_t thread
    if not numpack_begin_closing():
        close(descriptor)
    elif pthread_create(&thread, NULL, close_and_end, <void *><uintptr_t>descriptor):
        close(descriptor)
        numpack_end_closing()
    else:
        pthread_detach(thread)


cdef extern from *:
    """
    static int numpack_is_closing = 0;
    #define numpack_begin_closing() \\
        (!__atomic_exchange_n(&numpack_is_closing, 1, __ATOMIC_ACQ_REL))
    #define numpack_end_closing() \\
        __atomic_store_n(&numpack_is_closing, 0, __ATOMIC_RELEASE)
    """
    bint numpack_begin_closing() noexcept nogil
    void numpack_end_closing() noexcept nogil


cdef void *close_and_end(void *descriptor) noexcept nogil:
    close(<int><uintptr_t>descriptor)
    numpack_end_closing()
    return NULL


def has_changed(int descriptor, int64_t size) -> bool:
    """Return whether an open file has another size, or a link count other than 1."""
    cdef numpack_status status
    if numpack_stat(descriptor, b"", &status) < 0:
        raise OSError(errno, os.strerror(errno))
    return status.size != size or status.links != 1


def has_name(int descriptor, int folder, bytes name) -> bool:
    """Return whether a name in a folder refers to an open file."""
    cdef numpack_status ours, named
    if numpack_stat(descriptor, b"", &ours) < 0:
        raise OSError(errno, os.strerror(errno))
    return numpack_stat(folder, name, &named) == 0 and is_same(&ours, &named)


cdef bint is_same(const numpack_status *one, const numpack_status *other) noexcept:
    return one.inode == other.inode and one.device == other.device


def is_current(int descriptor, int64_t size, int folder, bytes name) -> int:
    """Check whether a name in a folder still refers to an open file, and the file's size.

    Returns
    -------
    int
        -1 if another file or none has the name; else 1 if the size is the same, 0 if not.
    """
    cdef numpack_status ours, named
    if numpack_stat(descriptor, b"", &ours) < 0:
        raise OSError(errno, os.strerror(errno))
    if numpack_stat(folder, name, &named) < 0 or not is_same(&ours, &named):
        return -1
    return ours.size == size


def open_head_and_tail(int folder, bytes name, int flags, int64_t first, int64_t last) -> tuple:
    """Open a regular file of a folder, and read its first bytes, then its last ones.

    The two are read with one system call if the file is short. Bytes that are appended
    meanwhile may be missing from the end.

    Returns
    -------
    tuple
        Descriptor; the first bytes, up to `first`; the offset after the last bytes; the last
        bytes, up to `last`.
    """
    cdef int64_t size = 0, start
    cdef int descriptor = open_regular(folder, name, flags, &size), tries = 0
    if descriptor < 0 and may_retry(&tries):
        descriptor = open_regular(folder, name, flags, &size)
    if descriptor < 0:
        raise OSError(errno, os.strerror(errno), os.fsdecode(name))
    try:
        start = max(0, size - last)
        head = read_at(descriptor, name, 0, first) if start else None
        tail = read_at(descriptor, name, start, size - start)
    except BaseException:
        close(descriptor)
        raise
    return descriptor, tail[:first] if head is None else head, start + len(tail), tail


cdef bytes read_at(int descriptor, bytes name, int64_t offset, Py_ssize_t size):
    content = PyBytes_FromStringAndSize(NULL, size)
    cdef Py_ssize_t count = pread(descriptor, PyBytes_AS_STRING(content), size, offset)
    if count < 0:
        raise OSError(errno, os.strerror(errno), os.fsdecode(name))
    return content if count == size else content[:count]


def read_small(int folder, str name, int64_t limit) -> bytes:
    """Return up to `limit` bytes of a regular file of a folder; the GIL is held."""
    cdef bytes path = name.encode()
    cdef int64_t size = 0
    cdef int descriptor = open_regular(folder, path, O_RDONLY, &size), tries = 0
    if descriptor < 0 and may_retry(&tries):
        descriptor = open_regular(folder, path, O_RDONLY, &size)
    if descriptor < 0:
        raise OSError(errno, os.strerror(errno), name)
    content = PyBytes_FromStringAndSize(NULL, min(limit, max(size, 0)))
    cdef Py_ssize_t count = pread(descriptor, PyBytes_AS_STRING(content), len(content), 0)
    cdef int error = errno
    close(descriptor)
    if count < 0:
        raise OSError(error, os.strerror(error), name)
    return content[:count]
