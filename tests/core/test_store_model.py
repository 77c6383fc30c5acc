"""The store compared with a dictionary in a stateful test."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from numpack import NumPack
from numpack.store.format.log import log

NAMES = st.sampled_from(["a", "A", "../b", "\ud800", "n" * 300])
DTYPES = st.sampled_from(["u1", "f4", "<i8", ">i8", "S3", "M8[us]", "?"])
ROW_SHAPES = st.sampled_from([(), (3,), (0,), (2, 2)])
COUNTS = st.integers(0, 4)
SEEDS = st.integers(0, 255)
HANDLES = st.integers(0, 1)


def rows(count: int, row_shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Return rows whose values depend on the seed."""
    shape = (count, *row_shape)
    numbers = (np.arange(np.prod(shape, dtype=int)) * 7 + seed) % 256
    return numbers.reshape(shape).astype("i8").astype(dtype)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether dtype (in native order), shape and bytes agree."""
    native = expected.astype(expected.dtype.newbyteorder("="))
    return (
        found.dtype == native.dtype
        and found.shape == native.shape
        and found.tobytes() == native.tobytes()
    )


class StoreBesideDictionary(RuleBasedStateMachine):
    """Two handles of one store, a dictionary, and lazy arrays that are kept to the end."""

    @initialize(compact_bytes=st.sampled_from([0, 300, 65536]))
    def create(self, compact_bytes):
        self.saved_compact_bytes, log._COMPACT_BYTES = log._COMPACT_BYTES, compact_bytes
        self.folder = Path(tempfile.mkdtemp())
        self.handles = [NumPack(self.folder / "s.npk") for _ in range(2)]
        for handle in self.handles:
            handle.open()
        self.model: dict[str, np.ndarray] = {}
        self.held: list[tuple[str, np.ndarray, np.ndarray]] = []

    def teardown(self):
        if hasattr(self, "folder"):
            log._COMPACT_BYTES = self.saved_compact_bytes
            for handle in self.handles:
                handle.close()
            shutil.rmtree(self.folder)
            self.check_held_arrays()

    def check_held_arrays(self):
        for _, lazy, values in self.held:
            assert same(np.asarray(lazy), values)

    @rule(
        handle=HANDLES,
        names=st.lists(NAMES, max_size=3, unique=True),
        count=COUNTS,
        row_shape=ROW_SHAPES,
        dtype=DTYPES,
        seed=SEEDS,
    )
    def save(self, handle, names, count, row_shape, dtype, seed):
        new = {
            name: rows(count, row_shape, dtype, seed + number)
            for number, name in enumerate(names)
        }
        self.handles[handle].save(new)
        self.model.update(new)

    @rule(handle=HANDLES, name=NAMES, seed=SEEDS)
    def save_0d(self, handle, name, seed):
        value = np.array(seed, "i4")
        self.handles[handle].save({name: value})
        self.model[name] = value

    @precondition(lambda self: any(array.ndim for array in self.model.values()))
    @rule(handle=HANDLES, data=st.data(), count=COUNTS, seed=SEEDS)
    def append(self, handle, data, count, seed):
        with_rows = sorted(name for name, array in self.model.items() if array.ndim)
        names = data.draw(st.lists(st.sampled_from(with_rows), min_size=1, unique=True))
        new = {
            name: rows(count, self.model[name].shape[1:], self.model[name].dtype.str, seed)
            for name in names
        }
        self.handles[handle].append(new)
        for name in names:
            self.model[name] = np.concatenate([self.model[name], new[name]])

    @rule(handle=HANDLES, names=st.lists(NAMES, max_size=3))
    def drop(self, handle, names):
        self.handles[handle].drop(names)
        for name in names:
            self.model.pop(name, None)

    @precondition(lambda self: self.model)
    @rule(handle=HANDLES, data=st.data())
    def append_of_wrong_rows_changes_nothing(self, handle, data):
        names = sorted(self.model)
        wrong = data.draw(st.sampled_from(names))
        new = {name: self.model[name][:1] if self.model[name].ndim else 1 for name in names}
        new = {name: np.asarray(array) for name, array in new.items()}
        new[wrong] = np.zeros((1, 9, 9, 9))
        try:
            self.handles[handle].append(new)
        except ValueError:
            return
        raise AssertionError("rows of another shape were appended")

    @precondition(lambda self: self.model)
    @rule(handle=HANDLES, data=st.data(), pickled=st.booleans())
    def hold_a_lazy_array(self, handle, data, pickled):
        name = data.draw(st.sampled_from(sorted(self.model)))
        lazy = self.handles[handle].load(name, lazy=True)
        if pickled:
            lazy = pickle.loads(pickle.dumps(lazy))
        self.held.append((name, lazy, self.model[name].copy()))

    @precondition(lambda self: any(len(array.shape) for array in self.model.values()))
    @rule(handle=HANDLES, data=st.data(), seed=SEEDS)
    def replace(self, handle, data, seed):
        with_rows = sorted(name for name, array in self.model.items() if array.ndim)
        name = data.draw(st.sampled_from(with_rows))
        array = self.model[name].copy()
        index = data.draw(self.rows_of(array))
        new = rows(len(index), array.shape[1:], array.dtype.str, seed)
        array[index] = new
        self.handles[handle].replace({name: new}, index)
        self.model[name] = array
        self.held = [each for each in self.held if each[0] != name]

    @precondition(lambda self: any(len(array.shape) for array in self.model.values()))
    @rule(handle=HANDLES, data=st.data())
    def drop_rows(self, handle, data):
        with_rows = sorted(name for name, array in self.model.items() if array.ndim)
        name = data.draw(st.sampled_from(with_rows))
        index = data.draw(self.rows_of(self.model[name]))
        self.handles[handle].drop(name, index)
        self.model[name] = np.delete(self.model[name], index, axis=0)

    @staticmethod
    def rows_of(array):
        if not len(array):
            return st.just(np.empty(0, np.int64))
        numbers = st.integers(-len(array), len(array) - 1)
        lists = st.lists(numbers, max_size=4, unique_by=lambda row: row % len(array))
        return lists.map(lambda index: np.array(index, np.int64))

    @precondition(lambda self: self.model)
    @rule(handle=HANDLES, data=st.data())
    def update(self, handle, data):
        name = data.draw(st.sampled_from(sorted(self.model)))
        self.handles[handle].update(name)

    @precondition(lambda self: self.model)
    @rule(handle=HANDLES, data=st.data(), new=NAMES)
    def clone(self, handle, data, new):
        source = data.draw(st.sampled_from(sorted(self.model)))
        if new not in self.model:
            self.handles[handle].clone(source, new)
            self.model[new] = self.model[source].copy()

    @rule(handle=HANDLES)
    def reset(self, handle):
        self.handles[handle].reset()
        self.model.clear()

    @rule(handle=HANDLES, data=st.data(), seed=SEEDS)
    def batch(self, handle, data, seed):
        with self.handles[handle].batch_mode() as batch:
            for name in sorted(self.model):
                array = batch.load(name)
                if array.size and data.draw(st.booleans()):
                    array[...] = rows(1, array.shape, self.model[name].dtype.str, seed)[0]
                    self.model[name] = array.astype(self.model[name].dtype)

    @rule(handle=HANDLES)
    def verify(self, handle):
        report = self.handles[handle].verify()
        assert report.ok, str(report)

    @precondition(lambda self: any(array.ndim for array in self.model.values()))
    @rule(handle=HANDLES, data=st.data(), index=st.slices(5) | st.integers(-1, 0))
    def getitem(self, handle, data, index):
        with_rows = sorted(name for name, array in self.model.items() if len(array.shape))
        name = data.draw(st.sampled_from(with_rows))
        array = self.model[name]
        if isinstance(index, int):
            index = [index] if len(array) else []
        expected = array[np.asarray(index, int) if isinstance(index, list) else index]
        assert same(self.handles[handle].getitem(name, index), expected)

    @rule(handle=HANDLES)
    def reopen(self, handle):
        self.handles[handle].close()
        self.handles[handle].open()

    @rule(handle=HANDLES)
    def replace_handle(self, handle):
        self.handles[handle].close()
        self.handles[handle] = NumPack(self.folder / "s.npk")
        self.handles[handle].open()

    @rule(handle=HANDLES)
    def drop_if_exists(self, handle):
        self.handles[handle].close()
        self.handles[handle] = NumPack(self.folder / "s.npk", drop_if_exists=True)
        self.handles[handle].open()
        self.model.clear()

    @rule()
    def write_torn_line_and_orphan(self):
        with (self.folder / "s.npk/commits.log").open("ab") as file:
            file.write(b'{"commit":')
        (self.folder / "s.npk/data/99999999-00000000.bin").write_bytes(b"orphan")

    @invariant()
    def both_handles_agree_with_the_dictionary(self):
        if not hasattr(self, "handles"):
            return
        for handle in self.handles:
            assert set(handle.get_member_list()) == set(self.model)
            metadata = handle.get_metadata()
            assert metadata["total_arrays"] == len(self.model)
            for name, array in self.model.items():
                assert same(handle.load(name), array)
                assert handle.get_shape(name) == array.shape
                assert metadata["arrays"][name]["size_bytes"] == array.nbytes

    @invariant()
    def held_arrays_never_change(self):
        if hasattr(self, "held"):
            self.check_held_arrays()


StoreBesideDictionary.TestCase.settings = settings(
    max_examples=250,
    stateful_step_count=40,
)
TestStoreBesideDictionary = StoreBesideDictionary.TestCase
