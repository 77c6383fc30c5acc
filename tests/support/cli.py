"""Arrays for the tests of the command line, and what a command has written."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np

HOSTILE = "evil\x1b[31m\x1b]0;title\x07\n\u202e"


class Done(NamedTuple):
    """What a command has written, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def arrays():
    rng = np.random.default_rng(7)
    return {
        "x": rng.normal(size=(2000, 8)).astype("f4"),
        "labels": np.arange(2000) % 10,
        "model/layers.0.self_attention.query.weight": rng.normal(size=(16, 16)).astype("f4"),
        "when": np.arange("2026-01-01", "2026-01-11", dtype="M8[D]"),
        "names": np.array(["ab", "c\x1b[2J"]),
        "flag": np.array([True, False, True]),
        "scalar": np.float64(2.5),
        "empty": np.zeros((0, 3), "i2"),
    }
