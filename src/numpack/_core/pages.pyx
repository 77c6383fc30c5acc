# cython: language_level=3
"""Pages of files in memory: private ones, and where shared ones may be written."""

import os
import weakref

cimport cython
cimport numpy as cnp
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EOPNOTSUPP, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcmp
from posix.fcntl cimport O_CLOEXEC, O_NONBLOCK, O_RDONLY, open as open_file
from posix.mman cimport munmap
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport close, pread

cdef extern from "pages.h" nogil:
    struct numpack_mapping:
        uint64_t start, end, flags, offset, inode
        uint32_t major, minor

    int numpack_mapping_at(
        int maps, uint64_t address, numpack_mapping *found, char *name, uint32_t room)
    int numpack_is_written_in_place(int descriptor)
    int numpack_reading_takes_room(int descriptor, const struct_stat *status, int64_t length)
    int64_t numpack_first_hole(int descriptor, int64_t offset)
    int numpack_allocate(int descriptor, int64_t offset, int64_t length)
    void *numpack_map_private(void *address, size_t length, int descriptor)
    void *numpack_map_readable(size_t length, int descriptor)
    void *numpack_map_shared(size_t length, int descriptor)
    bint numpack_is_modified(uint64_t entry)

cdef extern from "<sys/resource.h>" nogil:
    enum:
        RUSAGE_SELF

    struct rusage:
        long ru_minflt
        long ru_majflt

    int getrusage(int who, rusage *usage)

cdef extern from "numpy/arrayobject.h":
    PyTypeObject PyArray_Type
    object PyArray_NewFromDescr(
        PyTypeObject *, cnp.PyArray_Descr *, int, const cnp.npy_intp *, const cnp.npy_intp *,
        void *, int, PyObject *)
    int PyArray_SetBaseObject(cnp.ndarray, PyObject *) except -1

cnp.import_array()


# The mappings that arrays of users may lie in: address to length, path, device and inode.
cdef dict ORIGINS = {}

# The mappings that keep a descriptor, by weak references, the oldest first.
cdef list RECENT = []

cdef enum:
    DESCRIPTORS = 16  # kept at most, however many files are mapped
    COMPARED = 1 << 16  # bytes up to which to compare costs no more than to ask the kernel
    ASKED = 1 << 26  # bytes up to which to ask it costs no more than to map them again
    ENTRIES = 512  # of the page map, read at a time
    AXES = 64  # that an array has at most

cdef size_t PAGE = os.sysconf("SC_PAGE_SIZE")

cdef enum:
    PRIVATE_KIND, READABLE_KIND, SHARED_KIND, TWIN_KIND

PRIVATE, READABLE, SHARED = PRIVATE_KIND, READABLE_KIND, SHARED_KIND


@cython.final
@cython.no_gc
cdef class FileMapping:
    """The first bytes of a file in memory: a buffer.

    It stays valid when the file is unlinked and its descriptor is closed. The descriptors of
    the last few mappings are kept, to map a file once more that has been unlinked.

    Parameters
    ----------
    file : int or object with `detach`
        A descriptor, or what gives one away. It belongs to the mapping from now on, unless
        that is `SHARED`, and is closed if the file cannot be mapped.
    length : int
        Positive.
    path : str
        Where the file was found.
    kind : {PRIVATE, READABLE, SHARED}
        `PRIVATE`: a read-only buffer whose pages can be written all the same, privately.
        `READABLE`: pages that cannot be written; see `lend`. `SHARED`: a writable buffer, whose
        writes reach the file.

    Raises
    ------
    ValueError
        The file is shorter.
    OSError
        It cannot be mapped.
    """

    cdef int descriptor
    cdef int kind
    cdef size_t length
    cdef void *address
    cdef object path
    cdef object identity
    cdef FileMapping twin  # private pages of the same file, of which views are lent
    cdef size_t lent_from  # what was lent of the twin lies between these
    cdef size_t lent_to
    cdef int64_t faults  # of this process, when these bytes of the twin were clean
    cdef size_t clean_from
    cdef size_t clean_to
    cdef object __weakref__

    def __cinit__(self, file, int64_t length, str path, int kind=PRIVATE_KIND):
        cdef struct_stat status
        cdef int descriptor = file if type(file) is int else file.detach()
        self.descriptor = descriptor if kind in (PRIVATE_KIND, READABLE_KIND) else -1
        if fstat(descriptor, &status) < 0:
            raise OSError(errno, os.strerror(errno))
        if length <= 0 or status.st_size < length:
            raise ValueError(f"the file has {status.st_size} bytes, not {length}")
        self.length, self.kind, self.path = length, kind, path
        self.identity = status.st_dev, status.st_ino
        if kind == READABLE_KIND:
            self.address = numpack_map_readable(length, descriptor)
        elif kind == SHARED_KIND:
            self.address = numpack_map_shared(length, descriptor)
        else:
            self.address = numpack_map_private(NULL, length, descriptor)
        if self.address == NULL:
            raise OSError(errno, os.strerror(errno), path)
        if kind != SHARED_KIND:
            ORIGINS[<uintptr_t>self.address] = length, path, self.identity
        if self.descriptor >= 0:
            keep_descriptor(self)

    def __dealloc__(self):
        if self.address != NULL:
            ORIGINS.pop(<uintptr_t>self.address, None)
            munmap(self.address, self.length)
        if self.descriptor >= 0:
            close(self.descriptor)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        cdef bint read_only = self.kind != SHARED_KIND
        PyBuffer_FillInfo(buffer, self, self.address, self.length, read_only, flags)
        Py_DECREF(None)  # which Cython has put into `buffer.obj`, and that has overwritten

    def array(self, tuple shape, cnp.dtype dtype):
        """Return the first bytes as a read-only array, of which the base is this mapping."""
        cdef cnp.npy_intp[AXES] extents
        cdef cnp.ndarray array
        cdef size_t rest = self.length // max(1, <size_t>dtype.itemsize)
        cdef int axis, ndim = len(shape)
        if ndim > AXES:
            raise ValueError(f"no array has {ndim} dimensions")
        for axis in range(ndim):
            extents[axis] = shape[axis]
            if extents[axis] < 1 or rest < <size_t>extents[axis]:
                raise ValueError(f"{self.length} bytes do not hold the shape {shape}")
            rest //= extents[axis]
        Py_INCREF(dtype)  # which is stolen
        array = PyArray_NewFromDescr(
            &PyArray_Type, <cnp.PyArray_Descr *>dtype, ndim, extents, NULL, self.address, 0, NULL,
        )
        Py_INCREF(self)  # as well
        PyArray_SetBaseObject(array, <PyObject *>self)
        return array

    def lend(self, found):
        """Return a view like another of private pages, for anybody to use.

        Who writes to it, past NumPy, changes private pages and neither the file nor what is
        lent later: pages that somebody has written to are not lent again.

        Parameters
        ----------
        found : object
            A view of this mapping, which has to be `READABLE`; all else is returned itself.

        Returns
        -------
        ndarray or None
            Read-only, of the same values, shape and strides. ``None`` if the file cannot be
            mapped again, because it has been unlinked or no memory is to be had.
        """
        cdef size_t start, stop
        cdef cnp.ndarray view, array
        if not isinstance(found, cnp.ndarray):
            return found
        array = found
        if not self.find(array, &start, &stop):
            return array
        if self.twin is None or not self.is_lendable(start, stop):
            self.map_twin()
            if self.twin is None:
                return None
        start, stop = start // PAGE * PAGE, (stop + PAGE - 1) // PAGE * PAGE
        if self.lent_to == 0:
            self.lent_from = start
        self.lent_from, self.lent_to = min(self.lent_from, start), max(self.lent_to, stop)
        Py_INCREF(<object>cnp.PyArray_DESCR(array))
        view = PyArray_NewFromDescr(
            &PyArray_Type, cnp.PyArray_DESCR(array), cnp.PyArray_NDIM(array),
            cnp.PyArray_DIMS(array), cnp.PyArray_STRIDES(array),
            <char *>self.twin.address + (<char *>cnp.PyArray_DATA(array) - <char *>self.address),
            0, NULL,
        )
        Py_INCREF(self.twin)  # which is stolen
        PyArray_SetBaseObject(view, <PyObject *>self.twin)
        return view

    cdef bint find(self, cnp.ndarray array, size_t *start, size_t *stop) noexcept:
        """Find the bytes of the mapping that an array lies in; tell if there are any."""
        cdef int axis
        cdef char *lowest = <char *>cnp.PyArray_DATA(array)
        cdef char *beyond = lowest + cnp.PyArray_ITEMSIZE(array)
        cdef cnp.npy_intp reach
        for axis in range(cnp.PyArray_NDIM(array)):
            reach = (cnp.PyArray_DIM(array, axis) - 1) * cnp.PyArray_STRIDE(array, axis)
            if reach < 0:
                lowest += reach
            else:
                beyond += reach
        if lowest < <char *>self.address or beyond > <char *>self.address + self.length:
            return False
        start[0], stop[0] = lowest - <char *>self.address, beyond - <char *>self.address
        return cnp.PyArray_SIZE(array) * cnp.PyArray_ITEMSIZE(array) != 0

    cdef bint is_lendable(self, size_t start, size_t stop) noexcept:
        """Tell whether nobody has written to these bytes of the pages that are lent.

        Who writes to a private page for the first time causes a page fault, so that none can
        have been written if there was no fault since this was found out last.
        """
        cdef int64_t faults
        if start >= self.lent_to or stop <= self.lent_from:
            return True
        if stop - start <= COMPARED:
            return memcmp(
                <char *>self.address + start, <char *>self.twin.address + start, stop - start
            ) == 0
        faults = count_faults()
        if faults == self.faults and start >= self.clean_from and stop <= self.clean_to:
            return True
        if stop - start > ASKED:
            return False
        if not are_clean(<uintptr_t>self.twin.address + start, stop - start):
            return False
        self.faults, self.clean_from, self.clean_to = faults, start, stop
        return True

    cdef int map_twin(self) except -1:
        """Map the file once more; there is no twin afterwards if that cannot be done."""
        cdef struct_stat status
        cdef int descriptor = self.descriptor
        self.twin, self.lent_from, self.lent_to = None, 0, 0
        self.faults, self.clean_from, self.clean_to = count_faults(), 0, self.length
        if descriptor < 0:
            descriptor = open_file(os.fsencode(self.path), O_RDONLY | O_CLOEXEC | O_NONBLOCK)
            if descriptor < 0:
                return 0
        try:
            if fstat(descriptor, &status) == 0 and self.identity == (status.st_dev, status.st_ino):
                self.twin = FileMapping(descriptor, self.length, self.path, TWIN_KIND)
        except (OSError, ValueError):
            pass
        finally:
            if descriptor != self.descriptor:
                close(descriptor)
        return 0

    cdef int drop_descriptor(self) except -1:
        """Close the descriptor, once there are pages to lend without it."""
        cdef int descriptor = self.descriptor
        if descriptor >= 0:
            if self.kind == READABLE_KIND and self.twin is None:
                self.map_twin()
            self.descriptor = -1
            close(descriptor)
        return 0


cdef int keep_descriptor(FileMapping mapping) except -1:
    cdef FileMapping oldest
    RECENT.append(weakref.ref(mapping))
    while len(RECENT) > DESCRIPTORS:
        try:
            oldest = RECENT.pop(0)()
        except IndexError:  # another thread was quicker
            break
        if oldest is not None:
            oldest.drop_descriptor()
    return 0


def close_descriptors() -> None:
    """Close the descriptors of all mappings, which stay valid."""
    cdef FileMapping mapping
    while RECENT:
        try:
            mapping = RECENT.pop()()
        except IndexError:
            break
        if mapping is not None:
            mapping.drop_descriptor()


cdef int64_t count_faults() noexcept:
    cdef rusage usage
    getrusage(RUSAGE_SELF, &usage)
    return <int64_t>usage.ru_minflt + usage.ru_majflt


cdef bint are_clean(uintptr_t address, size_t length) noexcept:
    """Tell whether no page of a private mapping was written, and so differs from its file."""
    cdef uint64_t[ENTRIES] entries
    cdef uint64_t page = address // PAGE, beyond = (address + length + PAGE - 1) // PAGE
    cdef size_t i, count
    cdef int table = open_file(b"/proc/self/pagemap", O_RDONLY | O_CLOEXEC)
    cdef bint clean = table >= 0
    while clean and page < beyond:
        count = min(<uint64_t>ENTRIES, beyond - page)
        if pread(table, entries, 8 * count, 8 * page) != <ssize_t>(8 * count):
            clean = False
            break
        for i in range(count):
            clean = clean and not numpack_is_modified(entries[i])
        page += count
    if table >= 0:
        close(table)
    return clean


def origin_of(uintptr_t address):
    """Find the mapping of this package in which an address lies.

    Returns
    -------
    tuple or None
        Address of the mapping, path and identity (device and inode) of its file.
    """
    for start, (length, path, identity) in list(ORIGINS.items()):
        if start <= address < start + length:
            return start, path, identity
    return None


def mappings_between(uint64_t lowest, uint64_t beyond):
    """Ask the kernel for the mappings of this process that hold bytes of a range.

    Returns
    -------
    list of tuple or None
        Of each its start, end, whether it may be written and is shared, the offset, device and
        inode of its file, and its name. ``None`` where the kernel cannot be asked so (before
        Linux 6.11).
    """
    cdef char name[4200]  # more than a path can have
    cdef numpack_mapping found
    cdef int status, maps
    try:
        maps = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    result = []
    try:
        while lowest < beyond:
            status = numpack_mapping_at(maps, lowest, &found, name, sizeof(name))
            if status < 0:
                return None
            if status == 0 or found.start >= beyond:
                break
            result.append((
                found.start, found.end, found.flags & 2 != 0, found.flags & 8 != 0, found.offset,
                os.makedev(found.major, found.minor), found.inode, os.fsdecode(<bytes>name),
            ))
            lowest = found.end
    finally:
        os.close(maps)
    return result


def make_private(unsigned char[::1] memory, int descriptor) -> None:
    """Put private pages of the same file in the place of a mapping of all of it, at once.

    The addresses stay valid and keep their values; what is written from now on stays there.
    """
    if memory.shape[0]:
        if numpack_map_private(&memory[0], memory.shape[0], descriptor) == NULL:
            raise OSError(errno, os.strerror(errno))


def is_written_in_place(int descriptor) -> bool:
    """Tell whether no write to pages that are mapped from a file can find the disk full.

    None can on file systems that write every block where it is; on the others, which copy
    a block when it is written, it would end the process (SIGBUS).
    """
    return numpack_is_written_in_place(descriptor) == 1


def first_hole(int descriptor, int64_t offset, int64_t length) -> int:
    """Find the first byte from `offset` on that has no block on the disk.

    Returns
    -------
    int
        `length` if all bytes before it have one; `offset` if that cannot be told.
    """
    if offset >= length:
        return length
    cdef int64_t found = numpack_first_hole(descriptor, offset)
    return offset if found < 0 else min(found, length)


def allocate(int descriptor, int64_t offset, int64_t length) -> None:
    """Give a part of a file the blocks that it lacks.

    Raises
    ------
    OSError
        The disk is full, say.
    """
    cdef int error
    if length > 0:
        error = numpack_allocate(descriptor, offset, length)
        if error and error != EOPNOTSUPP:  # where that is not known, a write has to see
            raise OSError(error, os.strerror(error))


def reading_takes_room(int descriptor, int64_t length) -> bool:
    """Tell whether to read mapped bytes of a file may find its file system full.

    It may on tmpfs, which gives a hole a page of memory when it is read so. On a full one that
    would end the process (SIGBUS).
    """
    cdef struct_stat status
    if fstat(descriptor, &status) < 0:
        raise OSError(errno, os.strerror(errno))
    return numpack_reading_takes_room(descriptor, &status, length) == 1
