"""`convert`: what does not depend on the format."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import numpy as np
import pytest
from support.files import contents
from support.formats.arrays import assert_same
from support.store.numpack0_store import write

from numpack import NumPack, UnsupportedError, convert
from numpack.errors import (
    InvalidValueError,
    MissingDependencyError,
    NotFoundError,
    StoreError,
    StoreNotFoundError,
    WrongTypeError,
)
from numpack.formats import FORMATS, by_name


@pytest.fixture
def store():
    with NumPack("s.npk") as npk:
        npk.save({"x": np.arange(6.0).reshape(3, 2), "y": np.arange(3)})
        yield npk


def arrays_of(path="t.npk"):
    with NumPack(path, mode="r") as found:
        assert found.verify().ok
        return dict(found)


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


# Stores


def test_open_stores_are_source_and_target(store):
    with NumPack("t.npk") as target:
        target.save({"z": np.zeros(1)})
        commit = target.commit
        convert(store, target, arrays=["x"])
        assert target.commit == commit + 1
        assert list(target) == ["z", "x"]
        assert store.is_opened
        assert target.is_opened


def test_a_store_into_itself(store):
    convert("s.npk", "s.npk", arrays=["x"], rename={"x": "copy"}, dtype="f4")
    convert("s.npk", "s.npk", arrays=["y"], append=True)
    found = arrays_of("s.npk")
    assert_same(found["copy"], found["x"].astype("f4"))
    assert_same(found["y"], np.array([0, 1, 2, 0, 1, 2]))


def test_changes_of_a_batch_are_seen(store):
    with store.batch_mode():
        store["x"][0] = 7
        convert(store, "t.npk")
    assert arrays_of()["x"][0].tolist() == [7, 7]


def test_deleted_rows_are_left_out(store):
    rows = np.arange(3 << 20, dtype="i4").reshape(-1, 2)
    store.save({"big": rows})
    gone = np.r_[0, 3, 17:900_000:3, len(rows) - 1]
    store.drop("big", gone)
    convert("s.npk", "t.npk")
    assert_same(arrays_of()["big"], np.delete(rows, gone, 0))
    store.drop("y", [0, 1, 2])
    convert("s.npk", "y.npy", arrays="y")
    assert np.load("y.npy").shape == (0,)


def test_rows_that_are_not_in_place_yet(store, monkeypatch):
    """A reader that cannot finish a replace applies it to what it reads."""
    from numpack.store.session import Session

    with monkeypatch.context() as patched:
        patched.setattr(Session, "clear_journal", lambda *_, **__: None)
        patched.setattr(Session, "apply_replacement", lambda *_, **__: None)
        store.replace({"x": np.full((1, 2), 9.0)}, [1])
    convert("s.npk", "t.npk")
    assert arrays_of()["x"].tolist() == [[0, 1], [9, 9], [4, 5]]


def test_an_earlier_commit(store):
    seen = store.commit
    store.append({"y": np.arange(2)})
    convert("s.npk", "y.npy", arrays=["y"], at=seen)
    assert np.load("y.npy").tolist() == [0, 1, 2]


def test_rows_replaced_meanwhile_are_not_seen(store):
    store.save({"big": np.zeros((9 << 20) // 4, "f4")})

    def change(*_):
        store.replace({"big": np.ones(2, "f4")}, [0, -1])
        store.drop("y")

    convert("s.npk", "t.npk", arrays=["big", "y"], progress=change)
    assert not arrays_of()["big"].any()
    assert arrays_of()["y"].tolist() == [0, 1, 2]


def test_more_arrays_than_files_can_be_open(run_python):
    run_python(
        """
import resource, numpy as np
from numpack import NumPack, convert
convert({f"a{i}": np.full(3, i) for i in range(200)}, "s.npk")
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
convert("s.npk", "t.npk")
convert("s.npk", "x.npz")
with NumPack("t.npk", mode="r") as npk:
    assert len(npk) == 200 and npk["a150"].tolist() == [150] * 3
"""
    )


def test_only_the_arrays_that_are_read_are_held_open(run_python):
    run_python(
        """
import resource, numpy as np
from numpack import NumPack, convert
convert({f"a{i}": np.full(3, i) for i in range(200)}, "s.npk")
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
with NumPack("s.npk") as store:
    rows = {"a7": np.ones(2, int)}
    convert(store, "x.npy", arrays=["a7"], progress=lambda *_: store.append(rows))
assert np.load("x.npy").tolist() == [7] * 3
"""
    )


def test_stores_at_urls_are_read(store):
    url = Path("published.npk").absolute().as_uri()
    store.save({"big": np.arange(3 << 20)})
    store.drop("big", [1, 5])
    store.publish(url)
    convert(url, "t.npk", cache="cache", arrays=["big", "y"])
    assert_same(arrays_of()["big"], store["big"])
    assert_same(arrays_of()["y"], store["y"])


def test_append_needs_arrays_of_the_same_rows(store):
    before = contents("s.npk")
    for given, error in (
        ({"z": np.arange(3)}, NotFoundError),
        ({"x": np.zeros((1, 3))}, InvalidValueError),
        ({"y": np.zeros(1, "f4")}, InvalidValueError),
        ({"y": np.array(1)}, InvalidValueError),
    ):
        with pytest.raises(error):
            convert(given, "s.npk", append=True)
        assert contents("s.npk") == before
    with pytest.raises(StoreNotFoundError):
        convert({"x": np.arange(3)}, "t.npk", append=True)
    with pytest.raises(UnsupportedError, match="append=True is for stores"):
        convert({"x": np.arange(3)}, "x.npz", append=True)
    convert({"x": np.ones((1, 2)), "y": np.array([9])}, "s.npk", append=True)
    assert arrays_of("s.npk")["x"].shape == (4, 2)


def test_a_target_that_cannot_be_written_is_refused_before(store):
    with NumPack("s.npk", mode="r") as reading, pytest.raises(StoreError, match="mode='r'"):
        convert({"x": np.arange(3)}, reading)
    Path("file.npk").write_text("no store")
    with pytest.raises(StoreError):
        convert("s.npk", "file.npk")
    Path("folder.npk").mkdir()
    convert("s.npk", "folder.npk")
    assert list(arrays_of("folder.npk")) == ["x", "y"]
    Path("full.npk").mkdir()
    Path("full.npk", "other").write_text("")
    with pytest.raises(StoreError):
        convert("s.npk", "full.npk")
    assert sorted(os.listdir("full.npk")) == ["other"]


def test_a_store_made_meanwhile_keeps_its_arrays(store):
    def interfere(*_):
        with NumPack("t.npk") as other:
            other.save({"other": np.arange(2)})

    convert("s.npk", "t.npk", progress=interfere)
    assert list(arrays_of()) == ["other", "x", "y"]


def test_attributes_are_added_to_those_of_the_store(store):
    store.attrs["x"].update(units="K", dims=["a", "b"])
    store.attrs.store["title"] = "new"
    with NumPack("t.npk") as target:
        target.save({"x": np.zeros(1)})
        target.attrs["x"].update(units="C", kept=True)
        target.attrs.store.update(title="old", kept=True)
    convert("s.npk", "t.npk")
    with NumPack("t.npk") as target:
        assert dict(target.attrs["x"]) == {"units": "K", "kept": True, "dims": ["a", "b"]}
        assert dict(target.attrs.store) == {"title": "new", "kept": True}


def test_durable_stores(store):
    convert("s.npk", "t.npk", durability="power")
    convert("s.npk", "t.npk", durability="power", append=True)
    assert arrays_of()["y"].tolist() == [0, 1, 2, 0, 1, 2]


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


def test_store_of_numpack_0_is_read(store):
    Path("old.npk").mkdir()
    write({"x": np.arange(5)})
    Path("old.npk").rename("old")
    convert("old", "x.npy", arrays=["x"])
    assert np.load("x.npy").tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(StoreError, match="NumPack 0"):
        convert("s.npk", "old")


def test_packages_are_source_and_target(store):
    store.drop("y", 0)
    convert("s.npk", "x.npkz", rename={"y": "z"})
    with NumPack("x.npkz", mode="r") as package:
        assert package.verify().ok
        assert package["z"].tolist() == [1, 2]
    convert("x.npkz", "t.npk")
    assert_same(arrays_of()["x"], store["x"])
    convert({"n": np.arange(2)}, "x.npkz")
    convert("x.npkz", "n.npy")
    assert np.load("n.npy").tolist() == [0, 1]
    with pytest.raises(UnsupportedError, match="unpack it"):
        convert({"n": np.arange(2)}, "x.npkz", append=True)
    assert sorted(os.listdir()) == ["n.npy", "s.npk", "t.npk", "x.npkz"]


def test_unknown_package_of_a_format():
    assert by_name("npy").packages == ()
    with pytest.raises(InvalidValueError):
        by_name("what")
    assert issubclass(MissingDependencyError, ImportError)
