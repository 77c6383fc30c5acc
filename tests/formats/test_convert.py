"""`convert`: what does not depend on the format."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import numpy as np
import pytest
from support.files import contents
from support.formats.arrays import arrays_of, assert_same

from numpack import convert
from numpack.errors import (
    InvalidValueError,
    MissingDependencyError,
    NotFoundError,
    StoreNotFoundError,
    WrongTypeError,
)
from numpack.formats import FORMATS, by_name


def test_every_format_is_checked_by_mypy():
    text = Path(__file__).parents[1].joinpath("typing", "check_formats.py").read_text()
    (formats,) = (
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "FORMATS"
    )
    assert {each.id for each in formats.elts} == {entry.name for entry in FORMATS}


def test_missing_package_is_named_with_the_extra(run_python):
    run_python(
        """
import sys
sys.modules.update(pyarrow=None, h5py=None, zarr=None, torch=None, safetensors=None)
sys.modules["h5netcdf"] = None
import numpack, numpy as np
from numpack.formats import FORMATS
for entry in FORMATS:
    if entry.packages:
        try:
            numpack.convert({"x": np.arange(3)}, f"x{entry.suffixes[0]}")
        except numpack.errors.MissingDependencyError as error:
            assert f"pip install '{entry.install}'" in str(error), error
        else:
            raise AssertionError(entry)
numpack.convert({"x": np.arange(3)}, "x.npy")
"""
    )


def test_registry_and_extras_require_the_same_versions():
    import tomllib

    text = Path(__file__).parents[2].joinpath("pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for entry in FORMATS:
        if entry.packages:
            assert entry.packages[0] == extras[entry.install[8:-1]][0]


def test_suffixes_in_capitals_and_formats_by_name(store):
    convert("s.npk", "X.NPZ")
    Path("X.NPZ").rename("data")
    convert("data", "t.npk", format="npz")
    assert list(arrays_of()) == ["x", "y"]
    convert("data", "other", format=("npz", "npz"))
    assert_same(np.load("other")["y"], np.arange(3))
    convert("s.npk", "y.data", format="npy", arrays="y")
    assert_same(np.load("y.data"), np.arange(3))
    convert("y.data", "y.npz", format=("npy", None))


@pytest.mark.parametrize(
    ("source", "target", "options", "message"),
    [
        ("x.what", "t.npk", {}, "the format of x.what is unknown"),
        ("s.npk", "x.what", {}, "the format of x.what is unknown"),
        ("x.npy", "t.npk", {"format": "what"}, "no format is called 'what'; known are: npk"),
        ("s.npk", "x.npy", {"arrays": ["x"], "columns": ["x"]}, "mean the same"),
        ("s.npk", "x.npz", {"arrays": ["x", "x"]}, "named twice"),
        ("s.npk", "x.npz", {"rename": {"x": "y"}}, "two arrays would be called 'y'"),
        ("s.npk", "x.npz", {"rename": {"x": ""}}, "must not be empty"),
        ("s.npk", "x.npz", {"arrays": ["x"], "dtype": {"y": "f4"}}, "which arrays= leaves out"),
        ("s.npk", "x.npz", {"nonsense": 1}, "no option 'nonsense'; its options are: compress"),
        ("s.npk", "t.npk", {"lock_timeout": 1}, "both formats have an option 'lock_timeout'"),
        ("s.npk", "x.npz", {"source_options": {"x": 1}}, "store has no option 'x'"),
        ("", "t.npk", {}, "no path of a file"),
        ("s.npk", "x\0.npy", {}, "no path of a file"),
        ("s.npk", "s3://bucket/t.npk", {}, "only read"),
        ({"x": np.arange(3)}, "t.npk", {"format": ("npz", None)}, "leave it out"),
    ],
    ids=str,
)
def test_wrong_arguments(store, source, target, options, message):
    before = contents(".")
    with pytest.raises(InvalidValueError, match=message):
        convert(source, target, **options)
    assert contents(".") == before


@pytest.mark.parametrize(
    ("source", "target", "options"),
    [
        ("s.npk", 5, {}),
        (b"s.npk", "t.npk", {}),
        ("s.npk", b"t.npk", {}),
        ("s.npk", "x.npz", {"arrays": [1]}),
        ("s.npk", "x.npz", {"rename": ["x"]}),
        ("s.npk", "x.npz", {"dtype": "nothing"}),
        ("s.npk", "x.npz", {"format": 5}),
    ],
    ids=str,
)
def test_arguments_of_wrong_types(store, source, target, options):
    with pytest.raises(WrongTypeError, match="(convert|load) expects"):
        convert(source, target, **options)


def test_unknown_names_list_the_arrays(store):
    for options in ({"arrays": ["z"]}, {"rename": {"z": "a"}}, {"dtype": {"z": "f4"}}):
        with pytest.raises(NotFoundError, match="the arrays are: 'x', 'y'"):
            convert("s.npk", "x.npz", **options)


def test_missing_files_and_folders(store):
    with pytest.raises(StoreNotFoundError):
        convert("missing.npk", "x.npy")
    with pytest.raises(FileNotFoundError, match="missing"):
        convert("s.npk", "missing/x.npz")
    with pytest.raises(FileNotFoundError, match="missing"):
        convert("s.npk", "missing/t.npk")


def test_progress_counts_bytes(store):
    store.save({"big": np.zeros((5 << 20) // 2, "f4")})
    seen = []
    convert("s.npk", "t.npk", progress=lambda done, total: seen.append((done, total)))
    total = 48 + 24 + (10 << 20)
    assert {each[1] for each in seen} == {total}
    assert [each[0] for each in seen] == sorted(each[0] for each in seen)
    assert seen[-1] == (total, total)
    assert len(seen) == 4


def test_casts_round_floats_and_refuse_what_does_not_fit(store):
    convert({"x": np.array([0.1, 1e-9])}, "t.npk", dtype="float32")
    assert_same(arrays_of()["x"], np.array([0.1, 1e-9], "f4"))
    convert({"x": np.arange(4)}, "t.npk", dtype="bfloat16")
    assert arrays_of()["x"].dtype.name == "bfloat16"
    convert({"x": np.array(["2020-01-01"], "M8[D]")}, "t.npk", dtype="M8[s]")
    for values, dtype in (
        ([300], "u1"),
        ([-1], "u2"),
        ([0.5], "i4"),
        ([np.nan], "i4"),
        ([1e300], "f4"),
        ([1e10], "f2"),
        ([2**63 - 1], "i4"),
        (["a"], "i4"),
        ([1e39], "bfloat16"),
    ):
        before = contents(".")
        with pytest.raises(InvalidValueError, match="'x'.*(cannot hold|cannot be cast)"):
            convert({"x": np.array(values)}, "t.npk", dtype=dtype)
        assert contents(".") == before
    with pytest.raises(InvalidValueError, match="'x' is .* cannot be cast"):
        convert({"x": np.zeros(2, [("a", "i4"), ("b", "i4")])}, "t.npk", dtype="M8[s]")


def test_strings_that_a_cast_would_cut_off_are_refused():
    for values, dtype in ((["abc"], "U2"), ([b"abc"], "S2"), ([123], "U2")):
        with pytest.raises(InvalidValueError, match="'x' has values"):
            convert({"x": np.array(values)}, "t.npk", dtype=dtype)
    convert({"x": np.array(["ab"])}, "t.npk", dtype="U8")
    assert_same(arrays_of()["x"], np.array(["ab"], "U8"))


def test_times_that_a_cast_would_round_are_refused():
    with pytest.raises(InvalidValueError, match="'x' has values"):
        convert({"x": np.array(["2020-01-01T01"], "M8[h]")}, "t.npk", dtype="M8[D]")
    with pytest.raises(InvalidValueError, match="'x' has values"):
        convert({"x": np.array(["9999-01-01"], "M8[D]")}, "t.npk", dtype="M8[ns]")
    values = np.array(["NaT", "2020-01-01"], "M8[h]")
    convert({"x": values}, "t.npk", dtype="M8[D]")
    assert_same(arrays_of()["x"], values.astype("M8[D]"))


def test_links_are_followed(store):
    Path("real").mkdir()
    np.save("real/x.npy", np.arange(1))
    Path("x.npy").symlink_to("real/x.npy")
    convert("s.npk", "x.npy", arrays="y")
    assert Path("x.npy").is_symlink()
    assert np.load("real/x.npy").tolist() == [0, 1, 2]


def test_permissions_of_new_files_are_those_of_the_process(store):
    before = os.umask(0o027)
    try:
        convert("s.npk", "x.npy", arrays="y")
    finally:
        os.umask(before)
    assert Path("x.npy").stat().st_mode & 0o777 == 0o640


def test_unknown_package_of_a_format():
    assert by_name("npy").packages == ()
    with pytest.raises(InvalidValueError):
        by_name("what")
    assert issubclass(MissingDependencyError, ImportError)
