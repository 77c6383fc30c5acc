"""Opening a store: modes, options and durability; the mapping interface; progress."""

from __future__ import annotations

import gc
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from support.files import contents

from numpack import (
    InvalidValueError,
    NotAStoreError,
    NotFoundError,
    NumPack,
    StoreClosedError,
    StoreError,
    WrongTypeError,
)
from numpack.store.format import folder

ROWS = np.arange(12.0).reshape(6, 2)
MODES = ["a", "r", "r+", "w", "x"]


@pytest.fixture
def filled():
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "number": np.array(5)})
    return contents()


@pytest.fixture
def store(filled):
    with NumPack("s.npk") as opened:
        yield opened


def names(path: str = "s.npk", **options: object) -> list[str]:
    with NumPack(path, **options) as store:
        return store.get_member_list()


# Modes


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_with_a_missing_store(mode):
    if mode in ("r", "r+"):
        with pytest.raises(
            NotAStoreError, match="no store at .*mode='a', the default, creates"
        ):
            NumPack("new.npk", mode=mode).open()
        assert not Path("new.npk").exists()
    else:
        assert names("new.npk", mode=mode) == []
        assert Path("new.npk/numpack.json").exists()


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_with_an_existing_store(filled, mode):
    if mode == "x":
        with pytest.raises(NotAStoreError, match="there is a store at .* already"):
            NumPack("s.npk", mode=mode).open()
        assert contents() == filled
    else:
        assert names(mode=mode) == ([] if mode == "w" else ["x", "number"])


@pytest.mark.parametrize("before", [True, False])
def test_mode_x_refuses_a_store_created_meanwhile(monkeypatch, before):
    check = folder._check_creatable

    def create_meanwhile(path):
        monkeypatch.setattr(folder, "_check_creatable", check)
        if not before:
            check(path)
        with NumPack("s.npk") as other:
            other.save({"x": np.arange(3)})
        if before:
            check(path)

    monkeypatch.setattr(folder, "_check_creatable", create_meanwhile)
    with pytest.raises(NotAStoreError):
        NumPack("s.npk", mode="x").open()
    with NumPack("s.npk") as store:
        assert store.load("x").tolist() == [0, 1, 2]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_happens_before_open(filled, mode):
    store = NumPack("s.npk", mode=mode)
    NumPack("other.npk", mode=mode)
    assert store.is_closed
    assert contents() == filled
    assert not Path("other.npk").exists()


@pytest.mark.parametrize("mode", ["w", "x"])
def test_reopening_in_mode_w_or_x_keeps_the_arrays(mode):
    store = NumPack("new.npk", mode=mode)
    for number in range(3):
        with store:
            store.save({f"x{number}": ROWS})
    assert names("new.npk") == ["x0", "x1", "x2"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", ["file", "full"])
def test_no_mode_changes_a_path_that_is_not_a_store(path, mode):
    Path("file").write_bytes(b"mine")
    Path("full").mkdir()
    Path("full/mine").write_bytes(b"mine")
    for drops in {False, mode in "aw"}:
        with pytest.raises(NotAStoreError):
            NumPack(path, mode=mode, drop_if_exists=drops).open()
    assert Path("file").read_bytes() == Path("full/mine").read_bytes() == b"mine"
    assert os.listdir("full") == ["mine"]


@pytest.mark.parametrize("mode", MODES)
def test_drop_if_exists_with_each_mode(filled, mode):
    if mode in ("a", "w"):
        assert names(mode=mode, drop_if_exists=True) == []
    else:
        with pytest.raises(InvalidValueError, match=r"drop_if_exists=True is mode='w'"):
            NumPack("s.npk", mode=mode, drop_if_exists=True)
        assert contents() == filled


@pytest.mark.parametrize("mode", ["", "rw", "R", None, 0, "ab"])
def test_invalid_mode_is_refused(mode):
    with pytest.raises(
        InvalidValueError, match="mode must be one of 'a', 'r', 'r\\+', 'w', 'x'"
    ):
        NumPack("s.npk", mode=mode)


@pytest.mark.parametrize("durability", ["", "full", None, True])
def test_invalid_durability_is_refused(durability):
    with pytest.raises(InvalidValueError, match="durability must be 'process' or 'power'"):
        NumPack("s.npk", durability=durability)


@pytest.mark.parametrize("path", [b"s.npk", None, 5])
def test_path_of_wrong_type_is_refused(path):
    with pytest.raises(WrongTypeError, match="os.PathLike"):
        NumPack(path)


def test_old_parameters_are_accepted_by_position(filled):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with NumPack("s.npk", True, True, True, True) as store:
            assert list(store) == []


# Read-only and closed stores

MUTATIONS = {
    "save": lambda s: s.save({"y": ROWS}),
    "save of nothing": lambda s: s.save({}),
    "append": lambda s: s.append({"x": ROWS}),
    "replace": lambda s: s.replace({"x": ROWS[:1]}, 0),
    "drop": lambda s: s.drop("x"),
    "drop of rows": lambda s: s.drop("x", 0),
    "update": lambda s: s.update("x"),
    "clone": lambda s: s.clone("x", "y"),
    "reset": lambda s: s.reset(),
    "set": lambda s: s.__setitem__("y", ROWS),
    "del": lambda s: s.__delitem__("x"),
    "write in place": lambda s: write_in_place(s),
}


def write_in_place(store: NumPack) -> None:
    with store.writable_batch_mode() as batch:
        batch.load("x")


@pytest.mark.parametrize("call", MUTATIONS)
def test_read_only_store_refuses_every_change(filled, call):
    with NumPack("s.npk", mode="r") as store:
        with pytest.raises(StoreError, match=r"opened with mode='r'; open it with mode='r\+'"):
            MUTATIONS[call](store)
        assert np.array_equal(store.load("x"), ROWS)
    assert contents() == filled


@pytest.mark.parametrize("call", MUTATIONS)
def test_closed_store_refuses_every_change(filled, call):
    store = NumPack("s.npk")
    with pytest.raises(StoreClosedError, match="not opened or has been closed"):
        MUTATIONS[call](store)
    assert contents() == filled


READING = {
    "load": lambda s: s.load("x"),
    "verified load": lambda s: s.load("x", verify=True),
    "lazy load": lambda s: s.load("x", lazy=True),
    "getitem": lambda s: s.getitem("x", [0]),
    "stream_load": lambda s: list(s.stream_load("x")),
    "share": lambda s: s.share("x", "dlpack"),
    "verify": lambda s: s.verify(),
    "get_metadata": lambda s: s.get_metadata(),
    "items": lambda s: dict(s.items()),
    "batch_mode": lambda s: s.batch_mode().__enter__().load("x"),
}


@pytest.mark.parametrize("call", READING)
def test_reading_changes_no_file(filled, call):
    Path("s.npk/lock").unlink()
    before = contents()
    with NumPack("s.npk", mode="r") as store:
        READING[call](store)
    assert contents() == before


# Context manager and closing


def test_strict_store_requires_a_with_statement(filled):
    store = NumPack("s.npk", strict_context_mode=True)
    store.open()
    for call in [*READING.values(), *MUTATIONS.values(), len, iter, NumPack.get_io_stats]:
        with pytest.raises(StoreClosedError, match="strict context mode") as raised:
            call(store)
        assert "not opened or has been closed" in str(raised.value)
    assert contents() == filled
    with store:
        with store:
            assert len(store) == 2
        store.open()
        assert np.array_equal(store.load("x"), ROWS)
    with pytest.raises(StoreClosedError, match="strict context mode"):
        store.load("x")
    store.close()


def test_warning_without_a_with_statement_names_the_line_of_the_caller(filled):
    store = NumPack("s.npk", warn_no_context=True)
    with pytest.warns(UserWarning, match="strict context mode") as caught:
        store.open()
    assert [Path(each.filename) for each in caught] == [Path(__file__)]
    store.close()
    for option in (True, False, None):
        with NumPack("s.npk", warn_no_context=option) as quiet:
            assert quiet.is_opened
    silent = NumPack("s.npk")
    silent.open()
    silent.close()


@pytest.mark.parametrize(
    ("option", "argument", "collects"),
    [
        (False, None, False),
        (True, None, True),
        (False, True, True),
        (True, False, False),
    ],
)
def test_close_collects_garbage_on_request(monkeypatch, option, argument, collects):
    calls = []
    store = NumPack("s.npk", force_gc_on_close=option)
    store.open()
    monkeypatch.setattr(gc, "collect", lambda: calls.append(1))
    store.close(force_gc=argument)
    assert len(calls) == collects


def test_is_opened_and_is_closed_are_opposites():
    store = NumPack("s.npk")
    states = [(store.is_opened, store.is_closed)]
    with store:
        states.append((store.is_opened, store.is_closed))
    states.append((store.is_opened, store.is_closed))
    assert states == [(False, True), (True, False), (False, True)]


# Paths


class Pathlike:
    def __init__(self, path: str | bytes) -> None:
        self.path = path

    def __fspath__(self) -> str | bytes:
        return self.path


def test_path_like_objects_are_accepted(filled):
    assert names(Pathlike("s.npk")) == names(Path("s.npk")) == ["x", "number"]
    with pytest.raises(WrongTypeError, match="os.PathLike"):
        NumPack(Pathlike(b"s.npk"))


def test_relative_path_is_resolved_at_construction(filled, tmp_path):
    store = NumPack(Path("s.npk"))
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")
    with store:
        assert store.get_member_list() == ["x", "number"]
        assert store.get_metadata()["base_dir"] == "s.npk"
    with pickle.loads(pickle.dumps(store)) as again:
        assert again.get_member_list() == ["x", "number"]
    assert not os.listdir()


# Durability


def test_sync_of_a_store_that_is_not_open_is_refused(filled):
    with pytest.raises(StoreClosedError):
        NumPack("s.npk").sync()


# The mapping interface


def test_store_is_a_mapping_of_names_to_arrays(store):
    from collections.abc import Mapping

    assert isinstance(store, Mapping)
    assert len(store) == 2
    assert list(store) == list(store.keys()) == ["x", "number"]
    assert "x" in store
    assert store.keys() & {"x", "y"} == {"x"}
    assert all(each not in store for each in ("X", "", "y", 5, None, b"x"))
    assert np.array_equal(store["x"], ROWS)
    assert [name for name, _ in store.items()] == ["x", "number"]
    assert [array.shape for array in store.values()] == [(6, 2), ()]
    assert np.array_equal(store.get("x"), ROWS)
    assert store.get("nope") is None
    assert store.get("nope", 5) == 5
    assert {**store}.keys() == {"x", "number"}
    with pytest.raises(NotFoundError, match="'nope'; the arrays are: 'x', 'number'"):
        store["nope"]


def test_setitem_and_delitem(store):
    store["y"] = ROWS[:1]
    store["x"] = ROWS[:2]
    assert {name: array.shape for name, array in store.items()} == {
        "x": (2, 2),
        "number": (),
        "y": (1, 2),
    }
    del store["x"]
    assert list(store) == ["number", "y"]
    with pytest.raises(NotFoundError, match="'x'; the arrays are: 'number', 'y'") as raised:
        del store["x"]
    assert isinstance(raised.value, KeyError)


def test_stores_are_compared_by_identity(store):
    other = NumPack("s.npk")
    assert store == store
    assert store != other
    assert store != {}
    assert len({store, other, store}) == 2


def test_store_is_true_while_it_is_open():
    store = NumPack("s.npk")
    assert not store
    store.open()
    assert store
    assert len(store) == 0
    store.close()
    assert not store
    with pytest.raises(StoreClosedError):
        len(store)
    strict = NumPack("s.npk", strict_context_mode=True)
    assert not strict
    with strict:
        assert strict


def test_iteration_is_over_the_names_at_its_start(store):
    for name in store:
        store.save({f"{name} again": store[name]})
        store.drop(name)
    assert list(store) == ["x again", "number again"]
    for name, array in store.items():
        store[name] = array + 1
    assert np.array_equal(store["x again"], ROWS + 1)


def test_share_with_a_framework(store):
    buffer = store.share("x", "dlpack")
    assert np.array_equal(np.from_dlpack(buffer), ROWS)
    copied = store.share("x", "numpy", copy=True)
    copied[...] = 0
    assert np.array_equal(store.share("x", "numpy", copy=False), ROWS)
    with pytest.raises(InvalidValueError, match="no framework is called 'nope'"):
        store.share("x", "nope")
    with pytest.raises(NotFoundError, match="'nope'"):
        store.share("nope", "dlpack")


# Pickles


@pytest.mark.parametrize("mode", ["a", "r"])
@pytest.mark.parametrize("is_open", [False, True])
def test_pickle_keeps_the_options(filled, mode, is_open):
    options = {"force_gc_on_close": True, "durability": "power", "mode": mode}
    store = NumPack("s.npk", **options)
    if is_open:
        store.open()
    again = pickle.loads(pickle.dumps(store))
    assert again.is_opened == is_open
    with again:
        assert again._force_gc
        assert again._handle._durable
        if mode == "r":
            with pytest.raises(StoreError, match="mode='r'"):
                again.save({"y": ROWS})
        else:
            again.save({"y": ROWS})
    store.close()


@pytest.mark.parametrize("mode", ["w", "x"])
def test_pickle_of_mode_w_or_x_opens_the_existing_store(mode):
    store = NumPack("new.npk", mode=mode)
    unopened = pickle.dumps(store)
    with store:
        store.save({"x": ROWS})
        for pickled in (unopened, pickle.dumps(store)):
            with pickle.loads(pickled) as again:
                assert list(again) == ["x"]


def test_pickle_keeps_strict_context_mode(filled):
    again = pickle.loads(pickle.dumps(NumPack("s.npk", strict_context_mode=True)))
    with pytest.raises(StoreClosedError, match="strict context mode"):
        again.load("x")
    with again:
        assert np.array_equal(again.load("x"), ROWS)


# Progress

LARGE = np.arange(20_000_000.0 / 8)


def save_in_a_batch(store, progress):
    with store.batch_mode():
        store.save({"new": LARGE, "also": ROWS}, progress=progress)


def load_in_a_batch(store, progress):
    with store.batch_mode():
        store.load("large")
        store.load("large", progress=progress)


LONG = {
    "save": lambda s, p: s.save({"new": LARGE, "also": ROWS}, progress=p),
    "save of another byte order": lambda s, p: s.save({"new": LARGE.astype(">f8")}, progress=p),
    "save in a batch": save_in_a_batch,
    "load": lambda s, p: s.load("large", progress=p),
    "load in a batch": load_in_a_batch,
    "load where rows were dropped": lambda s, p: s.load("holed", progress=p),
    "clone": lambda s, p: s.clone("large", "new", progress=p),
    "update": lambda s, p: s.update("holed", progress=p),
    "verify": lambda s, p: s.verify(progress=p),
}
READS = ("load", "load in a batch", "load where rows were dropped", "verify")


@pytest.fixture
def large(store):
    store.save({"large": LARGE, "holed": LARGE})
    store.drop("holed", [5, 7])
    return store


@pytest.mark.parametrize("call", LONG)
def test_progress_increases_to_the_total(large, call):
    calls_made: list[tuple[int, int]] = []
    LONG[call](large, lambda done, total: calls_made.append((done, total)))
    total = calls_made[0][1]
    assert calls_made[-1] == (total, total)
    assert total > 0
    assert all(each[1] == total for each in calls_made)
    assert [done for done, _ in calls_made] == sorted({done for done, _ in calls_made})


class Stopped(Exception):
    pass


@pytest.mark.parametrize("at", [0.0, 1.0])
@pytest.mark.parametrize("call", LONG)
def test_exception_in_the_callback_leaves_the_store_unchanged(large, call, at):
    def stop(done: int, total: int) -> None:
        if done >= at * total:
            raise Stopped

    before = contents()
    with pytest.raises(Stopped):
        LONG[call](large, stop)
    assert contents() == before
    assert large.verify().ok
    LONG[call](large, None)
    assert large.verify().ok


# I/O statistics


def test_io_stats_count_commits_bytes_and_mappings():
    with NumPack("s.npk") as store:
        assert store.get_io_stats() == {
            "commits": 0,
            "bytes_read": 0,
            "bytes_written": 0,
            "mappings": 0,
        }
        store.save({"x": ROWS, "y": ROWS})
        stats = store.get_io_stats()
        assert stats["commits"] == 1
        assert 2 * ROWS.nbytes < stats["bytes_written"] < 2 * ROWS.nbytes + 1000
        store.load("x")
        assert store.get_io_stats()["bytes_read"] == ROWS.nbytes
        store.getitem("x", [0, 0, 1])
        assert store.get_io_stats()["bytes_read"] == ROWS.nbytes + 3 * 16
        for _ in range(3):
            store.load("y", lazy=True)
        assert store.get_io_stats()["mappings"] <= 2
        store.append({"x": ROWS})
        store.replace({"x": ROWS[:1]}, 0)
        store.drop("x", 0)
        store.drop("absent")
        store.save({})
        assert store.get_io_stats()["commits"] == 4
        store.get_io_stats()["commits"] = 99
        assert store.get_io_stats()["commits"] == 4
    with pytest.raises(StoreClosedError):
        store.get_io_stats()
