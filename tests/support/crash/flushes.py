"""Names of the files that each change of a store flushes to the device.

Run as ``python -m support.crash.flushes DURABILITY`` with the library of `power_loss.built` in
``LD_PRELOAD``; prints a JSON object of lists.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from numpack import NumPack

from .power_loss import events_in

ROWS = np.arange(12.0).reshape(6, 2)

CHANGES: dict[str, Callable[[NumPack], Any]] = {
    "save": lambda s: s.save({"y": ROWS}),
    "append": lambda s: s.append({"x": ROWS}),
    "replace": lambda s: s.replace({"x": ROWS[:1]}, 0),
    "drop": lambda s: s.drop("x"),
    "drop of rows": lambda s: s.drop("x", 0),
    "update": lambda s: (s.drop("x", 0), s.update("x")),
    "clone": lambda s: s.clone("x", "y"),
    "sync": lambda s: (s.save({"large": np.zeros(200_000)}), s.drop("x", 0), s.sync()),
}


def flushed(path: str, call: Callable[[NumPack], Any], durability: str) -> list[str]:
    """Return the files that a change flushes, in that order; temporary files are omitted."""
    begin = ctypes.CDLL(None).recorder_begin
    with NumPack(path) as store:
        store.save({"x": ROWS})
    with NumPack(path, durability=durability) as store, open(f"{path}.events", "wb") as file:
        begin(file.fileno())
        call(store)
        begin(-1)
    names = {}
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            where = os.path.join(folder, name)
            names[os.stat(where).st_ino] = os.path.relpath(where, path)
    events = events_in(file.name)
    return [names[each.a] for each in events if each.kind == "F" and each.a in names]


if __name__ == "__main__":
    found = {
        what: flushed(f"{number}.npk", call, sys.argv[1])
        for number, (what, call) in enumerate(CHANGES.items())
    }
    sys.stdout.write(json.dumps(found))
