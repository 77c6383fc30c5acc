"""A store, and commands in this process."""

from __future__ import annotations

import pytest
from support.cli import Done, arrays

from numpack import NumPack
from numpack.cli import main


@pytest.fixture
def made():
    """The arrays of ``features.npk``."""
    made = arrays()
    with NumPack("features.npk") as npk:
        npk.save(made)
        npk.drop("labels", [0, 1])
        npk.attrs["x"].update(units="K", dims=["time", "site"])
        npk.attrs.store["title"] = "Test\x1b[2J"
    return {**made, "labels": made["labels"][2:]}


@pytest.fixture
def run(capsys, made):
    """Run a command."""

    def run(*arguments, expect=0):
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        done = Done(status, captured.out, captured.err)
        assert status == expect, done
        return done

    return run
