"""Verification while a writer changes the array that is being verified."""

from __future__ import annotations

import numpy as np
import pytest

from numpack import NumPack
from numpack.store.format import data_files

ROWS = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def change_during_verify(monkeypatch):
    """Make changes between the computation of checksums and reading those of the store."""

    def arm(*changes) -> None:
        read = data_files.read_checksums
        pending = list(changes)

        def read_after_changes(folder, entry):
            while pending:
                pending.pop(0)()
            return read(folder, entry)

        monkeypatch.setattr(data_files, "read_checksums", read_after_changes)

    return arm


CHANGES = {
    "update": lambda s: (s.replace({"x": -ROWS[:2]}, [0, 1]), s.update("x")),
    "drop": lambda s: (s.replace({"x": -ROWS[:2]}, [0, 1]), s.drop("x")),
    "save": lambda s: s.save({"x": ROWS[:1]}),
    "append": lambda s: s.append({"x": ROWS}),
    "replace": lambda s: s.replace({"x": ROWS[:2]}, [0, 1]),
    "reset": lambda s: s.reset(),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("large", [False, True])
def test_verify_reports_no_damage_and_raises_nothing(what, large, change_during_verify):
    rows = np.tile(ROWS, (30_000, 1)) if large else ROWS
    with NumPack("s.npk") as writer:
        writer.save({"x": rows})
        writer.drop("x", [2])
        with NumPack("s.npk", mode="r") as reader:
            change_during_verify(
                lambda: writer.replace({"x": ROWS[:2] + 1}, [0, 1]),
                lambda: CHANGES[what](writer),
            )
            assert reader.verify().ok


@pytest.mark.parametrize("what", sorted(CHANGES.keys() - {"drop", "reset"}))
def test_verified_load_returns_the_rows_of_some_commit(what, change_during_verify):
    with NumPack("s.npk") as writer:
        writer.save({"x": ROWS})
        writer.drop("x", [2])
        with NumPack("s.npk", mode="r") as reader:
            change_during_verify(
                lambda: writer.replace({"x": ROWS[:2] + 1}, [0, 1]),
                lambda: CHANGES[what](writer),
            )
            found = reader.load("x", verify=True)
        assert np.array_equal(found, writer.load("x"))
