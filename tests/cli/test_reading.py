"""`ls`, `show`, `info` and `verify`."""

from __future__ import annotations

import datetime
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from support.each import for_each

from numpack import NumPack

DATA = Path(__file__).parents[1] / "data"
NAMES = [
    *("x", "labels", "model/layers.0.self_attention.query.weight", "when", "names", "flag"),
    *("scalar", "empty"),
]


def test_ls_lists_names_dtypes_and_shapes(run):
    lines = run("ls", "features.npk").out.splitlines()
    assert lines[0].split() == ["name", "dtype", "shape", "size"]
    assert [line.split()[0] for line in lines[1:]] == NAMES
    assert lines[1].split() == ["x", "float32", "(2000,", "8)", "62.5", "KiB"]
    assert lines[7].split() == ["scalar", "float64", "()", "8", "B"]


def test_ls_long(run):
    lines = run("ls", "-l", "-b", "features.npk", "labels", "fl*").out.splitlines()
    head, labels, flag = (line.split() for line in lines)
    assert head[-3:] == ["deleted", "modified", "checked"]
    assert labels[:5] == ["labels", "int64", "(1998,)", "15,984", "2"]
    assert flag[:3] == ["flag", "bool", "(3,)"]
    assert labels[-1] == flag[-1] == "yes"
    assert labels[5] == f"{datetime.datetime.now():%Y-%m-%d}" or labels[5] < flag[4]


def test_ls_json_and_names(run, made):
    found = {each["name"]: each for each in run("ls", "features.npk", "--json").json}
    assert list(found) == NAMES
    for name, array in made.items():
        assert found[name]["shape"] == list(array.shape)
        assert found[name]["dtype"] == str(array.dtype)
        assert found[name]["nbytes"] == array.nbytes
    assert (found["labels"]["deleted_rows"], found["labels"]["deleted_bytes"]) == (2, 16)
    assert datetime.datetime.fromisoformat(found["x"]["modified"]).tzinfo is not None
    assert run("ls", "-1", "features.npk").out.splitlines() == NAMES
    assert run("ls", "-1S", "features.npk").out.splitlines()[0] == "x"


def test_ls_of_an_empty_store(run):
    NumPack("none.npk").open()
    assert run("ls", "none.npk").out == ""
    assert run("ls", "none.npk", "--json").json == []


def test_show_prints_values(run, made):
    out = run("show", "features.npk", "x[10:20, :4]").out
    assert out.splitlines()[0] == "x[10:20, :4]  float32 (10, 4)"
    assert np.array2string(made["x"][10:20, :4], max_line_width=80) in out
    assert "'K'" in out
    assert "['time', 'site']" in out
    assert "2.5" in run("show", "features.npk", "scalar").out
    assert (
        np.array2string(made["when"], max_line_width=80)
        in run("show", "features.npk", "when").out
    )


@for_each(
    ("text", "index"),
    [
        ("x", ()),
        ("x[3]", 3),
        ("x[-1, 2]", (-1, 2)),
        ("x[10:4:-2, ...]", slice(10, 4, -2)),
        ("x[..., 1]", (..., 1)),
        ("labels[:7]", slice(7)),
        ("labels[1990:]", slice(1990, None)),
        ("empty", ()),
        ("empty[:, 1]", (slice(None), 1)),
        ("flag[::-1]", slice(None, None, -1)),
        ("scalar", ()),
    ],
)
def test_show_selects_as_numpy_does(run, made, text, index):
    (found,) = run("show", "features.npk", text, "--json", "--all").json
    expected = made[text.partition("[")[0]][index]
    assert found["shape"] == list(np.shape(expected))
    assert np.array_equal(
        np.array(found["values"], expected.dtype).reshape(expected.shape), expected
    )


def test_show_reads_the_ends_of_large_arrays(run, made):
    for name in ("x", "labels"):
        shown = run("show", "features.npk", name).out
        text = np.array2string(made[name], max_line_width=80)
        assert text in shown, name
    whole = run("show", "features.npk", "labels", "--all").out
    assert whole.count("\n") > 30
    numbers = " ".join(whole.splitlines()[1:]).strip("[ ]").split()
    assert list(map(int, numbers)) == made["labels"].tolist()


def test_show_everything_and_headers(run):
    out = run("show", "features.npk").out
    assert all(name in out for name in NAMES)
    header = run("show", "features.npk", "-H").out.splitlines()
    assert len(header) == len(NAMES) + 2  # and the attributes of x
    (found,) = run("show", "features.npk", "x", "--json", "-H").json
    assert found == {
        "name": "x",
        "dtype": "float32",
        "shape": [2000, 8],
        "attributes": {"units": "K", "dims": ["time", "site"]},
    }


def test_show_name_with_brackets(run):
    with NumPack("features.npk") as npk:
        npk.save({"x[0]": np.arange(3)})
    assert "[0 1 2]" in run("show", "features.npk", "x[0]").out
    assert "1" in run("show", "features.npk", "x[0][1]").out.splitlines()[1]


def test_json_values_of_each_kind(run):
    with NumPack("kinds.npk") as npk:
        npk.save(
            {
                "nan": np.array([np.nan, np.inf, -np.inf, 1]),
                "complex": np.array([1 + 2j]),
                "time": np.array(["2026-01-01T10", "NaT"], "M8[h]"),
                "bytes": np.array([b"a\xff"]),
                "record": np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]),
                "raw": np.array([b"\x01\x02"], "V2"),
            }
        )
    found = {each["name"]: each["values"] for each in run("show", "kinds.npk", "--json").json}
    assert found == {
        "nan": ["NaN", "Infinity", "-Infinity", 1.0],
        "complex": [[1.0, 2.0]],
        "time": ["2026-01-01T10", None],
        "bytes": ["a\\xff"],
        "record": [{"a": 1, "b": 2.5}],
        "raw": ["0102"],
    }


def test_info(run, made):
    found = run("info", "features.npk", "--json").json
    assert found["format"] == "numpack"
    assert found["version"] == 2
    assert found["commit"] == 4
    assert found["arrays"] == len(NAMES)
    assert found["live_bytes"] == sum(array.nbytes for array in made.values())
    assert found["deleted_bytes"] == 16
    assert found["orphaned_bytes"] == 0
    assert found["attributes"] == {"title": "Test\x1b[2J"}
    assert found["lock_holders"] == []
    Path("features.npk/data", f"00000099-{found['token']}.bin").write_bytes(b"1234567")
    out = run("info", "features.npk", "-b").out
    assert "numpack, version 2" in out
    assert "nobody is writing" in out
    assert out.split("unnamed files")[1].split()[0] == "7"


def test_info_names_the_writer(run):
    script = """
import sys, numpack
with numpack.NumPack("features.npk") as npk, npk._handle.write_transaction():
    print(flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        (holder,) = run("info", "features.npk", "--json").json["lock_holders"]
        assert holder["pid"] == writer.pid
        assert holder["writes"] is True
        assert f"held by process {writer.pid}" in run("info", "features.npk").out
        done = run("rm", "features.npk:x", "--wait", "0.1", expect=2)
        assert f"process {writer.pid}" in done.err
        writer.stdin.close()


def test_info_counts_parallel_writes(run):
    with NumPack("features.npk") as npk, npk.begin("new", (4, 2), "f8") as plan:
        found = run("info", "features.npk", "--json").json
        assert found["parallel_writes"] == 1
        plan[:] = np.zeros((4, 2))
    assert run("info", "features.npk", "--json").json["parallel_writes"] == 0


def test_verify(run, made):
    assert "all as written" in run("verify", "features.npk").out
    assert run("verify", "-q", "features.npk").out == ""
    with NumPack("other.npk") as npk:
        npk.save({"long": np.zeros((1 << 20, 3), "u1")})
    data = next(Path("other.npk/data").glob("*.bin"))
    with data.open("r+b") as file:
        file.seek((1 << 20) + 30)
        file.write(b"\1")
    done = run("verify", "features.npk", "other.npk", "-q", expect=1)
    assert "features.npk" not in done.out
    assert "'long', block 1 (rows 349,525 to 699,050): its checksum is wrong" in done.out
    first, second = run("verify", "features.npk", "other.npk", "--json", expect=1).json
    assert first["ok"]
    assert first["nbytes"] == sum(array.nbytes for array in made.values()) + 16
    assert not second["ok"]
    assert second["damaged"] == [
        {"array": "long", "block": 1, "rows": [349525, 699051], "what": "its checksum is wrong"}
    ]


def test_verify_reports_a_store_that_cannot_be_opened(run):
    Path("features.npk/commits.log").write_bytes(b"nonsense\n")
    done = run("verify", "features.npk", "--json", expect=1)
    assert not done.json[0]["ok"]
    assert "damaged" in run("verify", "features.npk", expect=1).out
    run("ls", "features.npk", expect=2)


def test_urls_are_read(run, made, tmp_path):
    url = (tmp_path / "published.npk").as_uri()
    assert "commit 4" in run("publish", "features.npk", url).out
    local = run("ls", "-l", "features.npk", "--json").json
    assert run("ls", "-l", url, "--json").json == local
    assert np.array2string(made["x"][:2], max_line_width=80) in run("show", url, "x[:2]").out
    assert run("verify", url, "--json").json[0]["ok"]
    assert run("info", url, "--json").json["commit"] == 4
    done = run("rm", f"{url}:x", expect=2)
    assert "is a URL, and is only read" in done.err


def test_reading_beside_a_writer(run):
    """A store that changes all the time is listed as of some commit."""
    stop = threading.Event()

    def write():
        with NumPack("features.npk") as npk:
            while not stop.is_set():
                npk.append({"flag": np.array([True])})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            assert run("verify", "features.npk", "--json").json[0]["ok"]
            run("show", "features.npk", "flag", "--stats")
    finally:
        stop.set()
        writer.join()


def test_earlier_commits(run):
    with NumPack("past.npk") as npk:
        npk.save({"x": np.arange(3)})
        npk.append({"x": np.arange(2)})
    assert run("ls", "past.npk", "--json").json[0]["shape"] == [5]
    assert run("ls", "--at", "1", "past.npk", "--json").json[0]["shape"] == [3]
    assert "[0 1 2]" in run("show", "--at", "1", "past.npk").out
    assert run("info", "--at", "1", "past.npk", "--json").json["commit"] == 1
    assert "commit" in run("ls", "--at", "9", "past.npk", expect=2).err


def test_folders_of_numpack_0(run, tmp_path):
    import shutil

    shutil.copytree(DATA / "numpack-0.7.0" / "names.npk", "old.npk")
    with NumPack("old.npk", mode="r") as npk:
        names = list(npk)
    listed = run("ls", "-l", "old.npk", "--json").json
    assert [each["name"] for each in listed] == names
    assert not any(each["has_checksums"] for each in listed)
    assert run("info", "old.npk", "--json").json["format"] == "NumPack 0.x"
    run("show", "old.npk")
    assert "not checked" in run("verify", "old.npk").out
    assert "read-only" in run("rm", f"old.npk:{names[0]}", expect=2).err


def test_packages_are_read(run, made):
    local = run("ls", "features.npk", "--json").json
    assert len(run("pack", "features.npk", "--json").json["arrays"]) == len(NAMES)
    packed = run("ls", "features.npkz", "--json").json
    for before, after in zip(local, packed, strict=True):
        assert (before["name"], before["shape"]) == (after["name"], after["shape"])
        assert after["deleted_rows"] == 0
    assert run("show", "features.npkz", "labels", "--all", "--json").json[0]["values"] == (
        made["labels"].tolist()
    )
    assert run("verify", "features.npkz", "--json").json[0]["ok"]
    assert run("info", "features.npkz", "--json").json["commit"] == 4
    assert "read" in run("rm", "features.npkz:x", expect=2).err
    assert len(run("unpack", "--list", "features.npkz", "--json").json["arrays"]) == len(NAMES)
    assert "8 arrays" in run("unpack", "features.npkz", "again.npk").out
    run("unpack", "features.npkz", "again.npk", expect=2)


def test_explain_files(run, made):
    np.save("x.npy", made["x"])
    (route,) = run("explain", "x.npy", "numpy", "--json").json
    assert route["shares_memory"]
    assert run("explain", "features.npk:x", "numpy", "--exit-code", "--json").json == [route]
    run("convert", "features.npk", "x.npz", "-a", "x", "-a", "flag", "--no-attrs")
    (route,) = run("explain", "x.npz:x", "numpy", "--json").json
    assert not route["shares_memory"]
    assert route["nbytes"] == made["x"].nbytes
    assert "numpack convert x.npz x.npk" in route["fix"]
    run("explain", "x.npz:x", "numpy", "--exit-code", expect=1)
    assert "'flag'" in run("explain", "x.npz", "numpy", expect=2).err
    assert "'nope'" in run("explain", "x.npz:nope", "numpy", expect=2).err


def test_explain_a_safetensors_file(run, made):
    run("convert", "features.npk", "x.safetensors", "-a", "x", "--no-attrs")
    (route,) = run("explain", "x.safetensors", "numpy", "--json").json
    assert route["shares_memory"]
