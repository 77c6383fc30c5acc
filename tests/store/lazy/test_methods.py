"""Attributes and methods of lazy arrays, compared with NumPy's."""

from __future__ import annotations

import io
import operator

import numpy as np
import pytest
from support.each import for_each
from support.files import contents
from support.memory import address, shares_pages
from support.outcomes import outcome

from numpack import LazyArray, NumPack, UnsupportedError

HOLES = {"none": [], "first": [0], "middle": [1], "several": [1, 3]}
SHAPES = [(5,), (5, 3), (5, 2, 3), (5, 1), (5, 0), (0, 2), (1,), ()]
DTYPES = ["?", "i1", "u2", "i8", "f2", "f4", "f8", "c16", "M8[s]", "m8[ms]", "S3", "U2"]


def made(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return an array of small numbers in no order."""
    numbers = np.random.default_rng(7).integers(0, 7, shape)
    return np.asarray(numbers).astype("i8").astype(dtype)


def mapped(
    store: NumPack, array: np.ndarray, dropped: list[int]
) -> tuple[LazyArray, np.ndarray]:
    """Return an array as the store maps it and as NumPy computes it."""
    store.save({"x": array})
    if dropped and array.ndim and len(array) > max(dropped):
        store.drop("x", dropped)
        array = np.delete(array, dropped, axis=0)
    return store.load("x", lazy=True), array


def assert_same(found, expected, label) -> None:
    """Compare type, dtype, shape and bytes."""
    if isinstance(expected, tuple | list) and not isinstance(expected[:1], type):
        assert type(found) is type(expected), (label, found)
        assert len(found) == len(expected), (label, found)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other, label)
        return
    assert type(found) is type(expected), (label, found)
    if isinstance(expected, np.ndarray | np.generic):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), label
        if expected.dtype.hasobject:
            assert found.tolist() == expected.tolist(), (label, found, expected)
        else:
            assert found.tobytes() == expected.tobytes(), (label, found, expected)
    else:
        assert found == expected or found != found, (label, found, expected)


CALLS = {
    "copy": lambda x: x.copy(),
    "copy F": lambda x: x.copy(order="F"),
    "copy of no order": lambda x: x.copy("Z"),
    "astype": lambda x: x.astype("f8"),
    "astype safe": lambda x: x.astype("i1", casting="safe"),
    "astype without copy": lambda x: x.astype(x.dtype, copy=False),
    "astype F": lambda x: x.astype("c16", "F"),
    "mean": lambda x: x.mean(),
    "mean axis": lambda x: x.mean(axis=0, keepdims=True),
    "mean dtype": lambda x: x.mean(-1, dtype="f4"),
    "std": lambda x: x.std(axis=-1, ddof=1),
    "var": lambda x: x.var(ddof=0),
    "var where": lambda x: x.var(where=np.ones(x.shape, bool)),
    "cumsum": lambda x: x.cumsum(),
    "cumsum axis": lambda x: x.cumsum(axis=0, dtype="f8"),
    "cumprod": lambda x: x.cumprod(-1),
    "trace": lambda x: x.trace(),
    "dot": lambda x: x.dot(np.ones(x.shape[-1:], x.dtype)),
    "dot of other length": lambda x: x.dot(np.ones(99)),
    "round": lambda x: x.round(1),
    "clip": lambda x: x.clip(1, 3),
    "clip nothing": lambda x: x.clip(),
    "conj": lambda x: x.conj(),
    "conjugate": lambda x: x.conjugate(),
    "argsort": lambda x: x.argsort(kind="stable"),
    "argsort all": lambda x: x.argsort(axis=None, kind="stable"),
    "argsort of no axis": lambda x: x.argsort(axis=9),
    "argpartition": lambda x: x.argpartition(0).shape,
    "nonzero": lambda x: x.nonzero(),
    "searchsorted": lambda x: x.searchsorted(x.reshape(-1)[:1], side="right"),
    "choose": lambda x: x.choose([x] * 7),
    "compress": lambda x: x.compress([True, False], axis=0),
    "repeat": lambda x: x.repeat(2, axis=0),
    "repeat all": lambda x: x.repeat(3),
    "reshape": lambda x: x.reshape(-1, 1),
    "reshape to another size": lambda x: x.reshape(7, 11),
    "ravel": lambda x: x.ravel(),
    "ravel F": lambda x: x.ravel("F"),
    "flatten": lambda x: x.flatten(),
    "flatten F": lambda x: x.flatten(order="F"),
    "transpose": lambda x: x.transpose(),
    "transpose axes": lambda x: x.transpose(1, 0),
    "transpose tuple": lambda x: x.transpose((0, 2, 1)),
    "swapaxes": lambda x: x.swapaxes(0, -1),
    "squeeze": lambda x: x.squeeze(),
    "squeeze axis": lambda x: x.squeeze(axis=1),
    "diagonal": lambda x: x.diagonal(),
    "byteswap": lambda x: x.byteswap(),
    "getfield": lambda x: x.getfield("u1"),
    "tolist": lambda x: x.tolist(),
    "tobytes": lambda x: x.tobytes(),
    "tobytes F": lambda x: x.tobytes("F"),
    "bytes": lambda x: bytes(x) if isinstance(x, LazyArray) else x.tobytes(),
    "item": lambda x: x.item(),
    "item 1": lambda x: x.item(1),
    "item -1": lambda x: x.item(-1),
    "item of two": lambda x: x.item(1, 0),
    "item of a tuple": lambda x: x.item((0, 1)),
    "item out of range": lambda x: x.item(99),
    "item of text": lambda x: x.item("a"),
    "view": lambda x: x.view("u1"),
    "view of another size": lambda x: x.view("S7"),
    "view of the same": lambda x: x.view(),
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "real": lambda x: x.real,
    "imag": lambda x: x.imag,
    "flat": lambda x: list(x.flat),
    "strides": lambda x: x.strides if x.size else None,  # of no elements they are arbitrary
    "device": lambda x: x.device,
    "to another device": lambda x: x.to_device("gpu"),
    "to_device": lambda x: np.asarray(x.to_device("cpu")),
    "np.mean": lambda x: np.mean(x, axis=0),
    "np.std": lambda x: np.std(x),
    "np.cumsum": lambda x: np.cumsum(x, axis=0),
    "np.argsort": lambda x: np.argsort(x, axis=0, kind="stable"),
    "np.take": lambda x: np.take(x, [0, 0]),
    "np.squeeze": lambda x: np.squeeze(x),
    "np.clip": lambda x: np.clip(x, 1, 2),
    "np.round": lambda x: np.round(x),
    "np.real": lambda x: np.real(x),
    "np.nonzero": lambda x: np.nonzero(x),
    "np.sort": lambda x: np.sort(x, axis=None),
    "np.partition": lambda x: np.partition(x, 0, axis=None).shape,
    "np.resize": lambda x: np.resize(x, (2, 3)),
    "np.count_nonzero": lambda x: np.count_nonzero(x),
    "np.ravel": lambda x: np.ravel(x),
    "np.copy": lambda x: np.copy(x),
    "np.dot": lambda x: np.dot(x, 2),
    "complex": complex,
    "float": float,
    "index": operator.index,
    "format": lambda x: f"{x:>4}",
}


@for_each("hole", HOLES)
@for_each("dtype", DTYPES)
def test_methods_return_and_raise_what_numpy_does(store, dtype, hole):
    for shape in SHAPES:
        lazy, array = mapped(store, made(shape, dtype), HOLES[hole])
        for name, call in CALLS.items():
            expected = outcome(lambda call=call, array=array: call(array))
            found = outcome(lambda call=call, lazy=lazy: call(lazy))
            assert_same(found, expected, (shape, name))


def test_methods_of_structs(store):
    struct = np.zeros(5, [("a", "i4"), ("b", "f8", (2,))])
    struct["a"] = range(5)
    for hole in HOLES.values():
        lazy, array = mapped(store, struct, hole)
        for name in (
            "tolist",
            "tobytes",
            "copy",
            "item 1",
            "ravel",
            "flatten",
            "view",
            "strides",
        ):
            call = CALLS[name]
            assert_same(call(lazy), call(array), name)
        assert_same(
            outcome(lambda lazy=lazy: lazy.sum()), outcome(lambda a=array: a.sum()), "sum"
        )


VIEWS = {
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "real": lambda x: x.real,
    "imag": lambda x: x.imag,
    "reshape": lambda x: x.reshape(-1),
    "ravel": lambda x: x.ravel(),
    "transpose": lambda x: x.transpose(),
    "squeeze": lambda x: x.squeeze(),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "view": lambda x: x.view("f4"),
    "view of a subclass": lambda x: x.view(np.recarray),
    "diagonal": lambda x: x.diagonal(),
    "getfield": lambda x: x.getfield("f4"),
    "astype": lambda x: x.astype("c8", copy=False),
    "data": lambda x: np.asarray(x.data),
    "flat": lambda x: x.flat.base,
}


def test_views_are_read_only_and_share_the_pages(store):
    lazy, array = mapped(store, np.arange(12, dtype="c8").reshape(4, 3), [])
    before = contents()
    for name, view in VIEWS.items():
        found = view(lazy)
        assert isinstance(found, np.ndarray), name
        assert not found.flags.writeable, name
        first = address(view(array)) - address(array)
        assert shares_pages(address(found), address(np.asarray(lazy)) + first), name
        with pytest.raises(ValueError, match="WRITEABLE|writeable"):
            found.flags.writeable = True
    import ctypes

    ctypes.memset(address(lazy.ravel()), 0xFF, lazy.nbytes)  # as a framework may
    assert np.array_equal(lazy, array)
    assert np.array_equal(lazy.sum(axis=0), array.sum(axis=0))
    assert contents() == before


@for_each("hole", HOLES)
def test_copies_are_independent(store, hole):
    lazy, array = mapped(store, np.arange(15.0).reshape(5, 3), HOLES[hole])
    copies = {
        "copy": lazy.copy(),
        "copy F": lazy.copy("F"),
        "astype": lazy.astype("f8"),
        "astype to another": lazy.astype("f4"),
        "flatten": lazy.flatten(),
        "round": lazy.round(),
        "clip": lazy.clip(0, 99),
        "copied": lazy.copied(),
    }
    for name, found in copies.items():
        assert found.flags.writeable, name
        found[...] = -1
    assert np.array_equal(lazy, array)


@for_each("hole", HOLES)
def test_flags_and_base_are_those_of_the_view(store, hole):
    lazy, array = mapped(store, np.arange(15.0).reshape(5, 3), HOLES[hole])
    for flag in ("C_CONTIGUOUS", "F_CONTIGUOUS", "ALIGNED", "WRITEBACKIFCOPY"):
        assert lazy.flags[flag] == array.flags[flag], flag
    assert not lazy.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE|writeable"):
        lazy.flags.writeable = True
    if lazy.obstacle() is None:
        assert lazy.base is not None
        assert lazy.ctypes.data == lazy.ctypes.data == address(np.asarray(lazy))
    else:
        assert lazy.base is None


IN_PLACE = {
    "sort": lambda x: x.sort(),
    "partition": lambda x: x.partition(1),
    "fill": lambda x: x.fill(0),
    "put": lambda x: x.put([0], [1]),
    "resize": lambda x: x.resize((2, 2)),
    "setfield": lambda x: x.setfield(1, "f8"),
    "setflags": lambda x: x.setflags(write=True),
    "item assignment": lambda x: operator.setitem(x, 0, 1),
    "out": lambda x: x.round(out=x),
    "out of a reduction": lambda x: x.sum(0, out=x),
}


@for_each("name", IN_PLACE)
@for_each("hole", HOLES)
def test_methods_that_work_in_place_are_refused(store, hole, name):
    lazy, array = mapped(store, np.arange(15.0).reshape(5, 3), HOLES[hole])
    with pytest.raises(UnsupportedError, match="cannot be written; ") as caught:
        IN_PLACE[name](lazy)
    assert caught.value.fix
    assert np.array_equal(lazy, array)


@for_each("hole", HOLES)
def test_tofile_writes_the_elements(store, tmp_path, hole):
    lazy, array = mapped(store, np.arange(15.0).reshape(5, 3), HOLES[hole])
    lazy.tofile(tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == array.tobytes()


def test_memory_is_exported_as_a_buffer(store):
    for dtype in DTYPES[:8]:
        lazy, array = mapped(store, made((5, 3), dtype), [])
        view = memoryview(lazy)
        assert view.readonly
        assert (view.shape, view.format) == (array.shape, memoryview(array).format)
        assert bytes(view) == bytearray(lazy) == bytes(lazy) == array.tobytes()
        assert io.BytesIO(lazy).read() == array.tobytes()
        shared = np.asarray(view)
        del lazy, view
        assert np.array_equal(shared, array)
    lazy, _ = mapped(store, made((5, 3), "M8[s]"), [])
    with pytest.raises(BufferError, match=r"np.asarray\(lazy\)"):
        memoryview(lazy)
    lazy, _ = mapped(store, made((5, 3), "f8"), [1])
    with pytest.raises(BufferError, match=r"rows were deleted.*lazy.copy\(\)"):
        memoryview(lazy)
    with pytest.raises(AttributeError, match=r"rows were deleted.*lazy.copy\(\)"):
        lazy.__array_interface__  # noqa: B018


class Interface:
    """Has the array interface of a lazy array, as a consumer sees it."""

    def __init__(self, lazy: LazyArray) -> None:
        self.lazy = lazy
        self.__array_interface__ = lazy.__array_interface__


def test_array_interface_outlives_the_pages_of_later_views(store):
    lazy, array = mapped(store, np.arange(15.0).reshape(5, 3), [])
    import ctypes

    held = []
    for _ in range(3):
        consumer = Interface(lazy)
        found = np.asarray(consumer)
        assert not found.flags.writeable
        assert np.array_equal(found, array)
        ctypes.memset(address(found), 0xFF, found.nbytes)  # later views get other pages
        held.append(consumer)
    for consumer in held:
        assert np.isnan(np.asarray(consumer)).all()
    assert np.array_equal(lazy, array)
