"""The examples of each ``--help``, and those of docs/cli.md with their output."""

from __future__ import annotations

import doctest
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from support.each import assert_each

from numpack import NumPack, frameworks
from numpack.cli import main
from numpack.cli._main import COMMANDS, command

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(autouse=True)
def few_frameworks(monkeypatch):
    """Examine those that are imported already, as tests of `doctor` do all of them."""
    found = frameworks()
    few = tuple(each for each in found if each.name in ("numpy", "torch", "dlpack"))
    monkeypatch.setattr("numpack.doctor.probe.frameworks", lambda: few)


MEASURED = re.compile(r"[0-9][0-9.,e+]* (?:ns|µs|ms|s|×)(?= |$)", re.MULTILINE)
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.]+Z?")


def compared(text):
    """Return an output without durations and times of day."""
    return MOMENT.sub("then", MEASURED.sub("measured", text))


def run_line(line):
    try:
        return main(shlex.split(os.path.expandvars(line))[1:])
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_help(name, made, monkeypatch, capsys):
    monkeypatch.setenv("PWD", os.getcwd())
    with NumPack("other.npk") as npk:
        npk.save({"y": np.arange(3)})
    for line in command(name).EXAMPLES.strip().splitlines():
        assert not run_line(line) or "--exit-code" in line, (line, capsys.readouterr().err)
    assert capsys.readouterr().out


def test_examples_of_the_page(monkeypatch, capsys):
    monkeypatch.setenv("PWD", os.getcwd())
    monkeypatch.delenv("COLUMNS", raising=False)
    steps = []
    for language, text in BLOCK.findall(PAGE):
        if language == "python":
            steps.append((text, None, 0))
            continue
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            steps.append((line, output, 0))

    def check(step, expected, _):
        if expected is None:
            exec(compile(step, "<block>", "exec"), {"__name__": "__main__"})
            return
        capsys.readouterr()
        run_line(step)
        captured = capsys.readouterr()
        found = captured.out + captured.err
        pair = compared(expected), compared(found)
        assert doctest.OutputChecker().check_output(*pair, FLAGS), found

    assert_each(steps, check)


def test_page_has_an_example_of_each_command():
    documented = {
        line.split()[2] for line in re.findall(r"^\$ numpack .*$", PAGE, re.MULTILINE)
    }
    assert documented == set(COMMANDS)
