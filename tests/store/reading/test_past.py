"""`NumPack(path, at=commit)`: the rows as they were, or an error that says why not."""

from __future__ import annotations

import copy
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each

from numpack import MovedError, NumPack, StoreError
from numpack.errors import (
    CommitNotFoundError,
    CommitWarning,
    CorruptStoreError,
    InvalidValueError,
    NotFoundError,
    StoreClosedError,
    WrongTypeError,
)

ROWS = np.arange(3000.0).reshape(1000, 3)


@pytest.fixture
def history(store):
    """Return a store, and for each of its commits what it contained then."""
    contents = {store.commit: {}}

    def note() -> None:
        contents[store.commit] = {name: store.load(name) for name in store}

    store.save({"x": ROWS[:10]})
    note()
    for start in range(10, 200, 10):
        store.append({"x": ROWS[start : start + 10]})
        note()
        store.drop("x", [0, 5])
        note()
    store.save({"y": np.arange(5), "z": ROWS[:2]})
    note()
    return store, contents


def past(commit: int) -> NumPack:
    store = NumPack("s.npk", at=commit)
    store.open()
    return store


def reason_of(call) -> str:
    with pytest.raises(MovedError) as caught:
        call()
    assert "as of commit" in str(caught.value)
    return caught.value.reason


def test_every_commit_is_read_as_it_was(history):
    store, contents = history
    assert sorted(contents) == list(range(store.commit + 1))
    for commit, arrays in contents.items():
        with past(commit) as then:
            assert then.commit == commit
            assert list(then) == list(arrays)
            assert then.verify().ok
            for name, expected in arrays.items():
                assert then.get_shape(name) == expected.shape
                assert np.array_equal(then[name], expected)
                assert np.array_equal(then.load(name, lazy=True), expected)
                assert np.array_equal(then.getitem(name, [0, -1]), expected[[0, -1]])
                assert np.array_equal(np.concatenate(list(then.stream_load(name, 3))), expected)
                assert np.array_equal(then.load(name, verify=True), expected)
                assert then._snapshot().commit == commit


def test_later_commits_are_not_seen(history):
    store, contents = history
    commit = store.commit
    then = past(commit)
    before = then.load("x", lazy=True)
    store.append({"x": ROWS[:50]})
    store.drop("x", [3])
    store.save({"new": ROWS})
    assert "new" not in then
    assert then.commit == commit
    assert np.array_equal(then["x"], contents[commit]["x"])
    assert np.array_equal(before, contents[commit]["x"])
    with pytest.raises(NotFoundError, match="new"):
        then.load("new")
    then.close()
    with pytest.raises(StoreClosedError):
        _ = then.commit


USES = {
    "load": lambda then: then.load("x"),
    "lazy": lambda then: then.load("x", lazy=True),
    "getitem": lambda then: then.getitem("x", [1]),
    "stream": lambda then: list(then.stream_load("x")),
    "share": lambda then: then.share("x", "numpy"),
    "snapshot": lambda then: then._snapshot(["x"]),
    "verified": lambda then: then.load("x", verify=True),
}
CHANGES = {
    "dropped": lambda store: store.drop("x"),
    "saved anew": lambda store: store.save({"x": ROWS}),
    "replaced in place": lambda store: store.replace({"x": ROWS[:1]}, [4]),
}


@for_each("use", USES)
@pytest.mark.parametrize("reason", CHANGES)
@pytest.mark.parametrize("is_loaded", [False, True])
def test_rows_that_are_gone_are_refused(tmp_path, use, reason, is_loaded):
    folder = tmp_path / use
    folder.mkdir()
    os.chdir(folder)
    with NumPack("s.npk") as store:
        store.save({"x": ROWS[:10], "y": ROWS})
        with past(store.commit) as then:
            if is_loaded:  # what is cached does not stand either
                USES[use](then)
            CHANGES[reason](store)
            assert reason_of(lambda: USES[use](then)) == reason
            assert then.get_shape("x") == (10, 3)
            assert np.array_equal(then["y"], ROWS)
        with past(store.commit - 1) as then:
            assert reason_of(lambda: USES[use](then)) == reason


def test_rewritten_and_writable_arrays_are_refused(store):
    store.save({"x": ROWS, "y": ROWS})
    store.drop("x", [1])
    before = store.commit
    store.update("x")
    then = past(before)
    assert reason_of(lambda: then["x"]) == "saved anew"
    with store.writable_batch_mode() as batch:
        batch.load("y")[0] = 5
        assert reason_of(lambda: then["y"]) in ("open for writing", "replaced in place")
        inside = past(store.commit)
        assert reason_of(lambda: inside["y"]) == "open for writing"


def test_commit_whose_replace_is_pending_is_read(history):
    """Rows of a replace are in the journal until they are in place."""
    store, _ = history
    store.replace({"x": ROWS[:2] - 7}, [0, 1])
    expected = store["x"]
    store.attrs.store["title"] = "t"
    store.replace({"x": ROWS[:2] - 8}, [0, 1])
    expected[:2] -= 1
    with past(store.commit) as then:
        assert np.array_equal(then["x"], expected)
        store.replace({"z": ROWS[:1]}, [0])
        assert np.array_equal(then["x"], expected)
    with past(store.commit - 1) as then:
        assert np.array_equal(then["x"], expected)
        assert dict(then.attrs.store) == {"title": "t"}
        assert reason_of(lambda: then["z"]) == "replaced in place"


def test_commits_before_a_compaction_are_refused(store):
    store.save({"x": ROWS[:0]})
    for _row in range(30_000):
        store.append({"x": ROWS[:1]})
    with pytest.raises(CommitNotFoundError, match="its log has the commits from") as caught:
        past(1)
    copied = pickle.loads(pickle.dumps(caught.value))
    assert copied.available == caught.value.available
    earliest = caught.value.available[0]
    assert 1 < earliest < store.commit == caught.value.available[-1]
    for commit in (earliest, earliest + 1, store.commit):
        with past(commit) as then:
            assert then.get_shape("x") == (commit - 1, 3)
    with pytest.raises(CommitNotFoundError, match=f"pass at={store.commit}"):
        past(earliest - 1)
    with pytest.raises(CommitNotFoundError):
        past(store.commit + 1)


def test_past_store_is_read_only(history):
    store, _ = history
    with past(store.commit) as then:
        for change in (
            lambda: then.save({"x": ROWS}),
            lambda: then.drop("x"),
            lambda: then.append({"x": ROWS}),
        ):
            with pytest.raises(StoreError, match="as of commit"):
                change()


@for_each(
    ("options", "error"),
    [
        *(({"mode": mode}, InvalidValueError) for mode in ("r+", "w", "x")),
        ({"upgrade": True}, InvalidValueError),
        ({"drop_if_exists": True}, InvalidValueError),
        ({"at": -1}, InvalidValueError),
        ({"at": "1"}, WrongTypeError),
        ({"at": True}, WrongTypeError),
        ({"at": 1.0}, WrongTypeError),
    ],
)
def test_arguments_that_contradict_are_refused(options, error):
    with pytest.raises(error):
        NumPack("s.npk", **{"at": 1, **options})
    assert not os.path.exists("s.npk")


def test_missing_store_is_not_created():
    with pytest.raises(StoreError):
        past(0)
    assert not os.path.exists("s.npk")


def test_damaged_lines_are_reported(history):
    store, contents = history
    newest = store.commit
    store.close()
    log = Path("s.npk/commits.log")
    lines = log.read_bytes().splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if line.startswith(b'{"commit":3,'))
    for wrong in (lines[number].replace(b"time", b"tIme"), b"\n", b"{}\n", b"\xff\n"):
        log.write_bytes(b"".join([*lines[:number], wrong, *lines[number + 1 :]]))
        with pytest.raises(CorruptStoreError, match="damaged"):
            past(4)
        with past(newest) as then:
            assert np.array_equal(then["y"], contents[newest]["y"])


def test_lazy_arrays_of_the_past_are_pickled(history):
    _, contents = history
    with past(5) as then:
        lazy = then.load("x", lazy=True)
        assert np.array_equal(pickle.loads(pickle.dumps(lazy)), contents[5]["x"])
        assert then._snapshot().arrays["x"].__dask_tokenize__() == lazy.__dask_tokenize__()


def test_handles_for_reading_are_unpickled_at_their_commit(history):
    store, contents = history
    reader = NumPack("s.npk", mode="r")
    reader.open()
    commit, pickled = store.commit, pickle.dumps(reader)
    store.append({"x": ROWS[:50]})
    assert reader.commit == commit + 1
    for each in (pickle.loads(pickled), pickle.loads(pickle.dumps(pickle.loads(pickled)))):
        assert each.commit == commit
        assert np.array_equal(each["x"], contents[commit]["x"])
        each.close()
    with past(5) as then, pickle.loads(pickle.dumps(then)) as again, copy.copy(then) as third:
        assert again.commit == third.commit == 5
        assert np.array_equal(again["x"], contents[5]["x"])
    reader.close()


def test_handles_for_writing_are_unpickled_at_the_newest_commit(history):
    store, _ = history
    pickled = pickle.dumps(store)
    store.append({"x": ROWS[:50]})
    with pickle.loads(pickled) as again:
        assert again.commit == store.commit
        again.append({"x": ROWS[:1]})


def test_handle_whose_commit_is_gone_is_unpickled_at_the_newest_with_a_warning(store):
    store.save({"x": ROWS[:0]})
    with NumPack("s.npk", mode="r") as reader:
        pickled = pickle.dumps(reader)
    for _row in range(30_000):
        store.append({"x": ROWS[:1]})
    with pytest.warns(CommitWarning, match=f"as of commit {store.commit}"):
        again = pickle.loads(pickled)
    assert again.commit == store.commit
    store.append({"x": ROWS[:1]})
    assert again.commit == store.commit
    again.close()


def test_newest_commit_is_no_reason_to_warn(store):
    store.save({"x": ROWS})
    with NumPack("s.npk", mode="r") as reader, warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(reader)).close()


def test_forked_child_reads_the_commit(history):
    _, contents = history
    with past(7) as then:
        child = os.fork()
        if child == 0:
            os._exit(0 if np.array_equal(then["x"], contents[7]["x"]) else 1)
        assert os.waitpid(child, 0)[1] == 0
