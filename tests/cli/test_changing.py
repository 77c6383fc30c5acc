"""`cp`, `mv`, `rm`, `compact` and `convert`, and addresses of arrays."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each

from numpack import NumPack
from numpack.cli._stores import Address, address
from numpack.errors import InvalidValueError, NotFoundError, StoreError


def loaded(path):
    with NumPack(path, mode="r") as npk:
        return {name: npk[name] for name in npk}


def commit_of(path):
    with NumPack(path, mode="r") as npk:
        return npk.commit


def same(found, expected):
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype
        and np.array_equal(found[name], expected[name])
        for name in expected
    )


@for_each(
    ("text", "store", "name"),
    [
        ("a.npk", "a.npk", ""),
        ("a.npk:x", "a.npk", "x"),
        ("a.npk:x:y.npk:z", "a.npk", "x:y.npk:z"),
        ("a.npkz:x", "a.npkz", "x"),
        ("s3://bucket/a.npk:x", "s3://bucket/a.npk", "x"),
        ("http://host:80/a.npk", "http://host:80/a.npk", ""),
        ("dir:with/store:x", "dir:with/store", "x"),
        ("dir:with/store", "dir:with/store", ""),
        ("w.safetensors:layer:0", "w.safetensors", "layer:0"),
        ("absent:x", "absent", "x"),
    ],
)
def test_addresses(text, store, name):
    Path("dir:with/store").mkdir(parents=True, exist_ok=True)
    Path("w.safetensors").touch()
    assert address(text) == Address(store, name)
    assert str(address(text)) == text


def test_cp_between_stores_is_one_commit(run, made):
    run("cp", "features.npk:x", "features.npk:labels", "new.npk")
    assert same(loaded("new.npk"), {name: made[name] for name in ("x", "labels")})
    assert commit_of("new.npk") == 1
    run("cp", "features.npk:m*", "features.npk:when", "new.npk:old/")
    assert commit_of("new.npk") == 2
    name = "old/model/layers.0.self_attention.query.weight"
    assert list(loaded("new.npk")) == ["x", "labels", name, "old/when"]
    with NumPack("new.npk", mode="r") as npk:
        assert npk.attrs["x"] == {"units": "K", "dims": ["time", "site"]}
        assert dict(npk.attrs.store) == {}
        assert npk.verify().ok


def test_cp_of_a_store_copies_all_of_it(run, made):
    run("cp", "features.npk", "copy.npk")
    assert same(loaded("copy.npk"), made)
    with NumPack("copy.npk", mode="r") as npk:
        assert dict(npk.attrs.store) == {"title": "Test\x1b[2J"}
        assert npk.commit == 1


def test_cp_within_a_store(run, made):
    done = run("cp", "features.npk:x", "features.npk:y", "--json")
    assert done.json == [{"from": "features.npk:x", "to": "features.npk:y"}]
    found = loaded("features.npk")
    assert np.array_equal(found["y"], made["x"])
    assert np.array_equal(found["x"], made["x"])


def test_cp_from_several_stores_is_one_commit(run, made):
    with NumPack("other.npk") as npk:
        npk.save({"z": np.arange(3)})
    run("cp", "features.npk:x", "other.npk:z", "both.npk")
    assert same(loaded("both.npk"), {"x": made["x"], "z": np.arange(3)})
    assert commit_of("both.npk") == 1


def test_existing_arrays_are_refused_without_force(run, made):
    for command in ("cp", "mv"):
        done = run(command, "features.npk:x", "features.npk:when", expect=2)
        assert "there is an array 'when' in features.npk already; -f replaces it" in done.err
    assert same(loaded("features.npk"), made)
    run("cp", "-f", "features.npk:x", "features.npk:when")
    assert np.array_equal(loaded("features.npk")["when"], made["x"])
    run("mv", "-f", "features.npk:flag", "features.npk:when")
    found = loaded("features.npk")
    assert np.array_equal(found["when"], made["flag"])
    assert "flag" not in found


@for_each(
    ("arguments", "why"),
    [
        (
            ("features.npk:x", "features.npk:flag", "new.npk:y"),
            "several arrays cannot be called",
        ),
        (("features.npk:nope", "new.npk"), "no array is called 'nope'"),
        (("features.npk:nope*", "new.npk"), "no array matches 'nope\\*'"),
        (("none.npk:x", "new.npk"), "there is no store at none.npk"),
        (("features.npk:[xf]*", "new.npk:y"), "several arrays would be called 'y'"),
    ],
)
def test_refused_copies_make_nothing(run, arguments, why):
    for command in ("cp", "mv"):
        done = run(command, *arguments, expect=2)
        assert why.replace("\\", "") in done.err
    assert not os.path.exists("new.npk")


def test_mv_renames_without_rewriting(run, made):
    before = {os.stat(each).st_ino for each in Path("features.npk/data").iterdir()}
    with NumPack("features.npk", mode="r") as npk:
        lazy = npk.load("labels", lazy=True)
        run("mv", "features.npk:labels", "features.npk:targets")
        assert np.array_equal(npk["targets"], made["labels"])
        assert np.array_equal(lazy, made["labels"])
    assert {os.stat(each).st_ino for each in Path("features.npk/data").iterdir()} == before
    run("mv", "features.npk:x", "features.npk:y")
    with NumPack("features.npk") as npk:
        assert npk.attrs["y"]["units"] == "K"
        assert npk.verify().ok
        npk.append({"targets": np.array([5])})
        assert npk["targets"][-1] == 5


def test_mv_between_stores(run, made):
    run("mv", "features.npk:x", "features.npk:when", "moved.npk:a/")
    assert same(loaded("moved.npk"), {"a/x": made["x"], "a/when": made["when"]})
    assert not {"x", "when"} & loaded("features.npk").keys()


def test_rm(run, made):
    assert run("rm", "features.npk:x", "features.npk:[fw]*").out == "3 arrays removed\n"
    assert not {"x", "flag", "when"} & loaded("features.npk").keys()
    run("rm", "features.npk:nope", expect=2)
    assert run("rm", "-f", "features.npk:nope", "features.npk:empty", "--json").json == [
        "features.npk:empty"
    ]
    done = run("rm", "features.npk", expect=2)
    assert "names a store and no array" in done.err


def test_compact(run, made):
    done = run("compact", "features.npk", "--json")
    assert done.json == [{"store": "features.npk", "arrays": 1, "freed_bytes": 16}]
    assert same(loaded("features.npk"), made)
    assert "0 arrays rewritten" in run("compact", "features.npk:labels").out


def test_convert(run, made):
    run("convert", "features.npk", "x.npy", "--array", "x", "--no-attrs")
    assert np.array_equal(np.load("x.npy"), made["x"])
    run("convert", "x.npy", "half.npk", "--rename", "x=y", "--dtype", "float16")
    assert same(loaded("half.npk"), {"y": made["x"].astype("f2")})
    run("convert", "x.npy", "features.npk", "--append")
    assert loaded("features.npk")["x"].shape == (4000, 8)
    Path("x.npy").rename("data.of.x")
    done = run("convert", "-f", "npy", "-t", "npk", "data.of.x", "folder", "--json")
    assert done.json == {"source": "data.of.x", "target": "folder"}
    assert len(loaded("folder")) == 1
    done = run("convert", "features.npk", "y.npy", "--array", "x")
    assert "numpack: warning: the attributes of 'x'" in done.err


@for_each(
    ("arguments", "why"),
    [
        (("features.npk", "x.unknown"), "the format of x.unknown is unknown"),
        (("none.npy", "x.npk"), "none.npy: No such file or directory"),
        (("features.npk", "x.npy", "--array", "nope"), "'nope'"),
        (("features.npk", "x.npy", "--dtype", "f4", "--dtype", "x=f2"), "given once for all"),
        (("features.npk", "x.npy", "-a", "x", "--option", "nope=1"), "has no option 'nope'"),
    ],
)
def test_refused_conversions(run, arguments, why):
    done = run("convert", *arguments, expect=2)
    assert why in done.err
    assert done.err.count("\n") == 1
    assert not os.path.exists(arguments[1])


# NumPack.rename -------------------------------------------------------------------------------


def test_rename_is_refused(made):
    with NumPack("features.npk") as npk:
        commit = npk.commit
        with pytest.raises(NotFoundError):
            npk.rename("nope", "y")
        with pytest.raises(InvalidValueError, match="there is an array 'flag' already"):
            npk.rename("x", "flag")
        with pytest.raises(InvalidValueError, match="must not be empty"):
            npk.rename("x", "")
        npk.rename("x", "x")
        with npk.writable_batch_mode() as batch:
            batch.load("x")
            with pytest.raises(StoreError, match="open in a writable_batch_mode"):
                npk.rename("x", "y")
        assert npk.commit <= commit + 2
        assert same({name: npk[name] for name in npk}, made)


def test_rename_in_a_batch(made):
    with NumPack("features.npk") as npk, npk.batch_mode():
        npk.save({"new": np.arange(3)})
        npk.load("flag")[:] = True
        npk.rename("new", "newer")
        npk.rename("flag", "flags")
        npk.attrs["newer"]["a"] = 1
    found = loaded("features.npk")
    assert found["newer"].tolist() == [0, 1, 2]
    assert found["flags"].all()
    assert not {"new", "flag"} & found.keys()


def test_rename_without_hard_links(made, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with NumPack("features.npk", durability="power") as npk:
        npk.rename("labels", "targets")
        npk.rename("x", "flag", overwrite=True)
        assert np.array_equal(npk["targets"], made["labels"])
        assert np.array_equal(npk["flag"], made["x"])
        assert npk.attrs["flag"]["units"] == "K"
        assert npk.verify().ok
    assert len(list(Path("features.npk/data").glob("*.bin"))) == len(made) - 1


def test_rename_that_fails_changes_nothing(made, monkeypatch):
    from numpack.store.commits import renaming

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    names = sorted(os.listdir("features.npk/data"))
    with NumPack("features.npk") as npk:
        with monkeypatch.context() as patch:
            patch.setattr(renaming, "commit", fail)
            with pytest.raises(OSError, match="No space left"):
                npk.rename("labels", "targets")
        assert same({name: npk[name] for name in npk}, made)
        assert sorted(os.listdir("features.npk/data")) == names


def test_packages_are_no_targets(run, made):
    run("pack", "features.npk", "old.npkz")
    before = Path("old.npkz").read_bytes()
    for command in ("cp", "mv"):
        for target in ("new.npkz", "new.npkz:y", "old.npkz", "old.npkz:y"):
            done = run(command, "features.npk:x", target, expect=2)
            assert "is a package, and is only read" in done.err
            assert "`numpack pack`" in done.err
    assert Path("old.npkz").read_bytes() == before
    assert not os.path.exists("new.npkz")
    assert same(loaded("features.npk"), made)
