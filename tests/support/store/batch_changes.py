"""Changes made in a batch, and the arrays after it."""

from __future__ import annotations

import numpy as np

ROWS = np.arange(1.0, 13.0).reshape(6, 2)


def with_first_row_changed(rows: np.ndarray) -> np.ndarray:
    rows = rows.copy()
    rows[0] = -1
    return rows


CHANGED = with_first_row_changed(ROWS)


CHANGES = {
    "append": (
        lambda s: s.append({"x": ROWS}),
        {"x": np.concatenate([CHANGED, ROWS])},
    ),
    "replace": (
        lambda s: s.replace({"x": ROWS[:1]}, -1),
        {"x": np.concatenate([CHANGED[:-1], ROWS[:1]])},
    ),
    "drop of rows": (lambda s: s.drop("x", [1, 2]), {"x": np.delete(CHANGED, [1, 2], 0)}),
    "drop": (lambda s: s.drop("x"), {}),
    "del": (lambda s: s.__delitem__("x"), {}),
    "update": (lambda s: s.update("x"), {"x": CHANGED}),
    "clone": (lambda s: s.clone("x", "w"), {"x": CHANGED, "w": CHANGED}),
    "reset": (lambda s: s.reset(), {}),
    "sync": (lambda s: s.sync(), {"x": CHANGED}),
}
