"""Files of an open store that are replaced by copies."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each

from numpack import LockTimeoutError, NumPack
from numpack.store import session

ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS})
        yield opened


def run_with_timeout(call, seconds=20):
    """Make a call on a thread and return its result or exception; fail if it does not end."""
    results = []

    def run():
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert results, "it waits for ever"
    return results[0]


def replace_by_copy(path):
    """Replace a file by a copy of itself."""
    shutil.copy2(path, f"{path}.copy")
    os.replace(f"{path}.copy", path)


REPLACED_FILES = {
    "lock": lambda: replace_by_copy("s.npk/lock"),
    "lock renamed": lambda: (os.rename("s.npk/lock", "old"), shutil.copy("old", "s.npk/lock")),
    "log": lambda: replace_by_copy("s.npk/commits.log"),
    "log renamed": lambda: (
        os.rename("s.npk/commits.log", "old"),
        shutil.copy("old", "s.npk/commits.log"),
    ),
    "data": lambda: [replace_by_copy(each) for each in Path("s.npk/data").iterdir()],
    "journal": lambda: replace_by_copy("s.npk/journal"),
    "all": lambda: [
        replace_by_copy(each) for each in Path("s.npk").rglob("*") if each.is_file()
    ],
}
CHANGES_AFTER = {
    "append": lambda s: s.append({"x": ROWS[:1]}),
    "append two": lambda s: s.append({"x": ROWS[:1], "y": ROWS}),
    "replace": lambda s: s.replace({"x": ROWS[:1] + 9, "y": ROWS[:1] - 9}, [1]),
    "drop rows": lambda s: s.drop("x", [1]),
    "drop rows of two": lambda s: s.drop(["x", "y"], [1]),
    "update": lambda s: s.update("x"),
    "save": lambda s: s.save({"x": ROWS + 4}),
}


@for_each("then", CHANGES_AFTER)
@for_each("what", REPLACED_FILES)
def test_open_handle_writes_to_replaced_files(what, then):
    shutil.rmtree("s.npk", ignore_errors=True)
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "y": ROWS})
        for call in CHANGES_AFTER.values():
            call(store)
        REPLACED_FILES[what]()
        CHANGES_AFTER[then](store)
        found = {name: store.load(name).tolist() for name in store}
        with NumPack("s.npk", mode="r") as other:
            assert {name: other.load(name).tolist() for name in other} == found
            assert other.verify().ok
            store.append({"y": ROWS})
            assert other.get_shape("y") == store.get_shape("y")
        if what.startswith("lock"):
            with NumPack("s.npk", lock_timeout=0) as third:

                def report(done, total):
                    error = run_with_timeout(lambda: third.save({"a": ROWS}))
                    assert isinstance(error, LockTimeoutError), error

                store.save({"z": ROWS}, progress=report)


def test_open_handle_follows_a_restored_backup():
    with NumPack("s.npk") as store:
        store.save({"x": ROWS})
        store.replace({"x": ROWS[:1] + 5}, [0])
        shutil.copytree("s.npk", "backup")
        store.append({"x": ROWS})
        store.replace({"x": ROWS[:1] + 7}, [0])
        store.save({"gone": ROWS})
        for each in Path("backup").rglob("*"):
            if each.is_file():
                shutil.copy2(each, "copy")
                os.replace("copy", Path("s.npk") / each.relative_to("backup"))
        with NumPack("s.npk") as other:
            other.save({"other": ROWS + 1})
            other.replace({"x": ROWS[:1] + 8}, [0])
        assert store.get_member_list() == ["x", "other"]
        assert store.load("x").tolist() == [[8, 9], [2, 3], [4, 5]]
        store.append({"other": ROWS, "x": ROWS})
        assert store.load("other").tolist() == [*(ROWS + 1).tolist(), *ROWS.tolist()]
        assert store.verify().ok


def test_commits_before_and_after_emptying_are_distinguished(monkeypatch):
    with NumPack("s.npk") as first:
        first.save({"x": ROWS})
        first.replace({"x": ROWS[:1] + 5}, [0])
        with NumPack("s.npk", drop_if_exists=True) as second:
            second.save({"x": ROWS + 100})
            monkeypatch.setattr(session.Session, "apply_replacement", _interrupted)
            with pytest.raises(KeyboardInterrupt):
                second.replace({"x": ROWS[:1] + 200}, [0])
            monkeypatch.undo()
            assert first.load("x").tolist() == [[200, 201], [102, 103], [104, 105]]
            first.append({"x": ROWS})
            assert first.load("x")[0].tolist() == [200, 201]
            assert second.load("x")[0].tolist() == [200, 201]
            assert first.verify().ok


def _interrupted(*args, **options):
    raise KeyboardInterrupt
