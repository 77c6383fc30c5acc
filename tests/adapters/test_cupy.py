"""CuPy and the CUDA array interface on a machine without CuPy and without a device."""

from __future__ import annotations

import sys

import ml_dtypes
import numpy as np
import pytest
from support.exchange import fake_cupy
from support.exchange.fake_cupy import asked

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
import sys, numpy as np, numpack
numpack.share(np.zeros(3), "torch"), numpack.share(b"abc", "numpy")
assert "cupy" not in sys.modules
sys.modules["cupy"] = None
from support.exchange.dlpack import Tensor
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


def test_cupy_is_imported_only_if_asked_for_and_reported_if_missing(run_python):
    lines = run_python(WITHOUT_CUPY).splitlines()
    assert len(lines) == 6
    for line in lines:
        assert line.startswith("cupy ")
        assert "pip install" in line
        assert "cupy-cuda12x" in line


@pytest.fixture
def cupy(monkeypatch):
    """Install the stand-in as the module cupy, and unload the adapter made for CuPy."""
    for table, name in ((LOADED, "cupy"), (sys.modules, "numpack.adapters.cupy")):
        monkeypatch.setitem(table, name, None)
        del table[name]
    fake_cupy.asked.clear()
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy.module())
    return sys.modules["cupy"]


# With a stand-in for CuPy


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
