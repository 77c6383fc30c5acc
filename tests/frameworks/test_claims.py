"""Whom an object belongs to, and what is said of that which belongs to nobody."""

import pathlib
import weakref

import numpy as np
import pytest
import scipy.sparse
import torch

import numpack
from numpack import UnsupportedError, WrongTypeError, explain, share
from numpack.adapters import FRAMEWORKS, of_object

# The order of claims ----------------------------------------------------------------------

KEPT = np.arange(3.0)
OFFERS = {
    "__dlpack__": lambda self, **_: KEPT.__dlpack__(),
    "__arrow_c_array__": lambda self, requested_schema=None: None,
    "__cuda_array_interface__": property(lambda self: {}),
    "__array_interface__": property(lambda self: KEPT.__array_interface__),
    "__array_struct__": property(lambda self: KEPT.__array_struct__),
    "__buffer__": lambda self, flags: memoryview(KEPT),
}
ORDER = ["dlpack", "arrow", "cuda_array_interface", "array_interface", "buffer"]
SPOKEN_BY = dict(
    zip(
        OFFERS,
        ["dlpack", "arrow", "cuda_array_interface", *2 * ["array_interface"], "buffer"],
        strict=True,
    )
)


@pytest.mark.parametrize("first", OFFERS)
@pytest.mark.parametrize("second", OFFERS)
def test_richest_protocol_is_taken(first, second):
    """DLPack knows devices and dtypes, Arrow nulls; the oldest know least."""
    both = type("Both", (), {first: OFFERS[first], second: OFFERS[second]})()
    claimed = of_object(both).name
    assert claimed == min(SPOKEN_BY[first], SPOKEN_BY[second], key=ORDER.index)


def test_type_is_asked_before_protocols():
    for x, name in (
        (np.zeros(3), "numpy"),
        (np.ma.zeros(3), "numpy"),
        (torch.zeros(3), "torch"),
        (torch.nn.Parameter(torch.zeros(3)), "torch"),
        (bytearray(3), "buffer"),
        (scipy.sparse.csr_array(np.eye(2)), "scipy"),
        (numpack.ZeroCopyArray(np.zeros(3)), "numpy"),
        (numpack.io.to_dlpack(np.zeros(3)), "dlpack"),
    ):
        assert of_object(x).name == name


def test_subclass_belongs_where_its_base_does():
    kinds = (bytes, bytearray, np.ndarray)
    assert [of_object(type("Sub", (k,), {})(3)).name for k in kinds] == [
        "buffer",
        "buffer",
        "numpy",
    ]


def test_protocol_of_the_object_alone_is_seen():
    class Bare:
        pass

    one, other = Bare(), Bare()
    one.__array_interface__ = KEPT.__array_interface__
    assert share(one, "numpy", copy=False).tolist() == [0, 1, 2]
    assert of_object(other) is None  # what one has says nothing of its type


def test_proxy_is_not_taken_for_what_it_is_not():
    assert of_object(weakref.ref(KEPT)) is None


def test_a_type_is_no_array():
    for kind in (np.ndarray, torch.Tensor, bytes):
        with pytest.raises(WrongTypeError):
            share(kind, "numpy")


def test_every_framework_of_the_registry_is_there():
    names = [framework.name for framework in FRAMEWORKS]
    assert len(set(names)) == len(names)
    for name in ("scipy", "array_interface", "buffer", "cuda_array_interface"):
        assert name in names


def test_asking_imports_nothing(run_python):
    run_python(
        "import sys, numpack\n"
        "from numpack.adapters import of_object, fix_for\n"
        "before = set(sys.modules)\n"
        "for x in (b'', [], {}, 3, 'x', range(3), object()): of_object(x); fix_for(x)\n"
        "assert not set(sys.modules) - before, set(sys.modules) - before\n"
    )


# What is no array -------------------------------------------------------------------------


def of_package(name: str):
    """An object whose type says that it comes from a package which is not here."""
    return type("Array", (), {"__module__": name})()


NO_ARRAYS = {
    "list": ([1.0, 2.0], r"np\.asarray"),
    "tuple": ((1.0,), r"np\.asarray"),
    "number": (3.0, r"np\.asarray"),
    "NumPy's number": (np.int32(3), r"np\.asarray"),
    "None": (None, "make an array of its values"),
    "dict": ({"a": KEPT}, "one by one"),
    "generator": ((n for n in range(3)), r"np\.fromiter"),
    "name of a file": ("x.npy", "mmap_mode"),
    "path": (pathlib.Path("x.npy"), "mmap_mode"),
    "dask": (of_package("dask.array.core"), r"x\.compute\(\)"),
    "h5py": (of_package("h5py._hl.dataset"), r"x\[\.\.\.\]"),
    "zarr": (of_package("zarr.core.array"), r"x\[\.\.\.\]"),
    "awkward": (of_package("awkward.highlevel"), r"awkward\.to_arrow"),
    "object": (object(), "make an array of its values"),
}


@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_what_is_no_array_is_refused_with_a_way_out(kind):
    x, fix_for = NO_ARRAYS[kind]
    for call in (share, explain):
        with pytest.raises(WrongTypeError, match=fix_for):
            call(x, "torch")


def test_store_is_no_array(tmp_path):
    with numpack.NumPack(tmp_path / "s.npk") as store:
        with pytest.raises(WrongTypeError, match="lazy=True"):
            share(store, "torch")
        store.save({"x": KEPT})
        assert share(store.load("x", lazy=True), "torch").tolist() == [0, 1, 2]


# Sparse matrices --------------------------------------------------------------------------

SPARSE = {
    "csr": "x.data, x.indices, x.indptr",
    "csc": "x.data, x.indices, x.indptr",
    "bsr": "x.data, x.indices, x.indptr",
    "coo": "x.data, x.coords",
    "dia": "x.data, x.offsets",
    "lil": "",
    "dok": "",
}


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", SPARSE)
def test_sparse_is_refused_with_a_way_out(form, kind):
    x = getattr(scipy.sparse, f"{form}_{kind}")(np.eye(3))
    route = explain(x, "torch")
    assert not route.supported
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError, match=r"x\.toarray\(\)") as caught:
            share(x, "numpy", copy=copy)
        assert caught.value.fix == route.fix
        assert (SPARSE[form] in route.fix) if SPARSE[form] else ("parts" not in route.fix)
    assert share(x.toarray(), "torch", copy=False).shape == (3, 3)
    for part in SPARSE[form].replace("x.", "").split(", ") if SPARSE[form] else ():
        found = getattr(x, part)
        for each in found if isinstance(found, tuple) else (found,):
            assert np.shares_memory(share(each, "numpy", copy=False), each)


def test_pydata_sparse_is_refused_without_scipy():
    """Its packages need not be here: the names of its types are enough."""
    coo = type("COO", (), {"__module__": "sparse.numba_backend._coo.core", "shape": (3, 3)})()
    coo.todense, coo.data, coo.coords = (lambda: KEPT), KEPT, KEPT
    with pytest.raises(UnsupportedError, match=r"x\.todense\(\), or share its parts: x\.data"):
        share(coo, "numpy")


def test_nothing_becomes_sparse():
    route = explain(KEPT, "scipy")
    assert not route.supported
    assert route.fix == "make one: scipy.sparse.csr_array(array)"
    with pytest.raises(UnsupportedError):
        share(torch.zeros(3), "scipy")


def test_other_objects_of_scipy_are_no_arrays():
    import scipy.spatial

    with pytest.raises(WrongTypeError, match="scipy"):
        share(scipy.spatial.KDTree(np.eye(3)), "numpy")
