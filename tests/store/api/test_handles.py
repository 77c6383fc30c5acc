"""Several handles of one store, and names dropped meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from numpack import NumPack

ROWS = np.arange(12.0).reshape(6, 2)


def test_handles_see_commits_of_other_handles(store):
    """A commit is visible at once, before its handle is closed."""
    with NumPack("s.npk") as other:
        store.save({"x": ROWS})
        assert np.array_equal(other.load("x"), ROWS)
        other.append({"x": ROWS})
        assert store.get_shape("x") == (12, 2)
        store.append({"x": ROWS})
        other.save({"y": ROWS})
        store.drop("x")
        assert other.get_member_list() == store.get_member_list() == ["y"]


@pytest.mark.parametrize("change", [{"new": ROWS}, {"x": ROWS[:1], "new": ROWS}])
def test_iteration_skips_names_dropped_meanwhile(store, change):
    store.save({"x": ROWS, "y": ROWS})
    names_left = iter(store)
    assert next(names_left) == "x"
    store.save(change)
    store.append({"y": ROWS})
    store.drop(["x", "new"])
    assert list(names_left) == ["y"]
    assert list(store) == ["y"]
