# cython: language_level=3
"""Mappings of files, and views of their pages that are safe to pass to any framework."""

import os
import weakref

cimport cython
cimport numpy as cnp
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.string cimport memcmp
from posix.fcntl cimport O_CLOEXEC, O_NONBLOCK, O_RDONLY, open as open_file
from posix.mman cimport MADV_DONTNEED, MADV_HUGEPAGE, madvise, munmap
from posix.stat cimport fstat, struct_stat
from posix.unistd cimport close, pread

cdef extern from "pages.h" nogil:
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


# Mappings that users' arrays may be views of: address to length, path, device and inode.
cdef dict ORIGINS = {}

# Memory whose views can be pickled by reference: address to length, offset in the file, reference,
# whether its pages are private, and a weak reference to the owner if it is not a FileMapping.
cdef dict REFERRED = {}

# Weak references to the mappings that keep a descriptor, the oldest first.
cdef list RECENT = []

# The forks between the first process and this one.
cdef int64_t FORKS = 0

cdef enum:
    MAX_DESCRIPTORS = 16  # that are kept, however many files are mapped
    MAX_COMPARED = 1 << 16  # bytes up to which a comparison is as cheap as reading pagemap
    MAX_PAGEMAP = 1 << 26  # bytes up to which reading pagemap is as cheap as mapping again
    PAGEMAP_ENTRIES = 512  # that are read at a time
    MAX_AXES = 64  # of an array
    HUGE_PAGE = 1 << 21

cdef size_t PAGE = os.sysconf("SC_PAGE_SIZE")

cdef enum:
    PRIVATE_KIND, READABLE_KIND, SHARED_KIND, COW_KIND, OWNED_KIND

PRIVATE, READABLE, SHARED, OWNED = PRIVATE_KIND, READABLE_KIND, SHARED_KIND, OWNED_KIND


@cython.final
@cython.no_gc
cdef class FileMapping:
    """A mapping of the first bytes of a file, exported by the buffer protocol.

    It remains valid if the file is unlinked and its descriptor is closed. The most recent
    mappings keep their descriptors, so that an unlinked file can be mapped again.

    Parameters
    ----------
    file : int or object with `detach`
        A file descriptor, or an object whose `detach` returns one. The mapping takes ownership
        of it unless `kind` is `SHARED`, and closes it if the file cannot be mapped.
    length : int
        In bytes; positive.
    path : str
        The path the file was opened by.
    kind : {PRIVATE, READABLE, SHARED, OWNED}
        `PRIVATE`: a read-only buffer over pages that are writable, but private.
        `READABLE`: a read-only buffer over pages without write permission; see `private_view`.
        `SHARED`: a writable buffer whose writes reach the file.
        `OWNED`: the same, and the mapping keeps its descriptor, see `owned_file`.

    Raises
    ------
    ValueError
        The file has fewer than `length` bytes.
    OSError
        The file cannot be mapped.
    """

    cdef int descriptor
    cdef int kind
    cdef size_t length
    cdef void *address
    cdef object path
    cdef readonly object identity  # device and inode
    cdef FileMapping cow  # the same file, mapped copy-on-write for `private_view`
    cdef size_t viewed_from  # bounds of the bytes of `cow` that users have views of
    cdef size_t viewed_to
    cdef int64_t faults  # page faults of this process when the range below was unmodified
    cdef size_t clean_from
    cdef size_t clean_to
    cdef object reference  # of this mapping and of `cow`, see `refer`
    cdef object __weakref__

    def __cinit__(self, file, int64_t length, str path, int kind=PRIVATE_KIND):
        cdef struct_stat status
        cdef int descriptor = file if type(file) is int else file.detach()
        self.descriptor = -1 if kind in (SHARED_KIND, COW_KIND) else descriptor
        if fstat(descriptor, &status) < 0:
            raise OSError(errno, os.strerror(errno))
        if length <= 0 or status.st_size < length:
            raise ValueError(f"the file has {status.st_size} bytes, not {length}")
        self.length, self.kind, self.path = length, kind, path
        self.identity = status.st_dev, status.st_ino
        if kind == READABLE_KIND:
            self.address = numpack_map_readable(length, descriptor)
        elif kind in (SHARED_KIND, OWNED_KIND):
            self.address = numpack_map_shared(length, descriptor)
        else:
            self.address = numpack_map_private(NULL, length, descriptor)
        if self.address == NULL:
            raise OSError(errno, os.strerror(errno), path)
        if kind == OWNED_KIND:
            if self.length >= HUGE_PAGE:
                madvise(self.address, self.length, MADV_HUGEPAGE)  # a refusal does no harm
            return
        if kind != SHARED_KIND:
            ORIGINS[<uintptr_t>self.address] = length, path, self.identity
        if self.descriptor >= 0:
            keep_descriptor(self)

    def __dealloc__(self):
        if self.address != NULL:
            ORIGINS.pop(<uintptr_t>self.address, None)
            REFERRED.pop(<uintptr_t>self.address, None)
            munmap(self.address, self.length)
        if self.descriptor >= 0:
            close(self.descriptor)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        cdef bint read_only = self.kind not in (SHARED_KIND, OWNED_KIND)
        PyBuffer_FillInfo(buffer, self, self.address, self.length, read_only, flags)
        Py_DECREF(None)  # Cython had stored it in `buffer.obj`, which was overwritten

    def array(self, tuple shape, cnp.dtype dtype):
        """Return the first bytes as a read-only array whose base is this mapping."""
        cdef cnp.npy_intp[MAX_AXES] extents
        cdef cnp.ndarray array
        cdef size_t rest = self.length // max(1, <size_t>dtype.itemsize)
        cdef int axis, ndim = len(shape)
        if ndim > MAX_AXES:
            raise ValueError(f"no array has {ndim} dimensions")
        for axis in range(ndim):
            extents[axis] = shape[axis]
            if extents[axis] < 1 or rest < <size_t>extents[axis]:
                raise ValueError(f"{self.length} bytes do not hold the shape {shape}")
            rest //= extents[axis]
        Py_INCREF(dtype)  # PyArray_NewFromDescr steals a reference
        array = PyArray_NewFromDescr(
            &PyArray_Type, <cnp.PyArray_Descr *>dtype, ndim, extents, NULL, self.address, 0, NULL,
        )
        Py_INCREF(self)  # PyArray_SetBaseObject steals a reference
        PyArray_SetBaseObject(array, <PyObject *>self)
        return array

    def refer(self, reference):
        """Keep what pickles views of this mapping, and of the private pages that are viewed.

        Parameters
        ----------
        reference : ViewReference
            Must not keep this mapping alive.
        """
        self.reference = reference
        if self.kind == OWNED_KIND:
            REFERRED[<uintptr_t>self.address] = self.length, 0, reference, False, None

    @property
    def owned_file(self):
        """Descriptor, identity, length and path of an `OWNED` mapping; None of any other."""
        if self.kind != OWNED_KIND:
            return None
        return self.descriptor, self.identity, self.length, self.path

    def unmap_pages(self):
        """Let pages that were read be mapped again when they are read the next time.

        They stay in the page cache, but no longer count as memory of this process. Does nothing
        for pages that may have been written to.
        """
        if self.kind == READABLE_KIND:
            madvise(self.address, self.length, MADV_DONTNEED)

    def private_view(self, found):
        """Return the same view over copy-on-write pages, which any framework may receive.

        A write that bypasses NumPy's read-only flag changes private pages: neither the file nor
        views that are returned later, since modified pages are not used again.

        Parameters
        ----------
        found : object
            A view of this mapping, which has to be `READABLE`. Any other object is returned
            unchanged.

        Returns
        -------
        ndarray or None
            Read-only, of the same values, shape and strides. ``None`` if the file cannot be
            mapped again, because it was unlinked or memory is exhausted.
        """
        cdef size_t start, stop
        cdef cnp.ndarray view, array
        if not isinstance(found, cnp.ndarray):
            return found
        array = found
        if not self.locate(array, &start, &stop):
            return array
        if self.cow is None or not self.is_unmodified(start, stop):
            self.map_cow()
            if self.cow is None:
                return None
        start, stop = start // PAGE * PAGE, (stop + PAGE - 1) // PAGE * PAGE
        if self.viewed_to == 0:
            self.viewed_from = start
        self.viewed_from = min(self.viewed_from, start)
        self.viewed_to = max(self.viewed_to, stop)
        Py_INCREF(<object>cnp.PyArray_DESCR(array))
        view = PyArray_NewFromDescr(
            &PyArray_Type, cnp.PyArray_DESCR(array), cnp.PyArray_NDIM(array),
            cnp.PyArray_DIMS(array), cnp.PyArray_STRIDES(array),
            <char *>self.cow.address + (<char *>cnp.PyArray_DATA(array) - <char *>self.address),
            0, NULL,
        )
        Py_INCREF(self.cow)  # PyArray_SetBaseObject steals a reference
        PyArray_SetBaseObject(view, <PyObject *>self.cow)
        return view

    cdef bint locate(self, cnp.ndarray array, size_t *start, size_t *stop) noexcept:
        """Find the range of the mapping that an array occupies; false if there is none."""
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

    cdef bint is_unmodified(self, size_t start, size_t stop) noexcept:
        """Check that no user has written to a range of the copy-on-write pages.

        The first write to a private page causes a page fault. Without a page fault since the
        last check, the range that was unmodified then still is.
        """
        cdef int64_t faults
        if start >= self.viewed_to or stop <= self.viewed_from:
            return True
        if stop - start <= MAX_COMPARED:
            return memcmp(
                <char *>self.address + start, <char *>self.cow.address + start, stop - start
            ) == 0
        faults = count_faults()
        if faults == self.faults and start >= self.clean_from and stop <= self.clean_to:
            return True
        if stop - start > MAX_PAGEMAP:
            return False
        if not are_unmodified(<uintptr_t>self.cow.address + start, stop - start):
            return False
        self.faults, self.clean_from, self.clean_to = faults, start, stop
        return True

    cdef int map_cow(self) except -1:
        """Map the file again copy-on-write; `cow` is None if that fails."""
        cdef struct_stat status
        cdef int descriptor = self.descriptor
        self.cow, self.viewed_from, self.viewed_to = None, 0, 0
        self.faults, self.clean_from, self.clean_to = count_faults(), 0, self.length
        if descriptor < 0:
            descriptor = open_file(os.fsencode(self.path), O_RDONLY | O_CLOEXEC | O_NONBLOCK)
            if descriptor < 0:
                return 0
        try:
            if fstat(descriptor, &status) == 0 and self.identity == (status.st_dev, status.st_ino):
                self.cow = FileMapping(descriptor, self.length, self.path, COW_KIND)
                if self.reference is not None:
                    self.cow.reference = self.reference
                    REFERRED[<uintptr_t>self.cow.address] = (
                        self.length, 0, self.reference, True, None
                    )
        except (OSError, ValueError):
            pass
        finally:
            if descriptor != self.descriptor:
                close(descriptor)
        return 0

    cdef int close_descriptor(self) except -1:
        """Close the descriptor, after mapping what `private_view` would need it for."""
        cdef int descriptor = self.descriptor
        if descriptor >= 0:
            if self.kind == READABLE_KIND and self.cow is None:
                self.map_cow()
            self.descriptor = -1
            close(descriptor)
        return 0


cdef int keep_descriptor(FileMapping mapping) except -1:
    cdef FileMapping oldest
    RECENT.append(weakref.ref(mapping))
    while len(RECENT) > MAX_DESCRIPTORS:
        try:
            oldest = RECENT.pop(0)()
        except IndexError:  # another thread emptied the list
            break
        if oldest is not None:
            oldest.close_descriptor()
    return 0


def close_descriptors() -> None:
    """Close the descriptors of all mappings, which remain valid."""
    cdef FileMapping mapping
    while RECENT:
        try:
            mapping = RECENT.pop()()
        except IndexError:
            break
        if mapping is not None:
            mapping.close_descriptor()


def origin_of(uintptr_t address):
    """Return this package's mapping that contains an address.

    Returns
    -------
    tuple or None
        Address of the mapping, path and identity (device and inode) of its file.
    """
    if not ORIGINS:
        return None
    for start, (length, path, identity) in list(ORIGINS.items()):
        if start <= address < start + length:
            return start, path, identity
    return None


def refer_again(uintptr_t address, size_t length, int64_t offset, uintptr_t first, owner) -> None:
    """Let views of a private mapping be pickled by reference, as those of another mapping are.

    Parameters
    ----------
    address, length : int
        Of the mapping.
    offset : int
        In the file, of its first byte.
    first : int
        Address of a byte in the other mapping; nothing is done if its views have no reference.
    owner : object
        Unmaps the pages when it is collected; is not kept.
    """
    found = referred(first, first + 1)
    if found is None:
        return

    def forget(gone):
        entry = REFERRED.get(address)
        if entry is not None and entry[4] is gone:  # not that of a later mapping
            del REFERRED[address]

    REFERRED[address] = length, offset, found[1][2], True, weakref.ref(owner, forget)


def reference_at(uintptr_t lowest, uintptr_t beyond):
    """Return what pickles a range of memory by reference.

    Returns
    -------
    tuple or None
        Offset of the range in its file, and the `ViewReference`. ``None`` if the memory is
        another, or if its pages are private and were written.
    """
    found = referred(lowest, beyond)
    if found is None:
        return None
    start, (_, offset, reference, private, _) = found
    if private and not are_unmodified(lowest, beyond - lowest):
        return None
    return offset + lowest - start, reference


cdef object referred(uintptr_t lowest, uintptr_t beyond):
    """Return the address and the entry of the memory in `REFERRED` that contains a range."""
    if not REFERRED:
        return None
    for start, entry in list(REFERRED.items()):
        if start <= lowest and beyond <= start + entry[0]:
            if entry[4] is None or entry[4]() is not None:  # else it is another mapping's now
                return start, entry
    return None


cdef int64_t count_faults() noexcept:
    """Return the number of page faults, which no other process of a chain of forks returns."""
    cdef rusage usage
    getrusage(RUSAGE_SELF, &usage)
    return (FORKS << 48) + usage.ru_minflt + usage.ru_majflt


def _after_fork_in_child() -> None:
    global FORKS
    FORKS += 1  # the kernel counts the faults of a child from 0


os.register_at_fork(after_in_child=_after_fork_in_child)


cdef bint are_unmodified(uintptr_t address, size_t length) noexcept:
    """Check that no page of a private mapping was written, so that it equals its file."""
    cdef uint64_t[PAGEMAP_ENTRIES] entries
    cdef uint64_t page = address // PAGE, beyond = (address + length + PAGE - 1) // PAGE
    cdef size_t i, count
    cdef int table = open_file(b"/proc/self/pagemap", O_RDONLY | O_CLOEXEC)
    cdef bint unmodified = table >= 0
    while unmodified and page < beyond:
        count = min(<uint64_t>PAGEMAP_ENTRIES, beyond - page)
        if pread(table, entries, 8 * count, 8 * page) != <ssize_t>(8 * count):
            unmodified = False
            break
        for i in range(count):
            unmodified = unmodified and not numpack_is_modified(entries[i])
        page += count
    if table >= 0:
        close(table)
    return unmodified
