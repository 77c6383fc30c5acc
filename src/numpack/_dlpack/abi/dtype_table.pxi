# Included by importing.pyx: the correspondence of DLPack's and NumPy's dtypes, as C arrays that the
# conversions read without a Python call. Entries come from numpack._core.dtypes.

cdef enum:
    N_CODES = 18  # kDLFloat4_e2m1fn is the last code with a NumPy dtype
    N_WIDTHS = 24  # 1 to 7 bits, then 1 to 16 bytes
    N_NUMBERS = 32

cdef PyObject *_descrs[N_CODES][N_WIDTHS]  # by DLPack code and width; NULL if not loaded
cdef DLDataType _dlpack_dtypes[N_NUMBERS]  # by NumPy type number; bits == 0 if DLPack has none
cdef dict _extension_dtypes = {}  # by scalar type: code and bits, or None


cdef _fill_tables():
    for character in np.typecodes["All"]:
        dtype = np.dtype(character)
        info = dtypes.of_numpy(dtype)
        if info is not None:
            _dlpack_dtypes[<int>dtype.num] = DLDataType(info.code, info.bits, 1)
            load_dtype(_dlpack_dtypes[<int>dtype.num], 0)


cdef PyObject **_entry(DLDataType dtype) noexcept nogil:
    """Return the entry of `_descrs` for a DLPack dtype; NULL if no NumPy dtype can match."""
    cdef int bits = dtype.bits
    if dtype.lanes != 1 or dtype.code >= N_CODES or bits > 128 or (bits >= 8 and bits % 8):
        return NULL
    return &_descrs[dtype.code][bits if bits < 8 else 7 + bits // 8]


cdef bint load_dtype(DLDataType dtype, uint64_t flags) except -1:
    """Fill in the entry of a DLPack dtype, which may import ml_dtypes and raise.

    Returns whether the entry was empty before.
    """
    cdef PyObject **entry = _entry(dtype)
    if entry == NULL or entry[0] != NULL or (dtype.bits < 8 and not flags & FLAG_PADDED):
        return False
    info = dtypes.of_dlpack(dtype.code, dtype.bits)
    if info is None:
        return False
    descr = info.dtype
    Py_INCREF(descr)
    entry[0] = <PyObject *>descr
    return True


cdef PyObject *_descr(DLDataType dtype, uint64_t flags) noexcept nogil:
    """Return the NumPy dtype that reads elements in place; NULL if none is loaded."""
    cdef PyObject **entry = _entry(dtype)
    if entry == NULL or (dtype.bits < 8 and not flags & FLAG_PADDED):
        return NULL
    return entry[0]


cdef bint dlpack_dtype(cnp.ndarray array, DLDataType *dtype) except -1:
    """Find the DLPack dtype of an array; false if DLPack has none."""
    cdef int number = cnp.PyArray_TYPE(array)
    if 0 <= number < N_NUMBERS:  # user-defined dtypes of NumPy's new API may have -1
        dtype[0] = _dlpack_dtypes[number]
        return dtype.bits != 0
    kind = (<object><PyObject *>cnp.PyArray_DESCR(array)).type
    found = _extension_dtypes.get(kind, False)
    if found is False:
        info = dtypes.of_numpy(array.dtype)
        found = None if info is None else (info.code, info.bits)
        _extension_dtypes[kind] = found
    if found is None:
        return False
    dtype[0] = DLDataType(found[0], found[1], 1)
    return True


cdef size_t itemsize_of(DLDataType dtype) noexcept nogil:
    """Return the size of one element in bytes, at least one."""
    cdef size_t bits = <size_t>dtype.bits * dtype.lanes
    return max(1, (bits + 7) // 8)


_fill_tables()
