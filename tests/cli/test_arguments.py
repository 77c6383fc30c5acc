"""Arguments of commands: their order, their errors, and a closed standard output."""

from __future__ import annotations

import subprocess
import sys

from support.each import assert_each


def test_options_stand_between_other_arguments(run):
    expected = run("ls", "features.npk", "x", "flag", "--json").json
    assert run("ls", "features.npk", "--json", "x", "flag").json == expected
    assert run("ls", "--json", "features.npk", "x", "flag").json == expected
    assert run("--json", "ls", "features.npk", "x", "flag").json == expected
    shown = run("show", "features.npk", "--json", "x[0]", "-H", "flag").json
    assert [each["name"] for each in shown] == ["x", "flag"]
    assert "1 array copied" in run("cp", "features.npk:x", "-f", "features.npk:y").out
    assert run("ls", "features.npk", "--json", "--", "x").json == expected[:1]


def test_wrong_arguments_show_the_usage_of_the_command(run):
    def check(arguments, why):
        done = run(*arguments, expect=2)
        assert done.err.startswith(f"usage: numpack {arguments[0]} "), done.err
        assert done.err.endswith(f"numpack {arguments[0]}: error: {why}\n"), done.err
        assert done.err.replace("\n", "").isprintable()

    assert_each(
        [
            (["show", "features.npk", "x", "--bogus"], "unrecognized arguments: --bogus"),
            (["ls"], "the following arguments are required: store"),
            (
                ["show", "features.npk", "x", "--bogus\x1b[31m"],
                "unrecognized arguments: --bogus\\x1b[31m",
            ),
            (
                ["pack", "features.npk", "--compress", "\x1b[31m"],
                "argument --compress: invalid choice: '\\x1b[31m' (choose from 'zstd')",
            ),
        ],
        check,
    )


def test_no_command_shows_all_of_them(run):
    done = run(expect=2)
    assert done.err == run("--help").out
    assert not done.out
    why = "error: the following arguments are required: COMMAND"
    assert run("--json", expect=2).err.endswith(f"{why}\n")


def test_control_characters_in_the_name_of_a_command(run):
    assert "\x1b" not in run("ls\x1b[31m", expect=2).err


def test_a_closed_standard_output_is_an_error(made):
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m numpack ls features.npk >&-"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "numpack: standard output is closed\n")
