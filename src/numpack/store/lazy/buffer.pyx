# cython: language_level=3
"""`BufferExporter`: the buffer protocol and NumPy's array interface of a lazy array.

NumPy tries both before `__array__`, so they are native. In Python, the buffer protocol needs 3.12.
"""

from cpython.buffer cimport PyObject_GetBuffer

from ...errors import ZeroCopyError

cdef enum:
    CLONGDOUBLE = 16  # the last of NumPy's dtypes of numbers, of which bool is 0
    HALF = 23

DTYPE_REASON = "only booleans and NumPy's own numbers have a buffer; pass np.asarray(lazy)"
DELETED_REASON = (
    "a copy is needed: rows were deleted, and the remaining ones are not contiguous; pass "
    "lazy.copy(), or load the array again after npk.update(name), which rewrites them"
)
UNLINKED_REASON = (
    "a copy is needed: the array's file has been deleted, and its pages were written to; load "
    "it from the store again, or pass copy=True"
)


class NotSharedError(ZeroCopyError, AttributeError):
    """The memory cannot be exported; also an `AttributeError`, as of a missing protocol."""


cdef class BufferExporter:
    """Exports the mapping of a lazy array, whose attributes its subclass defines."""

    cdef list held  # views that consumers of the array interface use, who keep only this object

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        # The exporter that the buffer keeps alive is the ndarray.
        PyObject_GetBuffer(exported(self), buffer, flags)

    @property
    def __array_interface__(self):
        """Description of the memory; see NumPy's array interface protocol.

        Raises
        ------
        NotSharedError
            Rows are deleted, or the dtype is not bool or one of NumPy's numbers.
        """
        view = exported(self)
        if self.held is None:
            self.held = []
        for each in self.held:
            if each.base is view.base:
                break
        else:
            self.held.append(view)
        return view.__array_interface__


cdef exported(array):
    """Return the mapping of a lazy array as a read-only ndarray of a dtype that has a buffer.

    Raises
    ------
    NotSharedError
        Rows are deleted, or the file cannot be mapped again, or the dtype is another one.
    """
    stored, pages = array._stored, array._pages
    cdef int number = stored.dtype.num
    if number > CLONGDOUBLE and number != HALF:
        raise NotSharedError(DTYPE_REASON)
    if array._deleted is not None:
        raise NotSharedError(DELETED_REASON)
    if pages is None:
        return stored
    view = pages.private_view(stored)
    if view is None:
        raise NotSharedError(UNLINKED_REASON)
    return view
