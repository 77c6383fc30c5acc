"""Which adapter an object belongs to, and errors for objects that no adapter supports."""

import pathlib
import weakref

import numpy as np
import pytest
import scipy.sparse
import torch
from support.each import for_each

import numpack
from numpack import UnsupportedError, WrongTypeError, explain, share
from numpack.adapters import FRAMEWORKS, of_object

# Precedence of types and protocols --------------------------------------------------------

VALUES = np.arange(3.0)
PROTOCOLS = {
    "__dlpack__": lambda self, **_: VALUES.__dlpack__(),
    "__arrow_c_array__": lambda self, requested_schema=None: None,
    "__cuda_array_interface__": property(lambda self: {}),
    "__array_interface__": property(lambda self: VALUES.__array_interface__),
    "__array_struct__": property(lambda self: VALUES.__array_struct__),
    "__buffer__": lambda self, flags: memoryview(VALUES),
}
ORDER = ["dlpack", "arrow", "cuda_array_interface", "array_interface", "buffer"]
ADAPTERS = dict(
    zip(
        PROTOCOLS,
        ["dlpack", "arrow", "cuda_array_interface", *2 * ["array_interface"], "buffer"],
        strict=True,
    )
)


@for_each("first", PROTOCOLS)
@for_each("second", PROTOCOLS)
def test_protocols_are_chosen_in_order(first, second):
    """DLPack describes devices and dtypes, Arrow nulls; the older protocols describe less."""
    both = type("Both", (), {first: PROTOCOLS[first], second: PROTOCOLS[second]})()
    claimed = of_object(both).name
    assert claimed == min(ADAPTERS[first], ADAPTERS[second], key=ORDER.index)


def test_type_precedes_protocols():
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


def test_subclass_belongs_to_the_adapter_of_its_base():
    kinds = (bytes, bytearray, np.ndarray)
    assert [of_object(type("Sub", (k,), {})(3)).name for k in kinds] == [
        "buffer",
        "buffer",
        "numpy",
    ]


def test_protocol_of_an_instance_is_found():
    class Bare:
        pass

    one, other = Bare(), Bare()
    one.__array_interface__ = VALUES.__array_interface__
    assert share(one, "numpy", copy=False).tolist() == [0, 1, 2]
    assert of_object(other) is None  # an instance attribute is not cached for its type


def test_proxy_is_not_mistaken_for_its_referent():
    assert of_object(weakref.ref(VALUES)) is None


def test_types_are_refused():
    for kind in (np.ndarray, torch.Tensor, bytes):
        with pytest.raises(WrongTypeError):
            share(kind, "numpy")


def test_names_in_the_registry_are_unique():
    names = [framework.name for framework in FRAMEWORKS]
    assert len(set(names)) == len(names)
    for name in ("scipy", "array_interface", "buffer", "cuda_array_interface"):
        assert name in names


def test_lookup_imports_nothing(run_python):
    run_python(
        "import sys, numpack\n"
        "from numpack.adapters import of_object, fix_for\n"
        "before = set(sys.modules)\n"
        "for x in (b'', [], {}, 3, 'x', range(3), object()): of_object(x); fix_for(x)\n"
        "assert not set(sys.modules) - before, set(sys.modules) - before\n"
    )


# Objects that are not arrays --------------------------------------------------------------


def of_package(name: str):
    """Return an object whose type names a package that is not installed."""
    return type("Array", (), {"__module__": name})()


NOT_ARRAYS = {
    "list": ([1.0, 2.0], r"np\.asarray"),
    "tuple": ((1.0,), r"np\.asarray"),
    "number": (3.0, r"np\.asarray"),
    "NumPy scalar": (np.int32(3), r"np\.asarray"),
    "None": (None, "make an array of its values"),
    "dict": ({"a": VALUES}, "one by one"),
    "generator": ((n for n in range(3)), r"np\.fromiter"),
    "file name": ("x.npy", "mmap_mode"),
    "path": (pathlib.Path("x.npy"), "mmap_mode"),
    "dask": (of_package("dask.array.core"), r"x\.compute\(\)"),
    "h5py": (of_package("h5py._hl.dataset"), r"x\[\.\.\.\]"),
    "zarr": (of_package("zarr.core.array"), r"x\[\.\.\.\]"),
    "awkward": (of_package("awkward.highlevel"), r"awkward\.to_arrow"),
    "object": (object(), "make an array of its values"),
}


@for_each("kind", NOT_ARRAYS)
def test_other_objects_are_refused_with_a_fix(kind):
    x, fix_for = NOT_ARRAYS[kind]
    for call in (share, explain):
        with pytest.raises(WrongTypeError, match=fix_for):
            call(x, "torch")


def test_store_is_refused_with_a_fix(tmp_path):
    with numpack.NumPack(tmp_path / "s.npk") as store:
        with pytest.raises(WrongTypeError, match="lazy=True"):
            share(store, "torch")
        store.save({"x": VALUES})
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


@for_each("kind", ["array", "matrix"])
@for_each("form", SPARSE)
def test_sparse_matrices_are_refused_with_a_fix(form, kind):
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


def test_arrays_of_pydata_sparse_are_refused_without_scipy():
    """The type is recognized by its name; its package need not be installed."""
    coo = type("COO", (), {"__module__": "sparse.numba_backend._coo.core", "shape": (3, 3)})()
    coo.todense, coo.data, coo.coords = (lambda: VALUES), VALUES, VALUES
    with pytest.raises(UnsupportedError, match=r"x\.todense\(\), or share its parts: x\.data"):
        share(coo, "numpy")


def test_conversion_to_scipy_is_refused():
    route = explain(VALUES, "scipy")
    assert not route.supported
    assert route.fix == "make one: scipy.sparse.csr_array(array)"
    with pytest.raises(UnsupportedError):
        share(torch.zeros(3), "scipy")


def test_other_objects_of_scipy_are_refused():
    import scipy.spatial

    with pytest.raises(WrongTypeError, match="scipy"):
        share(scipy.spatial.KDTree(np.eye(3)), "numpy")
