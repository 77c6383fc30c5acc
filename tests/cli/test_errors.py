"""Exit statuses, errors in one line, hostile names, and start-up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
from support.cli import HOSTILE
from support.each import for_each

from numpack import NumPack
from numpack.cli import main
from numpack.cli._main import COMMANDS, command
from numpack.cli._text import escaped

MODULE = [sys.executable, "-m", "numpack"]


@for_each(
    ("arguments", "status", "why"),
    [
        (["ls", "none.npk"], 2, "numpack: there is no store at none.npk\n"),
        (["ls", "file.npk"], 2, "numpack: file.npk is a file and no store"),
        (
            ["ls", "."],
            2,
            "numpack: there is no store at ., which is a folder of something else; did",
        ),
        (["show", "features.npk", "nope"], 2, "numpack: no array is called 'nope'"),
        (["show", "features.npk", "x[a]"], 2, "'a' in 'x[a]' is no integer"),
        (["show", "features.npk", "x[::0]"], 2, "is no slice"),
        (["show", "features.npk", "x[1,2,3]"], 2, "too many indices"),
        (["show", "features.npk", "x[9999]"], 2, "out of bounds"),
        (["verify", "none.npk"], 2, "there is no store at none.npk"),
        (["explain", "features.npk:x", "nothing"], 2, "no framework is called 'nothing'"),
        (["explain", "features.npk", "numpy"], 2, "has several arrays"),
        (["bench", "features.npk", "scalar"], 2, "has no rows"),
        (["bench", "features.npk", "x", "--rounds", "0"], 2, "--rounds must be positive"),
        (["doctor", "--dtype", "float7"], 2, "no dtype is called 'float7'"),
        ([], 2, "usage: numpack"),
        (["nope"], 2, "invalid choice: 'nope'"),
        (["ls"], 2, "usage: numpack ls"),
        (["ls", "features.npk", "--nope"], 2, "unrecognized arguments"),
        (["publish", "features.npk", "file:///x", "--option", "key"], 2, "is not KEY=VALUE"),
        (["--help"], 0, ""),
        (["--version"], 0, ""),
    ],
)
def test_statuses(run, arguments, status, why):
    open("file.npk", "w").close()
    done = run(*arguments, expect=status)
    assert why in done.err
    assert "Traceback" not in done.err


def test_unexpected_errors_have_no_traceback(run, monkeypatch):
    from numpack.cli import ls

    for error, why in (
        (
            ZeroDivisionError("a\nb\x1b"),
            "unexpected ZeroDivisionError: a b\\x1b; please report",
        ),
        (MemoryError(), "there is not enough memory"),
        (PermissionError(13, "Permission denied", "a\nb"), "a\\nb: Permission denied"),
        (KeyboardInterrupt(), "interrupted"),
    ):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(ls, "run", fail)
        status = 130 if isinstance(error, KeyboardInterrupt) else 2
        done = run("ls", "features.npk", expect=status)
        assert done.err.startswith(f"numpack: {why}")
        assert done.err.count("\n") == 1


def test_hostile_names_are_escaped(run):
    with NumPack("evil.npk") as npk:
        npk.save({HOSTILE: np.arange(2000), "b": np.array([HOSTILE])})
        npk.attrs[HOSTILE][HOSTILE] = HOSTILE
        npk.attrs.store[HOSTILE] = [HOSTILE]
        npk.drop(HOSTILE, 0)
    done = run("cp", f"evil.npk:{HOSTILE}", f"new{HOSTILE}.npk", expect=0)
    assert done.out.replace("\n", "").isprintable()
    data = npk_file("evil.npk")
    shown = escaped(HOSTILE)
    assert HOSTILE in run("ls", "evil.npk", "--json").json[0]["name"]
    with open(data, "r+b") as file:
        file.write(b"\1")
    for arguments, status in (
        (["ls", "evil.npk"], 0),
        (["ls", "-l", "evil.npk"], 0),
        (["ls", "-1", "evil.npk"], 0),
        (["show", "evil.npk"], 0),
        (["show", "evil.npk", HOSTILE, "--stats"], 0),
        (["show", "evil.npk", "b"], 0),
        (["info", "evil.npk"], 0),
        (["verify", "evil.npk"], 1),
        (["show", "evil.npk", f"{HOSTILE}?"], 2),
        (["rm", f"evil.npk:{HOSTILE}?"], 2),
        (["explain", "evil.npk", "numpy"], 2),
        (["ls", f"none{HOSTILE}.npk"], 2),
        (["cp", f"evil.npk:{HOSTILE}", f"other{HOSTILE}.npk"], 2),
        (["compact", f"evil.npk:{HOSTILE}"], 2),
    ):
        done = run(*arguments, expect=status)
        text = done.out + done.err
        assert text.replace("\n", "").isprintable(), arguments
        assert "\\x1b" in text or arguments[0] == "info" or arguments[-1] == "b", arguments
    assert shown == "evil\\x1b[31m\\x1b]0;title\\x07\\n\\u202e"


def npk_file(path):
    with NumPack(path, mode="r") as npk:
        return os.path.join(
            path, next(iter(npk.get_metadata()["arrays"].values()))["data_file"]
        )


def test_lone_surrogates_and_other_encodings(made):
    name = "caf\xe9 \udc80"
    with NumPack("features.npk") as npk:
        npk.save({name: np.arange(5)})
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*MODULE, "ls", "-1", "features.npk"], capture_output=True, env=env, check=True
    )
    assert b"caf\\xe9 \\udc80" in done.stdout
    done = subprocess.run(
        [*MODULE, "show", "features.npk", "x", "--stats"],
        capture_output=True,
        env=env,
        check=True,
    )
    assert done.stdout.isascii()
    assert b"#" in done.stdout


def test_nothing_is_shortened_or_coloured_in_a_pipe(made):
    name = "n" * 300
    with NumPack("features.npk") as npk:
        npk.save({name: np.arange(3)})
    env = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    env.pop("COLUMNS", None)
    done = subprocess.run(
        [*MODULE, "ls", "-l", "features.npk"],
        capture_output=True,
        text=True,
        env=env,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert name in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_a_reader_that_ends_is_no_error(made):
    """As ``numpack show … | head -1``: no message, and the status of SIGPIPE."""
    with NumPack("features.npk") as npk:
        npk.save({"long": np.arange(200_000)})
    for arguments in (["show", "features.npk", "long", "--all"], ["ls", "features.npk"]):
        reading, writing = os.pipe()
        os.close(reading)
        command = subprocess.Popen(
            [*MODULE, *arguments], stdout=writing, stderr=subprocess.PIPE
        )
        os.close(writing)
        _, err = command.communicate()
        assert (command.returncode, err) == (128 + signal.SIGPIPE, b"")


def test_a_full_disk_is_an_error(made):
    full = os.open("/dev/full", os.O_WRONLY)  # never created or replaced
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # so that the last flush fails
    done = subprocess.run(
        [*MODULE, "ls", "features.npk"],
        stdout=full,
        stderr=subprocess.PIPE,
        env=environment,
        check=False,
    )
    os.close(full)
    assert done.returncode == 2
    assert done.stderr == b"numpack: No space left on device\n"


def test_errors_leave_the_output_of_a_program_that_calls_main(run_python):
    script = """
from numpack.cli import main
assert main(["ls", "missing.npk"]) == 2
print("after it")
"""
    assert run_python(script) == "after it\n"


def test_help_imports_neither_frameworks_nor_rich(run_python):
    for arguments in (["--help"], ["ls", "features.npk"], ["ls", "--help"], ["--version"]):
        out = run_python(
            """
import contextlib, io, sys
import numpack, numpy as np
if sys.argv[1] == "ls" and sys.argv[2] != "--help":
    with numpack.NumPack("features.npk") as npk:
        npk.save({"x": np.arange(3)})
from numpack.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(*{name.partition(".")[0] for name in sys.modules})
print(*(name for name in sys.modules if name.startswith("numpack.")))
""",
            *arguments,
        )
        packages, modules = map(str.split, out.strip().splitlines())
        heavy = {"rich", "torch", "pyarrow", "jax", "pandas", "polars", "tensorflow", "h5py"}
        assert not heavy & set(packages), arguments
        if "ls" not in arguments[:1] or "--help" in arguments:
            assert "numpack.store" not in modules, arguments
        assert "numpack.formats" not in modules, arguments


def test_each_command_is_described():
    for name in COMMANDS:
        module = command(name)
        assert module.HELP[0].islower()
        assert not module.HELP.endswith(".")
        assert module.EXAMPLES.strip().startswith("numpack ")


def test_help_of_each_command(run):
    listed = run("--help").out
    for name in COMMANDS:
        text = " ".join(run(name, "--help").out.split())
        assert "examples: numpack" in text, name
        assert "--json" in text
        assert f"    {name} " in listed


def test_json_of_each_reading_command(run):
    for arguments in (
        ["ls", "features.npk"],
        ["show", "features.npk", "x[:2]"],
        ["info", "features.npk"],
        ["verify", "features.npk"],
        ["explain", "features.npk:x", "numpy"],
        ["bench", "features.npk", "x", "--rounds", "1"],
    ):
        done = run(*arguments, "--json")
        assert json.loads(done.out) is not None
        assert done.out.count("\n") == 1
        assert done.err == ""


def test_main_is_that_of_the_module():
    from numpack.__main__ import main as of_module

    assert of_module is main


def test_every_command_is_checked_by_mypy():
    import ast
    from pathlib import Path

    checked = ast.parse(
        (Path(__file__).parents[1] / "typing" / "check_commands.py").read_text()
    )
    (commands,) = (
        node.value
        for node in checked.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "COMMANDS"
    )
    assert {each.id for each in commands.elts} == set(COMMANDS)
