"""Arrays on a CUDA device: PyTorch, CuPy and JAX, to each other and to the host.

On a machine with a device, a framework without CUDA support is a failure.
"""

from __future__ import annotations

import gc
import importlib
import warnings
from contextlib import nullcontext

import ml_dtypes
import numpy as np
import pytest

from numpack import (
    CopyWarning,
    InvalidValueError,
    ReadOnlyWarning,
    UnsupportedError,
    ZeroCopyError,
    explain,
    share,
)

pytestmark = pytest.mark.gpu

NAMES = ("torch", "cupy", "jax")
PAIRS = [(one, other) for one in NAMES for other in NAMES if one != other]
DTYPES = ("bool", "int8", "uint8", "int32", "float16", "float32", "complex64", "bfloat16")


def import_framework(name: str):
    return importlib.import_module(name)


def dtype_of(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


def make(name: str, values: np.ndarray):
    """Create an array on the device with the framework's own functions."""
    if name == "cupy":
        return import_framework("cupy").array(values)
    if name == "jax":
        return import_framework("jax").device_put(
            values, import_framework("jax").devices("cuda")[0]
        )
    torch = import_framework("torch")
    if values.dtype == ml_dtypes.bfloat16:
        return torch.tensor(values.view("i2"), device="cuda").view(torch.bfloat16)
    return torch.tensor(values, device="cuda")


def address(x) -> int:
    if hasattr(x, "data_ptr"):
        return x.data_ptr()
    if hasattr(x, "unsafe_buffer_pointer"):
        return x.unsafe_buffer_pointer()
    return x.data.ptr


def values(x) -> np.ndarray:
    """Copy the values of an array to the host with the framework's own functions."""
    if hasattr(x, "get"):
        return x.get()
    if not hasattr(x, "data_ptr"):
        return np.asarray(x)
    torch = import_framework("torch")
    if x.dtype == torch.bfloat16:
        return x.view(torch.int16).cpu().numpy().view(ml_dtypes.bfloat16)
    return x.cpu().numpy()


def share_quietly(x, target: str, **options):
    """Share without the warning about JAX arrays, which has a test of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadOnlyWarning)
        return share(x, target, **options)


# On the device ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_memory_is_shared_on_the_device(source, target, dtype):
    given = (np.arange(24) % 3).astype(dtype_of(dtype)).reshape(4, 6)
    x = make(source, given)
    assert explain(x, target).shares_memory
    y = share_quietly(x, target, copy=False)
    assert address(y) == address(x)
    assert np.array_equal(values(y), given)
    own = share(x, target, copy=True)
    assert address(own) != address(x)
    assert np.array_equal(values(own), given)


@pytest.mark.parametrize(("source", "target"), [("torch", "cupy"), ("cupy", "torch")])
def test_writes_go_both_ways(source, target):
    x = make(source, np.zeros(8, "f4"))
    y = share(x, target, copy=False)
    y[2] = 7
    assert values(x)[2] == 7
    x[3] = 8
    assert values(y)[3] == 8


@pytest.mark.parametrize(("source", "target"), [("torch", "cupy"), ("cupy", "torch")])
def test_strides_are_kept(source, target):
    given = np.arange(24, dtype="f4").reshape(4, 6)
    x = make(source, given)[1:, ::2].T
    y = share(x, target, copy=False)
    assert address(y) == address(x)
    assert np.array_equal(values(y), given[1:, ::2].T)


@pytest.mark.parametrize("target", ["torch", "cupy"])
def test_sharing_a_jax_array_warns_of_writes(target):
    x = make("jax", np.arange(8, dtype="f4"))
    with pytest.warns(ReadOnlyWarning, match="never changes"):
        share(x, target)
    own = share(x, target, copy=True)
    own[0] = 7
    assert values(x)[0] == 0


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_result_keeps_its_source_alive(source, target):
    given = np.arange(1 << 16, dtype="f4")
    y = share_quietly(make(source, given), target, copy=False)
    gc.collect()
    junk = [make(source, np.full(1 << 16, -1, "f4")) for _ in range(8)]
    assert np.array_equal(values(y), given)
    del junk


# Streams ----------------------------------------------------------------------------------


def side_stream(name: str):
    """Return a context manager for a stream that does not wait for other streams."""
    if name == "torch":
        return import_framework("torch").cuda.stream(import_framework("torch").cuda.Stream())
    return (
        import_framework("cupy").cuda.Stream(non_blocking=True)
        if name == "cupy"
        else nullcontext()
    )


def slow_ones(name: str):
    """Create an array of ones that is ready only after long work on the current stream."""
    if name == "torch":
        torch = import_framework("torch")
        x = torch.zeros(1 << 22, device="cuda")
        torch.cuda._sleep(200_000_000)  # about 0.1 s
        return x.add_(1)
    if name == "cupy":
        cupy = import_framework("cupy")
        x, work = cupy.zeros(1 << 22, "f4"), cupy.ones((2048, 2048), "f4")
        for _ in range(50):
            work = work @ work * 1e-4
        x += 1 + 0 * work[0, 0]
        return x
    jnp = import_framework("jax").numpy
    work = jnp.ones((2048, 2048), "f4")
    for _ in range(50):
        work = work @ work * 1e-4
    return jnp.ones(1 << 22, "f4") + 0 * jnp.nan_to_num(work[0, 0])


@pytest.mark.parametrize("consuming", ["same stream", "side stream"])
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_consumer_waits_for_the_stream_of_the_producer(source, target, consuming):
    """The array is shared within the producer's stream, before its work is complete."""
    with side_stream(source):
        x = slow_ones(source)
        with side_stream(target) if consuming == "side stream" else nullcontext():
            y = share_quietly(x, target, copy=False)
            assert float(y.sum()) == 1 << 22


@pytest.mark.parametrize("source", NAMES)
def test_host_waits_for_the_stream_of_the_producer(source):
    with side_stream(source):
        x = slow_ones(source)
        host = share(x, "numpy", copy=True)
    assert host.min() == host.max() == 1


def test_host_waits_for_a_cupy_stream_that_is_not_current():
    """A CuPy array does not record its stream, which may no longer be the current one."""
    with side_stream("cupy"):
        x = slow_ones("cupy")
    assert share(x, "numpy", copy=True).min() == 1


# Copies to and from the host --------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("source", NAMES)
def test_conversion_to_the_host_copies(source, dtype):
    given = (np.arange(24) % 3).astype(dtype_of(dtype)).reshape(4, 6)
    x = make(source, given)
    route = explain(x, "numpy")
    assert route.nbytes == given.nbytes
    with pytest.warns(CopyWarning, match="memory is on"):
        a = share(x, "numpy")
    assert a.dtype == given.dtype
    assert np.array_equal(a, given)
    with pytest.raises(ZeroCopyError):
        share(x, "numpy", copy=False)
    own = share(x, "numpy", copy=True)
    assert own.flags.writeable
    assert np.array_equal(own, given)


@pytest.mark.parametrize("dtype", DTYPES)
def test_conversion_from_the_host_to_cupy_copies(dtype):
    given = (np.arange(24) % 3).astype(dtype_of(dtype)).reshape(4, 6)
    for a in (given, given.T, given[::-1], given[:, ::2], np.broadcast_to(given[0], (4, 6))):
        assert explain(a, "cupy").nbytes == a.nbytes
        with pytest.warns(CopyWarning, match="CUDA device"):
            x = share(a, "cupy")
        assert x.dtype == a.dtype
        assert np.array_equal(values(x), a)
    with pytest.raises(ZeroCopyError):
        share(given, "cupy", copy=False)


def test_pinned_memory_can_be_written_after_a_copy():
    """Copies from pinned memory are asynchronous; the conversion must wait for them."""
    a = import_framework("cupyx").empty_pinned(1 << 24, "f4")
    a[:] = 1
    x = share(a, "cupy", copy=True)
    a[:] = 2
    assert values(x).max() == 1


def test_managed_memory_is_read_after_its_stream_completes():
    cupy = import_framework("cupy")
    with cupy.cuda.using_allocator(cupy.cuda.malloc_managed):
        x = slow_ones("cupy")
        assert share(x, "numpy", copy=True).min() == 1


def test_conversion_from_the_host_to_a_torch_device():
    a = np.arange(6, dtype="f4")
    with pytest.warns(CopyWarning, match="memory of its own"):
        t = share(a, "torch", device="cuda")
    assert t.device.type == "cuda"
    assert values(t).tolist() == a.tolist()


# The CUDA array interface -----------------------------------------------------------------


class CudaInterface:
    """Memory of another object, exported by the CUDA array interface only."""

    def __init__(self, owner, **changed):
        self._owner = owner
        self._changed = changed

    @property
    def __cuda_array_interface__(self):
        return self._owner.__cuda_array_interface__ | self._changed


@pytest.mark.parametrize("target", NAMES)
def test_cuda_array_interface_is_shared_on_the_device(target):
    given = np.arange(24, dtype="f4").reshape(4, 6)
    owner = make("cupy", given)
    y = share(CudaInterface(owner), target, copy=False)
    assert address(y) == address(owner)
    del owner
    gc.collect()
    assert np.array_equal(values(y), given)


def test_cuda_array_interface_is_copied_after_its_stream_completes():
    cupy = import_framework("cupy")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        x = slow_ones("cupy")
    a = share(CudaInterface(x, stream=stream.ptr), "numpy", copy=True)
    assert a.min() == a.max() == 1


# Errors -----------------------------------------------------------------------------------


def test_missing_device_is_reported():
    with pytest.raises(InvalidValueError, match="not to be had"):
        share(np.zeros(3), "torch", device="cuda:99")


@pytest.mark.parametrize("source", NAMES)
def test_host_targets_do_not_share_device_memory(source):
    x = make(source, np.arange(6, dtype="f4"))
    for target in ("arrow", "buffer", "dlpack", "array_interface"):
        assert not explain(x, target).shares_memory
        with pytest.raises(ZeroCopyError):
            share(x, target, copy=False)


def test_sparse_matrices_of_cupy_are_refused():
    sparse = import_framework("cupyx.scipy.sparse").csr_matrix(
        make("cupy", np.eye(3, dtype="f4"))
    )
    with pytest.raises(UnsupportedError, match=r"x\.toarray"):
        share(sparse, "numpy")
