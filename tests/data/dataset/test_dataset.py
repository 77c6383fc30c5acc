"""`Dataset` with NumPy as its target: samples, batches, refusals, pickles."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from support.each import for_each

import numpack
import numpack.data.dataset.dataset
from numpack import NumPack
from numpack.data import Dataset, collate

X, Y = np.arange(3000.0).reshape(1000, 3), np.arange(1000)
INDEXES = [[], [5], [0, 999, 3], [-1, 0, 0], list(range(999, -1, -1))]


@pytest.fixture
def npk():
    with NumPack("s.npk") as store:
        store.save({"x": X, "y": Y})
        yield store


def arrays_of_all_kinds():
    fields = np.zeros(1000, [("a", "i4"), ("b", "f8", 2)])
    fields["a"] = Y
    return {
        "structured": fields,
        "bytes": Y.astype("S4"),
        "str": Y.astype("U4"),
        "bool": Y % 3 == 0,
        "complex": X.astype("c8"),
        "big_endian": X.astype(">f4"),
        "datetime": Y.astype("M8[s]"),
        "empty_rows": np.zeros((1000, 0, 2)),
    }


@for_each("indexes", INDEXES)
def test_batches_have_the_rows(npk, indexes):
    dataset = Dataset(npk, target="numpy")
    assert len(dataset) == 1000
    for batch in (collate(dataset.__getitems__(indexes)), dataset[indexes]):
        assert np.array_equal(batch["x"], X[indexes])
        assert np.array_equal(batch["y"], Y[indexes])
        assert all(each.ctypes.data % 64 == 0 for each in batch.values() if each.size)
        assert all(each.flags.writeable for each in batch.values())


@for_each("name", arrays_of_all_kinds())
def test_arrays_of_any_dtype_are_gathered(npk, name):
    array = arrays_of_all_kinds()[name]
    npk.save({name: array})
    for source in (npk, {name: array}):
        dataset = Dataset(source, name, target="numpy")
        found = dataset[[3, -1, 3]]
        assert found.dtype == (array.dtype if source is not npk else npk.load(name).dtype)
        assert np.array_equal(found, array[[3, -1, 3]])
        assert repr(dataset[7]) == repr(np.asarray(array, found.dtype)[7])


@for_each("kind", ["object", "StringDType", "strided"])
def test_arrays_that_numpy_alone_can_gather(kind):
    array = {
        "object": np.array([[1, "a"], [None, 2.5], [(), {}]], object),
        "StringDType": np.array(["a", "long" * 20, ""], np.dtypes.StringDType()),
        "strided": X[:3, ::2],
    }[kind]
    dataset = Dataset({"x": array}, "x", target="numpy")
    assert np.array_equal(dataset[[2, -2]], array[[2, -2]])
    with pytest.raises(numpack.IndexRangeError):
        dataset[[3]]


def test_single_samples(npk):
    dataset = Dataset(npk, ["y", "x"], target="numpy")
    for index in (3, np.int32(3), np.uint8(3), np.array(3), -997):
        sample = dataset[index]
        assert list(sample) == ["y", "x"]
        assert sample["y"] == 3
        assert sample["y"].ndim == 0
        assert np.array_equal(sample["x"], X[3])
    assert np.array_equal(Dataset(npk, "x", target="numpy")[-1], X[-1])


def test_iteration_ends_with_the_rows():
    assert [int(y) for y in Dataset({"y": Y[:5]}, "y", target="numpy")] == [0, 1, 2, 3, 4]


def test_slices_masks_and_arrays_give_batches(npk):
    dataset = Dataset(npk, "x", target="numpy")
    assert np.array_equal(dataset[2:900:7], X[2:900:7])
    assert np.array_equal(dataset[Y % 2 == 0], X[::2])
    assert np.array_equal(dataset[np.array([4, 2], "u2")], X[[4, 2]])
    assert np.array_equal(dataset[4, 2], X[[4, 2]])


@for_each("index", [1000, -1001, 2**70, [0, 1000], [-1001], [2**70], np.array([2**63], "u8")])
def test_out_of_range(npk, index):
    for source in (npk, {"x": X}):
        dataset = Dataset(source, "x", target="numpy")
        with pytest.raises(numpack.IndexRangeError) as caught:
            dataset[index]
        assert isinstance(caught.value, IndexError)
        if isinstance(index, list):
            with pytest.raises(numpack.IndexRangeError):
                dataset.__getitems__(index)


@for_each("index", [1.0, "x", None, True, [1.5], [[1]], ["x"], np.zeros((2, 2), int), [1, [2]]])
def test_other_indexes_are_refused(npk, index):
    dataset = Dataset(npk, "x", target="numpy")
    with pytest.raises(numpack.InvalidIndexError):
        dataset[index]


def test_one_gather_for_each_array_and_batch(npk, monkeypatch):
    calls = []
    take = numpack.data.dataset.dataset.take_rows
    monkeypatch.setattr(
        numpack.data.dataset.dataset,
        "take_rows",
        lambda array, rows: calls.append(len(rows)) or take(array, rows),
    )
    dataset = Dataset(npk, target="numpy")
    collate(dataset.__getitems__(list(range(256))))
    assert calls == [256, 256]


def test_rows_are_those_of_the_construction(npk):
    dataset = Dataset(npk, target="numpy")
    npk.append({"x": X[:1], "y": Y[:1]})
    npk.drop("x", [0, 1])
    npk.save({"y": Y + 1})
    assert len(dataset) == 1000
    for found in (dataset, pickle.loads(pickle.dumps(dataset))):
        assert np.array_equal(found[:]["x"], X)
        assert np.array_equal(found[:]["y"], Y)
    npk.close()
    assert np.array_equal(dataset[[999]]["x"], X[[999]])


def test_replaced_rows_are_not_seen(npk):
    dataset = Dataset(npk, "y", target="numpy")
    for value in (-1, -2):
        npk.replace({"y": np.full(1000, value)}, slice(None))
        for each in (dataset, pickle.loads(pickle.dumps(dataset))):
            assert np.array_equal(each[:], Y)
    assert (Dataset(npk, "y", target="numpy")[:] == -2).all()


def test_dropped_rows_are_left_out(npk):
    npk.drop("x", [0, 500])
    npk.drop("y", [0, 500])
    kept = np.delete(Y, [0, 500])
    dataset = Dataset(npk, target="numpy")
    for each in (dataset, pickle.loads(pickle.dumps(dataset))):
        assert len(each) == 998
        assert np.array_equal(each[[0, -1, 499]]["x"], X[kept][[0, -1, 499]])
        assert np.array_equal(each[:]["y"], kept)


def test_pickle_is_small(npk):
    dataset = Dataset(npk, target="numpy")
    pickled = pickle.dumps(Dataset(npk, "x", target="numpy"))
    assert len(pickled) < 1000 + len(str(npk))
    again = pickle.loads(pickle.dumps(dataset))
    assert len(again) == 1000
    assert np.array_equal(again[3]["x"], X[3])
    assert again.__getitems__([1]).data["y"].tolist() == [1]


def double(batch):
    return batch["x"] * 2, {"y": {"z": batch["y"]}}, "of all"


def test_transform_sees_batches(npk):
    dataset = Dataset(npk, target="numpy", transform=double)
    x, _, text = collate(dataset.__getitems__([4, 2]))
    assert np.array_equal(x, X[[4, 2]] * 2)
    assert text == "of all"
    sample = dataset[2]
    assert np.array_equal(sample[0], X[2] * 2)
    assert sample[1:] == ({"y": {"z": 2}}, "of all")
    assert list(dataset.__getitems__([4, 2]))[1][1] == {"y": {"z": 2}}
    assert pickle.loads(pickle.dumps(dataset))[2][1] == {"y": {"z": 2}}
    with pytest.raises(numpack.WrongTypeError, match="a function, got int"):
        Dataset(npk, transform=3, target="numpy")


def test_construction_refuses(npk):
    npk.save({"long": np.zeros(1001)})
    with pytest.raises(numpack.InvalidValueError, match="'long' has 1,001"):
        Dataset(npk, target="numpy")
    with pytest.raises(numpack.NotFoundError, match="Dataset: there is no array 'z'"):
        Dataset(npk, "z", target="numpy")
    with pytest.raises(ValueError, match="frobnicate"):
        Dataset(npk, "x", target="frobnicate")


def test_path_is_not_held_open(npk, tmp_path):
    dataset = Dataset(str(tmp_path / "s.npk"), "y", target="numpy")
    with NumPack("s.npk", mode="w") as emptied:
        assert len(emptied) == 0
    assert np.array_equal(dataset[[1, 0]], [1, 0])
    assert repr(dataset) == "Dataset(1,000 rows of y)"
