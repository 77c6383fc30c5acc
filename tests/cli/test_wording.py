"""Errors advise in the words of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.each import assert_each, for_each

from numpack import convert
from numpack.cli._wording import worded


@for_each(
    ("text", "expected"),
    [
        ("name it, such as format='npy'", "name it with --from or --to, such as --to npy"),
        ("read it with format='hdf5', which", "read it with --from hdf5, which"),
        ("read it with format=('npz', None)", "read it with --from npz"),
        ("name its format with format=", "name its format with --from"),
        ("pass format='csv'", "pass --from csv"),
        ("or pass format=", "or pass --from"),
        ("format='npy' was passed", "--to npy was passed"),
        ("choose one with arrays=[name], or", "choose one with --array, or"),
        ("leave it out with columns=, or", "leave it out with --array, or"),
        ("another name with rename=", "another name with --rename"),
        ("pass dtype='float32', or", "pass --dtype float32, or"),
        ("cast it with dtype=, or", "cast it with --dtype, or"),
        ("with attrs=False", "with --no-attrs"),
        ("append=True is for stores", "--append is for stores"),
        ("pass nulls='mask' for", "pass --option nulls=mask for"),
        ("pass flatten=True for", "pass --option flatten=true for"),
        ("pass max_nbytes=500", "pass --option max_nbytes=500"),
        ("check delimiter=, header= and", "check --option delimiter=…, --option header=… and"),
        (
            "types={'price': 'float64'}, or",
            """--option types='{"price": "float64"}', or""",
        ),
        ("pass overwrite=True to", "pass --overwrite to"),
        ("unpack it: numpack.unpack('/a b.npkz')", "unpack it: `numpack unpack '/a b.npkz'`"),
        ("; numpack.pack(store, path) makes one", "; `numpack pack` makes one"),
        ("publish one with NumPack.publish", "publish one with `numpack publish`"),
        (
            (
                "a package is only read, and mode='r+' writes; pass mode=\"r\", or make a "
                "store of it: numpack.unpack('a.npkz')"
            ),
            "a package is only read; make a store of it: `numpack unpack a.npkz`",
        ),
        ("with mode='r'; open it with mode='r+'", "with mode='r'"),
        ("a local disk; mode='r' reads it", "a local disk"),
        ("wait longer (lock_timeout), or", "wait longer (--wait), or"),
        (
            "lock_timeout must not be negative, and is -1; None waits forever",
            "--wait must not be negative, and is -1",
        ),
        (
            (
                "pass credentials that allow it in storage_options or in the environment, or "
                "skip_signature=True for a public bucket"
            ),
            (
                "pass credentials that allow it in the environment, or --option "
                "skip_signature=true for a public bucket"
            ),
        ),
        (
            "pass pathlib.Path(path).absolute().as_uri() for a folder, or use backup(path)",
            "pass file:///path for a folder",
        ),
        ("no array is called 'nulls=x'", "no array is called 'nulls=x'"),
        ("there is no store at /a/format=b", "there is no store at /a/format=b"),
    ],
)
def test_fixes(text, expected):
    assert worded(text) == expected


def test_fixes_of_explain():
    assert worded("dtype='u2', nulls='mask'", "explain") == (
        "--read-option dtype=u2, --read-option nulls=mask"
    )


def test_errors_of_commands(run):
    run("pack", "features.npk")
    Path("v.bin").write_bytes(bytes(24))

    def check(arguments, why):
        err = run(*arguments, expect=2).err
        assert why in err, err
        assert not any(each in err for each in ("=True", "=False", "mode=", "format=", "()"))

    assert_each(
        [
            (["convert", "features.npk", "x.npy"], "choose one with --array, or"),
            (["convert", "v.bin", "v.npk"], "such as --dtype uint16"),
            (["explain", "v.bin", "numpy"], "such as --read-option dtype=uint16"),
            (["convert", "v.bin", "v.unknown", "--dtype", "u1"], "such as --to npy"),
            (["rm", "features.npkz:x"], "`numpack unpack "),
            (["publish", "features.npk", "there"], "pass file:///path for a folder"),
            (["compact", "features.npk", "--wait", "-1"], "--wait must not be negative"),
            (["convert", "v.bin", "v.npk", "--dtype", "foo"], "no dtype is called 'foo'"),
            (["convert", "v.bin", "v.npk", "--rename", "foo"], "'foo' is not OLD=NEW"),
            (["ls", "features.npk:x"], "`numpack show features.npk x` shows an array"),
            (["ls", "features.npkz:x"], "`numpack show features.npkz x` shows an array"),
            (["pack", "features.npkz"], "features.npkz is a package already"),
        ],
        check,
    )


def test_paths_of_stores_that_are_something_else(run):
    with Path("x.npk").open("wb") as file:
        np.savez(file, x=np.arange(3))
    err = run("convert", "x.npk", "o.npk", expect=2).err
    assert "is a file, and a numpack store is a folder; rename it" in err
    assert err.endswith("or read it with --from npz\n")
    run("convert", "x.npk", "o.npk", "--from", "npz")
    err = run("convert", "o.npk", "x.npk", expect=2).err
    assert err.endswith("is a file, and a store is a folder; choose another path\n")
    err = run("convert", "o.npk", "none.npk", "--append", expect=2).err
    assert err.endswith("none.npk; leave out --append to make one\n")
    run("convert", "o.npk", "none.npk")
    run("convert", "o.npk", "none.npk", "--append")


def test_a_folder_of_something_else(run, tmp_path):
    (tmp_path / "plain").mkdir()
    for command in ("ls", "compact"):
        err = run(command, str(tmp_path / "plain"), expect=2).err
        assert err.endswith("plain, which is a folder of something else\n")
        assert "did you mean features.npk?" in run(command, ".", expect=2).err


def test_the_shape_of_rows_that_do_not_fit(run):
    np.save("x.npy", np.zeros((3, 5), "f4"))
    err = run("convert", "x.npy", "features.npk", "--append", expect=2).err
    assert "an array of shape (rows, 8) is needed, not (3, 5)" in err


def test_values_of_options(run):
    Path("t.csv").write_text("1,2\n3,4\n")
    for value in ("False", "false", "FALSE"):
        run("convert", "t.csv", f"{value}.npk", "--option", f"header={value}")
        (found,) = run("ls", f"{value}.npk", "--json").json[:1]
        assert found["shape"] == [2]
    np.arange(30, dtype="u1").tofile("v.bin")
    run("convert", "v.bin", "v.npk", "--dtype", "u1", "--option", "shape=[-1,10]")
    assert run("ls", "v.npk", "--json").json[0]["shape"] == [3, 10]
    Path("p.csv").write_text("price\n1\n2\n")
    types = 'types={"price":"float32"}'
    run("convert", "p.csv", "p.npk", "--option", types)
    assert run("ls", "p.npk", "--json").json[0]["dtype"] == "float32"
    run("convert", "features.npk", "p.parquet", "-a", "flag", "--option", "compression=None")
    err = run("convert", "v.npk", "v.npz", "--option", "compress=maybe", expect=2).err
    assert err == "numpack: compress must be True or False, which 'maybe' is not\n"
    err = run("convert", "t.csv", "t.npk", "--option", "header=maybe", expect=2).err
    assert err == "numpack: header must be True or False, which 'maybe' is not\n"
    run("convert", "v.npk", "true.npk", "--rename", "v=true")
    assert run("ls", "-1", "true.npk").out == "true\n"


def test_info_leaves_out_what_only_folders_have(run, tmp_path):
    run("pack", "features.npk")
    folder = ("unnamed files", "log, checksums", "lock")
    keys = {"orphaned_bytes", "other_bytes", "parallel_writes", "lock_holders"}
    run("publish", "features.npk", (tmp_path / "published.npk").as_uri())
    for path in ("features.npkz", (tmp_path / "published.npk").as_uri()):
        lines = run("info", path).out.splitlines()
        assert not any(line.startswith(folder) for line in lines)
        found = run("info", path, "--json").json
        assert not keys & found.keys()
        assert "NumPack.publish" not in found["read_only"]
    lines = run("info", "features.npk").out.splitlines()
    assert sum(line.startswith(folder) for line in lines) == 3
    assert keys <= run("info", "features.npk", "--json").json.keys()


def test_packages_are_described_as_stores_are(run):
    listed = run("ls", "features.npk", "--json").json
    for found in (
        run("pack", "features.npk", "--json").json,
        run("unpack", "-l", "features.npkz", "--json").json,
    ):
        assert found["package"] == "features.npkz"
        assert found["nbytes"] > 0
        for packed, stored in zip(found["arrays"], listed, strict=True):
            assert packed == {name: stored[name] for name in packed}
            assert list(packed) == ["name", "dtype", "shape", "nbytes", "modified"]
    out = run("unpack", "-l", "features.npkz").out
    assert "x" in [line.split()[0] for line in out.splitlines()]
    assert "(2000, 8)" in out


def test_rm_with_force_ignores_stores_that_do_not_exist(run):
    assert json.loads(run("rm", "-f", "none.npk:x", "features.npk:x", "--json").out) == [
        "features.npk:x"
    ]
    run("rm", "none.npk:x", expect=2)


def test_dtypes_keep_their_error(run):
    with pytest.raises(TypeError, match="no dtype is called 'foo'"):
        convert({"x": np.zeros(3)}, "s.npk", dtype="foo")
