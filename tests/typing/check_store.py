"""The types of the options of `NumPack`.

Checked by mypy, never run. A line with ``type: ignore`` must be an error: mypy reports an
ignore that is not used.
"""

from __future__ import annotations

from numpack import NumPack


def options() -> None:
    NumPack("x", mode="r+", durability="power")
    NumPack("x", mode="q")  # type: ignore[arg-type]
    NumPack("x", durability="disk")  # type: ignore[arg-type]


def targets(npk: NumPack) -> None:
    npk.share("x", "torch", copy=False)
    npk.share("x", "trch")  # type: ignore[arg-type]


def methods(npk: NumPack) -> None:
    lazy = npk.load("x", lazy=True)
    lazy.sum(axis=0, keepdims=True)
    lazy.copy().sort()
    memoryview(lazy)
    lazy.cumsum(where=True)  # type: ignore[call-arg]
    lazy.sorted()  # type: ignore[attr-defined]
