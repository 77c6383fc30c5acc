"""The command line in a real terminal: widths, colours, bars, questions and Ctrl-C."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from support.cli import arrays
from support.each import for_each
from support.terminal import COLOURS, Terminal, numpack

from numpack import NumPack

# Draws at once, and takes a while for each part.
SLOWLY = """
import sys, time
from numpack.cli import _progress, main
_progress._DELAY = _progress._INTERVAL = 0
update = _progress.Bar._update
def slow(self, done, total):
    update(self, done, total)
    time.sleep(0.15)
_progress.Bar._update = slow
sys.exit(main(sys.argv[1:]))
"""
PART = 8 << 20


@pytest.fixture
def large():
    with NumPack("large.npk") as npk:
        npk.save({"x": np.arange(10 * PART // 8, dtype="i8")})


@for_each("width", [60, 200])
def test_output_fits_the_terminal(made, width):
    for arguments in (["ls", "-l", "features.npk"], ["show", "features.npk", "x", "--stats"]):
        terminal, status = numpack(*arguments, width=width)
        assert status == 0
        assert max(map(len, terminal.lines)) <= width, (arguments, terminal.text)
        assert "float32" in terminal.text


@for_each("width", [60, 80, 200])
def test_output_fits_a_width(run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for arguments in (
        ["ls", "features.npk"],
        ["ls", "-l", "features.npk"],
        ["info", "features.npk"],
        ["show", "features.npk", "x"],
        ["show", "features.npk", "x", "--stats"],
        ["verify", "features.npk"],
        ["explain", "features.npk:x", "numpy"],
        ["--help"],
        ["cp", "--help"],
    ):
        out = run(*arguments).out
        assert max(map(len, out.splitlines())) <= width, (arguments, out)


def test_narrow_tables_become_paragraphs(run, monkeypatch):
    name = "model/layers.0.self_attention.query.weight"
    monkeypatch.setenv("COLUMNS", "200")
    wide = run("ls", "-l", "features.npk").out
    assert name in wide
    assert wide.split()[0] == "name"
    monkeypatch.setenv("COLUMNS", "60")
    middle = run("ls", "features.npk").out
    assert name not in middle
    assert "…" in middle
    narrow = run("ls", "-l", "features.npk").out
    assert narrow.splitlines()[0] == "x"
    assert "dtype float32, shape (2000, 8), size 62.5 KiB" in narrow.splitlines()[1]
    assert name in narrow


@for_each(
    ("env", "coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_colours(made, env, coloured):
    terminal, status = numpack("ls", "-l", "features.npk", width=120, env=env)
    assert status == 0
    assert bool(COLOURS.search(terminal.shown)) == coloured
    assert "float32" in terminal.text
    if env.get("TERM") == "dumb":
        assert "\x1b" not in terminal.shown


def test_without_rich(made):
    hide = (
        "import sys; sys.modules['rich'] = None; from numpack.cli import main; sys.exit(main())"
    )
    arguments = ["-c", hide, "ls", "-l", "features.npk"]
    with Terminal(arguments, width=120) as terminal:
        assert terminal.finish() == 0
    assert "\x1b" not in terminal.shown
    assert terminal.lines[0].split() == [
        *("name", "dtype", "shape", "size", "deleted", "modified", "checked")
    ]


def test_json_is_indented_on_a_terminal(made):
    terminal, _ = numpack("ls", "features.npk", "--json", width=60)
    assert [each["name"] for each in json.loads(terminal.text)] == list(arrays())
    assert len(terminal.lines) > 20


def test_a_bar_is_drawn_on_standard_error(large):
    with Terminal(["-c", SLOWLY, "verify", "large.npk"], width=100, in_pipe=True) as terminal:
        status = terminal.finish()
        out = terminal.process.stdout.read().decode()
    assert status == 0
    assert "all as written" in out
    assert "\x1b" not in out
    assert "verify large.npk" in terminal.text
    assert "%" in terminal.text
    assert "MiB" in terminal.text


@for_each("kind", ["without rich", "dumb"])
def test_a_plain_bar(large, kind):
    script = SLOWLY.replace("import sys, time", "import sys, time; sys.modules['rich'] = None")
    env = {"TERM": "dumb"} if kind == "dumb" else {}
    with Terminal(["-c", script, "verify", "large.npk"], width=60, env=env) as terminal:
        assert terminal.finish() == 0
    assert "\x1b" not in terminal.shown
    assert ("verify large.npk" in terminal.text) == (kind != "dumb")


@for_each(
    ("arguments", "target"),
    [
        (["convert", "large.npk", "new.npy"], "new.npy"),
        (["convert", "large.npk", "old.npy"], "old.npy"),
        (["cp", "large.npk", "new.npk"], "new.npk"),
        (["cp", "-f", "large.npk:x", "features.npk:x"], "features.npk"),
        (["pack", "large.npk", "new.npkz"], "new.npkz"),
    ],
)
def test_ctrl_c_in_a_bar_leaves_no_target(made, large, arguments, target):
    Path("old.npy").write_bytes(b"old")
    before = sorted(os.listdir("."))
    with Terminal(["-c", SLOWLY, *arguments], width=80) as terminal:
        terminal.wait_for("%")
        terminal.press("\x03")
        assert terminal.finish() == 130
    assert "interrupted" in terminal.text
    assert "Traceback" not in terminal.text
    assert sorted(os.listdir(".")) == before
    assert Path("old.npy").read_bytes() == b"old"
    with NumPack("features.npk") as npk:
        assert np.array_equal(npk["x"], made["x"])
        assert npk.verify().ok
        assert npk.info().orphaned_bytes == 0


def test_rm_asks(made):
    with Terminal(["-m", "numpack", "rm", "features.npk:x", "features.npk:flag"]) as terminal:
        terminal.wait_for("remove features.npk:x (float32 (2000, 8), 62.5 KiB)? [y/N]")
        terminal.press("n\n")
        terminal.wait_for("remove features.npk:flag (bool (3,), 3 B)? [y/N]")
        terminal.press("y\n")
        assert terminal.finish() == 0
    with NumPack("features.npk") as npk:
        assert "x" in npk
        assert "flag" not in npk
    terminal, status = numpack("rm", "-f", "features.npk:x")
    assert status == 0
    assert "[y/N]" not in terminal.text


def test_ctrl_c_at_a_question(made):
    with Terminal(["-m", "numpack", "rm", "features.npk:x"]) as terminal:
        terminal.wait_for("[y/N]")
        terminal.press("\x03")
        assert terminal.finish() == 130
    with NumPack("features.npk") as npk:
        assert "x" in npk


def test_hostile_names_do_not_reach_the_terminal():
    name = "evil\x1b]0;title\x07\x1b[2J"
    with NumPack("features.npk") as npk:
        npk.save({name: np.arange(3)})
    terminal, _ = numpack("ls", "-l", "features.npk", width=100)
    assert "\x1b]0" not in terminal.shown
    assert "\x1b[2J" not in terminal.shown
    assert "\x07" not in terminal.shown


def test_python_of_the_terminal_is_this_one():
    """The tests above run the package that this process has imported."""
    script = "import numpack; print(numpack.__file__)"
    with Terminal(["-c", script], width=500) as terminal:
        assert terminal.finish() == 0
    assert terminal.text.strip() == sys.modules["numpack"].__file__
