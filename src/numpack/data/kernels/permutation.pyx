# cython: language_level=3
"""Shuffled order of an epoch, computed one index at a time; implemented in permutation.h."""

cimport cython
cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t

cdef extern from "permutation.h":
    ctypedef struct numpack_permutation:
        pass
    void numpack_init_permutation(
        numpack_permutation *, uint64_t count, uint64_t seed, uint64_t epoch) noexcept
    void numpack_permute_range(
        const numpack_permutation *, uint64_t begin, int64_t total, int64_t *out
    ) noexcept nogil

cnp.import_array()

cdef int64_t MOST = 1 << 62


@cython.final
cdef class Permutation:
    """Bijection of the integers from 0 to `count` - 1, a function of its arguments alone.

    Parameters
    ----------
    count : int
    seed, epoch : int
        Modulo 2**64.
    """

    cdef readonly int64_t count
    cdef numpack_permutation _permutation

    def __init__(self, int64_t count, seed, epoch):
        if not 0 <= count <= MOST:
            raise ValueError(f"there is no order of {count:,} samples")
        self.count = count
        if count:
            numpack_init_permutation(
                &self._permutation, count, seed & 0xFFFFFFFFFFFFFFFF, epoch & 0xFFFFFFFFFFFFFFFF
            )

    def between(self, int64_t start, int64_t stop):
        """Return what the indexes from `start` to `stop` - 1 are mapped to.

        Returns
        -------
        ndarray of int64
        """
        if not 0 <= start <= stop <= self.count:
            raise IndexError(f"{start}:{stop} is not in an order of {self.count:,} samples")
        cdef cnp.npy_intp total = stop - start
        cdef cnp.ndarray found = cnp.PyArray_EMPTY(1, &total, cnp.NPY_INT64, 0)
        cdef int64_t *out = <int64_t *>cnp.PyArray_DATA(found)
        if total:
            with nogil:
                numpack_permute_range(&self._permutation, start, total, out)
        return found
