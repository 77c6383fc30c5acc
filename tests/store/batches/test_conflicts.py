"""Batches beside other writers: conflicts are detected, and no commit is overwritten."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from numpack import ConflictError, NumPack, StoreError

ROWS = np.arange(1.0, 13.0).reshape(6, 2)
CHANGES = {
    "append": "n.append({'x': np.ones((1, 2))})",
    "replace": "n.replace({'x': np.full((1, 2), 77.0)}, [2])",
    "save": "n.save({'x': np.zeros((6, 2))})",
    "save of the same values": "n.save({'x': n['x']})",
    "drop of rows": "n.drop('x', [1])",
    "drop": "n.drop('x')",
    "update": "(n.drop('x', [1]), n.update('x'))",
    "clone over": "(n.clone('x', 'w'), n.drop('x'), n.clone('w', 'x'))",
    "reset": "n.reset()",
    "batch": "change_in_batch(n)",
}


def change_in_batch(store: NumPack) -> None:
    with store.batch_mode():
        store.load("x")[3] = 5


def by_another_handle(code: str) -> None:
    with NumPack("s.npk") as n:
        eval(code, {"n": n, "np": np, "change_in_batch": change_in_batch})


def by_another_thread(code: str) -> None:
    thread = threading.Thread(target=by_another_handle, args=(code,))
    thread.start()
    thread.join()


def by_another_process(code: str) -> None:
    if code == CHANGES["batch"]:
        code = "n.save({'x': np.full((6, 2), 5.0)})"
    lines = (
        "import numpy as np\nfrom numpack import NumPack\nwith NumPack('s.npk') as n: " + code
    )
    subprocess.run([sys.executable, "-c", lines], check=True, timeout=60)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "y": ROWS, "z": np.array(5)})
        yield opened


def current_bytes() -> dict[str, bytes]:
    with NumPack("s.npk", mode="r") as other:
        assert other.verify().ok
        return {name: array.tobytes() for name, array in other.items()}


def refresh(store: NumPack) -> None:
    store.reset()
    store.save({"x": ROWS, "y": ROWS, "z": np.array(5)})


@pytest.mark.parametrize("other", [by_another_handle, by_another_thread, by_another_process])
def test_concurrent_change_is_kept_and_raises_a_conflict(store, other):
    is_handle = other is by_another_handle
    changes = CHANGES if is_handle else dict([*CHANGES.items()][:3:2])
    for code in changes.values():
        for saved in (False, True) if is_handle else (False,):
            refresh(store)
            expected: list[dict[str, bytes]] = []

            def block(code=code, saved=saved, expected=expected):
                with store.batch_mode():
                    x = store.load("x")
                    x[0] = 100
                    if saved:
                        store.save({"x": x * 2})
                    other(code)
                    expected.append(current_bytes())
                    store.save({"new": ROWS[:1]})

            with pytest.raises(ConflictError, match="'x' (was|had)") as raised:
                block()
            assert list(raised.value.arrays) == ["x"]
            assert raised.value.arrays["x"][0, 0] == (200 if saved else 100)
            assert current_bytes() == {**expected[0], "new": ROWS[:1].tobytes()}
            store.sync()  # nothing is left to be written
            store.save(raised.value.arrays)
            assert store["x"][0, 0] == (200 if saved else 100)


def test_save_of_an_array_never_loaded_conflicts_too(store):
    def block(code):
        with store.batch_mode():
            store.save({"new": ROWS})
            by_another_handle(code)

    with pytest.raises(ConflictError, match="'new' was saved"):
        block("n.save({'new': np.zeros(1)})")
    assert store["new"].tolist() == [0]
    with pytest.raises(ConflictError, match="'new' was dropped"):
        block("n.drop('new')")
    assert "new" not in store


def test_conflict_of_an_early_write_is_raised(store):
    def block():
        with store.batch_mode(memory_limit=0):
            x = store.load("x")
            x[0] = -1
            by_another_handle(CHANGES["append"])
            store.load("y")[0] = -2

    with pytest.raises(ConflictError, match="'x' had rows appended"):
        block()
    assert store["x"].shape == (7, 2)

    def save_twice():
        with store.batch_mode(memory_limit=0):
            store.save({"x": -store.load("x")})
            by_another_handle(CHANGES["replace"])
            store.save({"x": -ROWS})

    with pytest.raises(ConflictError):
        save_twice()
    assert store["x"][2].tolist() == [77, 77]


def test_conflict_at_close_leaves_the_store_closed(store):
    with store.batch_mode():
        store.load("x")[0] = -1
        by_another_handle(CHANGES["append"])
        with pytest.raises(ConflictError):
            store.close()
        assert store.is_closed
    store.open()
    assert store["x"].shape == (7, 2)


def test_exception_in_the_block_is_the_context_of_the_conflict(store):
    def block():
        with store.batch_mode():
            store.load("x")[0] = -1
            by_another_handle(CHANGES["append"])
            raise ZeroDivisionError

    with pytest.raises(ConflictError) as raised:
        block()
    assert isinstance(raised.value.__context__, ZeroDivisionError)


def test_calls_through_the_same_handle_do_not_conflict(store):
    with store.batch_mode():
        x = store.load("x")
        x[0] = 1
        store.append({"x": ROWS})
        store.load("x")[1] = 2
        store.replace({"x": ROWS[:1]}, 0)
        store.load("x")[2] = 3
        store.drop("x", [0])
        store.load("x")[2] = 4
        list(store)
        store.load("x")[3] = 5
        store.load("x", lazy=True)
        store.load("x")[4] = 6
        store.drop("y")
        store.save({"y": ROWS.copy()})
        store.sync()
        store.load("y")[0] = 7
    assert store["x"][:5, 0].tolist() == [2, 3, 4, 5, 6]
    assert store["y"][0, 0] == 7


def test_two_batches_of_the_same_array_conflict(store):
    def blocks():
        with NumPack("s.npk") as other, store.batch_mode(), other.batch_mode():
            store.load("x")[0] = 1
            other.load("x")[1] = 2

    with pytest.raises(ConflictError):
        blocks()
    assert store["x"][:2, 0].tolist() == [1, 2]  # the first row was 1 before, too


@pytest.mark.parametrize("change", ["append", "replace", "drop of rows", "update"])
def test_concurrent_row_changes_and_writes_in_place_are_both_kept(store, change):
    with store.writable_batch_mode() as batch:
        view = batch.load("x")
        view[0] = -1
        by_another = by_another_process if change == "update" else by_another_handle
        by_another(CHANGES[change])
        view[5] = -2
    expected = ROWS.copy()
    expected[0], expected[5] = -1, -2
    if change == "append":
        expected = np.concatenate([expected, np.ones((1, 2))])
    elif change == "replace":
        expected[2] = 77
    else:
        expected = np.delete(expected, 1, 0)
    assert np.array_equal(store["x"], expected)
    report = store.verify()
    assert report.ok
    assert not report.unchecked
    store.update("x")
    assert np.array_equal(store["x"], expected)
    assert store.get_metadata()["arrays"]["x"]["size_bytes"] == expected.nbytes


@pytest.mark.parametrize("change", ["save", "drop", "reset", "clone over"])
def test_writes_in_place_to_a_removed_file_raise_a_conflict(store, change):
    def block(views):
        with store.writable_batch_mode() as batch:
            view = batch.load("x")
            views.append(view)
            by_another_handle(CHANGES[change])
            view[0] = -1
            batch.save({"x": view})

    views: list[np.ndarray] = []
    with pytest.raises(ConflictError, match="'x' was dropped or saved again") as raised:
        block(views)
    assert raised.value.arrays["x"] is views[0]
    store.save(raised.value.arrays)
    assert store["x"][0].tolist() == [-1, -1]
    assert store.verify().ok


def test_own_drop_conflicts_only_with_later_writes_to_the_view(store):
    with store.writable_batch_mode() as batch:
        batch.load("x")[0] = -1
        store.drop("x")
    assert "x" not in store
    refresh(store)
    with store.writable_batch_mode() as batch:
        view = batch.load("x")
        store.save({"x": -view})
        again = batch.load("x")
        assert again is not view
        again[0] = 9
    assert store["x"][0].tolist() == [9, 9]

    def block():
        with store.writable_batch_mode() as batch:
            view = batch.load("x")
            store.reset()
            view[0] = 3

    with pytest.raises(ConflictError):
        block()


def test_conflict_is_raised_although_the_store_was_closed_in_the_block(store):
    def block():
        with store.writable_batch_mode() as batch:
            view = batch.load("x")
            store.close()
            by_another_handle(CHANGES["drop"])
            view[0] = 3

    with pytest.raises(ConflictError):
        block()


def test_array_with_dropped_rows_is_refused_while_open_elsewhere(store):
    with NumPack("s.npk") as other, store.writable_batch_mode() as batch:
        batch.load("x")
        other.drop("x", [0])
        refused = pytest.raises(StoreError, match="open in another writable_batch_mode")
        with other.writable_batch_mode() as second, refused:
            second.load("x")
    with store.writable_batch_mode() as batch:
        assert batch.load("x").shape == (5, 2)


def test_batch_mode_conflicts_with_writes_in_place(store):
    def block():
        with NumPack("s.npk") as other, store.batch_mode():
            store.load("x")[0] = 1e3
            with other.writable_batch_mode() as batch:
                batch.load("x")[1] = 2e3

    with pytest.raises(ConflictError, match="'x' had rows replaced in place"):
        block()
    assert store["x"][:2, 0].tolist() == [1, 2e3]
