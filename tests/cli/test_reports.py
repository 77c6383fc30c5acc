"""What `verify`, `show --stats` and `explain` report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from numpack import NumPack


def test_verify_reports_every_store(run):
    with NumPack("good.npk") as npk:
        npk.save({"x": np.arange(3)})
    with NumPack("bad.npk") as npk:
        npk.save({"x": np.arange(3)})
    (data,) = Path("bad.npk/data").glob("*.bin")
    data.write_bytes(b"\1" * data.stat().st_size)
    paths = ("bad.npk", "none\x1b.npk", "good.npk")
    done = run("verify", *paths, expect=2)
    lines = done.out.splitlines()
    assert lines[0].startswith("bad.npk: ")
    assert lines[-1].startswith("good.npk: ")
    assert done.err == "numpack: none\\x1b.npk: there is no store at none\\x1b.npk\n"
    done = run("verify", "--json", *paths, expect=2)
    assert [(each["store"], each["ok"]) for each in done.json] == [
        ("bad.npk", False),
        ("none\x1b.npk", False),
        ("good.npk", True),
    ]
    assert "there is no store" in done.json[1]["error"]
    run("verify", "bad.npk", "good.npk", expect=1)


def test_show_refuses_bins(run):
    for bins in ("0", "-3"):
        done = run("show", "features.npk", "x", "--stats", "--bins", bins, expect=2)
        assert (done.out, done.err) == ("", f"numpack: --bins must be positive, not {bins}\n")


def test_times_that_are_missing_are_called_nat(run):
    with NumPack("features.npk") as npk:
        npk.save({"t": np.array(["NaT", "2026-01-01"], "M8[D]"), "f": np.array([np.nan, 1.0])})
    assert "  NaT     1\n" in run("show", "features.npk", "t", "--stats").out
    assert "  NaN     1\n" in run("show", "features.npk", "f", "--stats").out


def test_explain_tells_the_size_of_a_table_of_many_blocks(run):
    count = 200_000  # of which a block holds a part
    Path("t.csv").write_text("price,q\n" + "1.5,2\n" * count)
    (found,) = run("explain", "t.csv:price", "numpy", "--json").json
    assert found["nbytes"] == 8 * count
    assert f"{8 * count:,} bytes copied" in run("explain", "t.csv:price", "numpy").out


def test_explain_refuses_unknown_names_of_npy_files(run):
    np.save("one.npy", np.zeros(3))
    done = run("explain", "one.npy:other", "numpy", expect=2)
    assert "one.npy has no array 'other'; its arrays are: 'one'" in done.err
    run("explain", "one.npy:one", "numpy")
    run("explain", "one.npy", "numpy")
