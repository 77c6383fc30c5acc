# Structs and the C exchange API of DLPack 1.3, declared from its specification,
# https://dmlc.github.io/dlpack/latest/c_api.html. The order of the fields is the ABI.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef enum:
    kDLCPU = 1
    kDLCUDAHost = 3
    kDLROCMHost = 11
    kDLCUDAManaged = 13

cdef extern from *:
    """
    #define NUMPACK_DLTENSOR "dltensor"
    #define NUMPACK_DLTENSOR_VERSIONED "dltensor_versioned"
    #define NUMPACK_EXCHANGE_API "dlpack_exchange_api"
    """
    const char *LEGACY "NUMPACK_DLTENSOR"  # names of capsules
    const char *VERSIONED "NUMPACK_DLTENSOR_VERSIONED"
    const char *EXCHANGE_API "NUMPACK_EXCHANGE_API"

cdef enum:
    kDLFloat = 2  # kDLInt is 0, kDLUInt is 1

cdef enum:
    DLPACK_MAJOR = 1
    DLPACK_MINOR = 3

cdef enum:
    FLAG_READ_ONLY = 1  # DLPACK_FLAG_BITMASK_READ_ONLY
    FLAG_IS_COPIED = 2  # DLPACK_FLAG_BITMASK_IS_COPIED
    FLAG_PADDED = 4  # DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED

ctypedef struct DLDevice:
    int32_t device_type
    int32_t device_id

ctypedef struct DLDataType:
    uint8_t code
    uint8_t bits
    uint16_t lanes

ctypedef struct DLTensor:
    void *data
    DLDevice device
    int32_t ndim
    DLDataType dtype
    int64_t *shape
    int64_t *strides  # in elements
    uint64_t byte_offset

ctypedef struct DLManagedTensor:
    DLTensor dl_tensor
    void *manager_ctx
    void (*deleter)(DLManagedTensor *) noexcept nogil

ctypedef struct DLPackVersion:
    uint32_t major
    uint32_t minor

ctypedef struct DLManagedTensorVersioned:
    DLPackVersion version
    void *manager_ctx
    void (*deleter)(DLManagedTensorVersioned *) noexcept nogil
    uint64_t flags
    DLTensor dl_tensor

# The functions of the exchange API return 0, or -1 with a Python exception set. All are called
# with the GIL held except for the allocator, which reports errors through SetError.
ctypedef void (*SetError)(void *context, const char *kind, const char *message) noexcept nogil
ctypedef int (*Allocate)(
    DLTensor *prototype, DLManagedTensorVersioned **out, void *context, SetError set_error
) noexcept nogil
ctypedef int (*FromPyObject)(void *obj, DLManagedTensorVersioned **out) noexcept
ctypedef int (*ToPyObject)(DLManagedTensorVersioned *tensor, void **out) noexcept
ctypedef int (*BorrowFromPyObject)(void *obj, DLTensor *out) noexcept
ctypedef int (*CurrentWorkStream)(int32_t device_type, int32_t device_id, void **out) noexcept

ctypedef struct DLPackExchangeAPIHeader:
    DLPackVersion version
    DLPackExchangeAPIHeader *prev_api

ctypedef struct DLPackExchangeAPI:
    DLPackExchangeAPIHeader header
    Allocate managed_tensor_allocator
    FromPyObject managed_tensor_from_py_object_no_sync
    ToPyObject managed_tensor_to_py_object_no_sync
    BorrowFromPyObject dltensor_from_py_object_no_sync  # may be NULL
    CurrentWorkStream current_work_stream
