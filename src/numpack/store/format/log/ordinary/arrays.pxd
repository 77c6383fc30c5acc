# The parts of `arrays` that `lines` uses; arrays.pyx documents them.

from libc.stdint cimport int64_t

from ..state cimport Entry

cdef extern from "json_text.h":
    ctypedef struct numpack_text:
        const char *at
        const char *end

    bint numpack_skip(numpack_text *, const char *)
    bint numpack_number(numpack_text *, int64_t *)
    bint numpack_string(numpack_text *, const char **, size_t *)
    bint numpack_is_hexadecimal(const char *, size_t)

cdef enum:
    TOKEN = 8  # characters of the store's token


cdef Entry array(numpack_text *text, str token, int64_t next_id, int64_t last)
cdef Entry change(numpack_text *text, Entry before, int64_t this, int64_t time)
cdef str string(numpack_text *text)
