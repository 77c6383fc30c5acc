"""Damaged stores: a read returns right values or raises; verify reports what is damaged."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.crash.operations import ROWS, WIDE, state_of, wide
from support.files import contents

from numpack import NumPack
from numpack.errors import NumpackError
from numpack.store import session
from numpack.store.format.log import log


class Died(BaseException):
    """Ends a call as the death of the process would."""


def with_history(path: str) -> list:
    """Create a store with every kind of file and a log of several lines and snapshots.

    Return its states, in the order of the commits.
    """
    states = []
    with NumPack(path) as store:
        store.save({"x": ROWS, "ü": np.arange(40.0), "large": wide(1100), "empty": ROWS[:0]})
        store.drop("large", [3, 1098])
        store.drop("x", [1])
        store.replace({"x": ROWS[:1], "large": WIDE[None] + WIDE[None]}, [1])
        store.update("ü")
        for number in range(30):
            states.append(state_of(store))
            store.append({"ü": np.full(2, float(number))})
        states.append(state_of(store))
        assert Path(path, log.NAME).read_bytes().count(b'\n{"store"') > 1
    return states


def with_journal(path: str, monkeypatch: pytest.MonkeyPatch) -> list:
    """Create a store whose last replacement is in the journal but not yet applied."""
    with_history(path)
    with monkeypatch.context() as patched, NumPack(path) as store:
        fresh = {"large": wide(1, 9), "x": -ROWS[:1]}

        def die(self, entry, change, **options):
            raise Died

        patched.setattr(session.Session, "apply_replacement", die)
        with pytest.raises(Died):
            store.replace(fresh, [0])
    with NumPack(path, mode="r") as store:
        return [state_of(store)]


@pytest.fixture(params=["history", "journal"])
def template(request, monkeypatch):
    """Create the store to be damaged; return the states that a reader may see."""
    monkeypatch.setattr(log, "_SNAPSHOT_EVERY", 600)
    if request.param == "history":
        return with_history("template")
    return with_journal("template", monkeypatch)


def damage(path: Path, dice: random.Random) -> str:
    """Flip a bit, truncate, zero, extend or remove a file; return a description."""
    data = bytearray(path.read_bytes())
    at = dice.randrange(dice.choice([len(data), len(data), min(80, len(data))]) + 1)
    match dice.choice(["flip", "flip", "flip", "cut", "zero", "grow", "remove"]):
        case "flip" if at < len(data):
            data[at] ^= 1 << dice.randrange(8)
            what = f"a bit of byte {at}"
        case "cut":
            del data[at:]
            what = f"cut to {at}"
        case "zero":
            end = min(at + dice.choice([1, 64, 4096]), len(data))
            data[at:end] = bytes(end - at)
            what = f"zeros from {at} to {end}"
        case "remove":
            path.unlink()
            return f"{path} removed"
        case _:
            data += dice.randbytes(dice.choice([1, 64, 5000]))
            what = f"grown from {at}"
    path.unlink()
    path.write_bytes(data)
    return f"{path}: {what}"


def examine(mode: str, states: list) -> str:
    """Read a damaged store in every way; return how the damage was reported."""
    try:
        with NumPack("s.npk", mode=mode) as store:
            report = store.verify()
            named = {each.array for each in report.damaged}
            for name in store:
                right = [state[name][:3] for state in states if name in state]
                examine_array(store, name, right, named)
            str(report)
            names = set(store)
    except NumpackError:
        return "an error"
    if report.ok:
        assert any(names == set(state) - {""} for state in states), "arrays are missing"
        return "nothing"
    return "a report"


def examine_array(store: NumPack, name: str, right: list, named: set[str]) -> None:
    try:
        array = store.load(name, verify=True)
    except NumpackError:
        assert named & {name, ""}, f"{name!r} cannot be loaded, and is reported as sound"
        return
    found = (str(array.dtype), array.shape, array.tobytes())
    assert found in right, f"wrong values of {name!r} are taken for right ones"
    lazy = store.load(name, lazy=True)[()]
    assert lazy.tobytes() == found[2]


def test_damaged_store_reads_right_values_or_reports_damage(template, thorough, done):
    files = sorted(contents("template").keys() - {"lock"})
    assert {name.rpartition(".")[2] for name in files} >= {"bin", "sum", "del", "log", "json"}
    seed = random.randrange(2**32) if thorough else 5
    dice = random.Random(seed)
    found = dict.fromkeys(["an error", "a report", "nothing"], 0)
    wrong = []
    for number in range(10_000 if thorough else 300):
        shutil.copytree("template", "s.npk")
        what = damage(Path("s.npk", files[number % len(files)]), dice)
        try:
            found[examine("r" if number % 2 else "a", template)] += 1
        except Exception as error:
            wrong.append(f"{what}: {type(error).__name__}: {error}")
        shutil.rmtree("s.npk")
    assert not wrong, "\n".join([f"seed {seed}", *wrong])
    assert min(found.values()) > 5, found
    done["damaged stores"] += sum(found.values())


def test_truncated_log_shows_a_known_state_or_raises(template, thorough, done):
    whole = Path("template", log.NAME).read_bytes()
    shutil.copytree("template", "s.npk")
    sizes = range(0, len(whole), 1 if thorough else 7)
    for size in sizes:
        os.unlink(f"s.npk/{log.NAME}")
        Path("s.npk", log.NAME).write_bytes(whole[:size])
        try:
            with NumPack("s.npk", mode="r") as store:
                found = state_of(store)
        except NumpackError:
            continue
        assert found in template, f"cut to {size}"
    done["damaged stores"] += len(sizes)
