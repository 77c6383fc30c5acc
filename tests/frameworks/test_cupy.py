"""CuPy and the CUDA array interface on a machine without CuPy and without a device."""

import sys

import ml_dtypes
import numpy as np
import pytest
from support import fake_cupy
from support.dlpack import Tensor
from support.fake_cupy import asked

from numpack import (
    CopyWarning,
    MissingDependencyError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)
from numpack.adapters import LOADED
from numpack.errors import InvalidValueError

# Without CuPy -----------------------------------------------------------------------------


class CudaInterface:
    """An object with the CUDA array interface, such as an array of Numba."""

    def __init__(self, **changed):
        self.interface = {
            "shape": (3,),
            "typestr": "<f4",
            "data": (0x7F0000000000, False),
            "version": 3,
            "stream": None,
        } | changed

    @property
    def __cuda_array_interface__(self):
        return self.interface


WITHOUT_CUPY = """
import sys
sys.modules["cupy"] = None
import numpy as np, numpack
from support.dlpack import Tensor
def said(x, target):
    for call in (numpack.share, numpack.explain):
        try:
            call(x, target)
        except numpack.MissingDependencyError as error:
            print(error.name, error)
class Named:
    __cuda_array_interface__ = {"shape": (3,), "typestr": "<f4", "data": (1, False)}
said(np.zeros(3), "cupy")
said(Named(), "numpy")
said(Named(), "torch")
"""


def test_missing_cupy_is_reported_with_the_install_command(run_python):
    lines = run_python(WITHOUT_CUPY).splitlines()
    assert len(lines) == 6
    for line in lines:
        assert line.startswith("cupy ")
        assert "pip install" in line
        assert "cupy-cuda12x" in line


def test_other_conversions_do_not_import_cupy(run_python):
    run_python(
        "import sys, numpy as np, numpack\n"
        "numpack.share(np.zeros(3), 'torch'); numpack.share(b'abc', 'numpy')\n"
        "assert 'cupy' not in sys.modules\n"
    )


# With a stand-in for CuPy -----------------------------------------------------------------


@pytest.fixture
def cupy(monkeypatch):
    """Install the stand-in as the module cupy, and unload the adapter made for CuPy."""
    for table, name in ((LOADED, "cupy"), (sys.modules, "numpack.adapters.cupy")):
        monkeypatch.setitem(table, name, None)
        del table[name]
    fake_cupy.asked.clear()
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.module())
    return sys.modules["cupy"]


def test_conversion_to_cupy_copies(cupy):
    a = np.arange(6.0).reshape(2, 3)
    route = explain(a, "cupy")
    assert route.nbytes == 48
    assert "memory of a CUDA device" in route.reason
    assert not asked
    with pytest.warns(CopyWarning, match="to CuPy failed: float64 array of shape .2, 3."):
        x = share(a, "cupy")
    assert np.array_equal(x.memory, a)
    assert asked == ["array"]
    with pytest.raises(ZeroCopyError):
        share(a, "cupy", copy=False)
    assert isinstance(share(a, "cupy", copy=True), cupy.ndarray)
    for odd in (a[::-1], a[:, ::2], a.astype(">f8"), a.T, np.broadcast_to(a[0], (2, 3)), a[:0]):
        x = share(odd, "cupy", copy=True)
        assert np.array_equal(x.memory, odd)


def test_dtypes_that_cupy_lacks_are_refused(cupy):
    assert explain(np.ones(3, ml_dtypes.bfloat16), "cupy").supported
    unknown = "M8[s] m8[D] S3 U3 O T g i4,f4".split()
    for dtype in (*unknown, ml_dtypes.float8_e5m2, ml_dtypes.int4):
        assert not explain(np.zeros(3, dtype), "cupy").supported
        with pytest.raises(UnsupportedError, match="no such dtype"):
            share(np.zeros(3, dtype), "cupy")
    with pytest.raises(UnsupportedError, match="masks"):
        share(np.ma.array([1, 2], mask=[0, 1]), "cupy")
    cupy.__version__ = "13.6.0"
    with pytest.raises(UnsupportedError, match="install CuPy 14"):
        share(np.ones(3, ml_dtypes.bfloat16), "cupy")


def test_conversion_from_cupy_synchronizes_and_copies(cupy):
    x = cupy.ndarray(np.arange(3.0))
    route = explain(x, "torch")
    assert route.nbytes == 24
    assert "CUDA device 0" in route.reason
    assert not asked
    with pytest.warns(CopyWarning, match="from CuPy failed"):
        a = share(x, "numpy")
    assert a.tolist() == [0, 1, 2]
    assert asked == ["synchronize", "get"]
    with pytest.raises(ZeroCopyError):
        share(x, "numpy", copy=False)
    with pytest.raises(ZeroCopyError):
        share(x, "torch", copy=False)
    assert share(x, "torch", copy=True).tolist() == [0, 1, 2]


def test_cupy_to_cupy_shares_memory(cupy):
    x = cupy.ndarray(np.arange(3.0))
    assert explain(x, "cupy").shares_memory
    assert not asked
    y = share(x, "cupy", copy=False)
    assert y.memory is x.memory
    assert asked == ["from_dlpack"]
    assert share(x, "cupy", copy=True).memory is not x.memory


def test_missing_device_is_reported(cupy):
    cupy.cuda.is_available = lambda: False
    assert explain(np.zeros(3), "cupy").reason == "CuPy finds no CUDA device"
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError, match="finds no CUDA device"):
            share(np.zeros(3), "cupy", copy=copy)

    for target in ("numpy", "torch", "cupy"):
        with pytest.raises(MissingDependencyError, match="neither is available"):
            share(CudaInterface(), target)


def test_other_objects_of_cupy_are_refused(cupy):
    sparse = type("csr_matrix", (), {"__module__": "cupyx.scipy.sparse", "toarray": None})()
    with pytest.raises(UnsupportedError, match=r"x\.toarray"):
        share(sparse, "numpy")
    with pytest.raises(WrongTypeError, match="cupy.ndarray"):
        share(type("Stream", (), {"__module__": "cupy.cuda"})(), "numpy")


def test_cuda_array_interface_is_read_by_cupy(cupy):
    kept = np.arange(3.0)

    class CudaInterface:
        def __init__(self, **changed):
            self.changed = changed

        @property
        def __cuda_array_interface__(self):
            return kept.__array_interface__ | self.changed

    route = explain(CudaInterface(), "numpy")
    assert route.nbytes == 24
    assert route.steps[0].direction == "from CUDA array interface"
    with pytest.warns(CopyWarning, match="from CUDA array interface failed"):
        a = share(CudaInterface(), "numpy")
    assert a.tolist() == [0, 1, 2]
    assert not np.shares_memory(a, kept)
    asked.clear()
    assert np.shares_memory(share(CudaInterface(), "cupy", copy=False).memory, kept)
    assert asked == ["asarray", "from_dlpack"]
    with pytest.raises(UnsupportedError, match="it has a mask"):
        share(CudaInterface(mask=3), "numpy")
    with pytest.raises(InvalidValueError, match="cannot be read"):
        share(CudaInterface(typestr="nonsense"), "numpy")


def test_cuda_array_interface_is_not_a_target():
    route = explain(np.zeros(3), "cuda_array_interface")
    assert not route.supported
    assert "'cupy'" in route.fix
    with pytest.raises(UnsupportedError):
        share(np.zeros(3), "cuda_array_interface")


def test_cuda_array_interface_without_cupy_or_a_device():
    for target in ("numpy", "torch", "jax"):
        with pytest.raises(MissingDependencyError, match="neither is available"):
            share(CudaInterface(), target)


# Producers of device memory ---------------------------------------------------------------


class DeviceProducer:
    """A DLPack producer on a device, with an address that the host must not read."""

    def __init__(self, *, moves: bool):
        self.moves = moves
        self.asked = []

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **keywords):
        self.asked.append(keywords)
        if keywords.get("dl_device") == (1, 0) and not self.moves:
            raise BufferError("cannot move to the CPU")
        tensor = Tensor(np.arange(3.0))
        if keywords.get("dl_device") != (1, 0):
            tensor.managed.tensor.device_type = 2
            tensor.managed.tensor.data = 16
        self.kept = tensor
        return tensor.capsule()


@pytest.mark.parametrize("target", ["numpy", "torch", "jax", "arrow", "buffer", "dlpack"])
def test_device_memory_is_not_read_by_the_host(target):
    producer = DeviceProducer(moves=False)
    options = {"dtype": "float32"} if target == "jax" else {}
    if options:  # a cast depends on the values
        route = explain(producer, target, **options)
        assert not route.supported
        assert "cannot move to the CPU" in route.reason
    else:
        assert explain(producer, target).nbytes >= 24
    with pytest.raises(ZeroCopyError, match="cannot move to the CPU"):
        share(producer, target, copy=True, **options)
    with pytest.raises(ZeroCopyError, match=r"on device \(2, 0\)"):
        share(producer, target, copy=False, **options)
    with pytest.warns(CopyWarning, match=r"on device \(2, 0\)"):
        moved = share(DeviceProducer(moves=True), "numpy")
    assert moved.tolist() == [0, 1, 2]


def test_capsule_of_device_memory_is_refused():
    capsule = DeviceProducer(moves=False).__dlpack__()
    with pytest.raises(UnsupportedError, match="and a raw capsule cannot be transferred"):
        share(capsule, "numpy")


# JAX on several devices -------------------------------------------------------------------


def test_jax_on_the_second_of_two_devices(run_python):
    """XLA splits the CPU into the requested number of devices."""
    run_python("""
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax, jax.numpy as jnp, numpy as np, pytest, torch, numpack
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpack import CopyWarning, ZeroCopyError, explain, share

first, second = jax.devices()
x = jax.device_put(jnp.arange(64.0), second)
assert explain(x, "numpy").shares_memory
a = share(x, "numpy", copy=False)
assert a.ctypes.data == x.unsafe_buffer_pointer() and a.tolist() == list(range(64))
assert np.shares_memory(share(a, "numpy"), a)
with pytest.warns(numpack.ReadOnlyWarning):
    t = share(x, "torch")
assert t.data_ptr() == x.unsafe_buffer_pointer()

mesh = Mesh(np.array([first, second]), ("i",))
spread = jax.device_put(jnp.arange(64.0), NamedSharding(mesh, PartitionSpec("i")))
assert explain(spread, "numpy").nbytes == 256
with pytest.warns(CopyWarning, match="spread over 2 devices"):
    assert share(spread, "numpy").tolist() == list(range(64))
with pytest.raises(ZeroCopyError, match="addressable_data"):
    share(spread, "torch", copy=False)
assert share(spread, "torch", copy=True).tolist() == list(range(64))
for part in range(2):
    one = spread.addressable_data(part)
    assert share(one, "numpy", copy=False).ctypes.data == one.unsafe_buffer_pointer()

twice = jax.device_put(jnp.arange(64.0), NamedSharding(mesh, PartitionSpec()))
assert not explain(twice, "numpy").shares_memory
assert share(twice, "numpy", copy=True).tolist() == list(range(64))
""")
