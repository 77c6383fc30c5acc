"""`show --stats`."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import assert_each

from numpack import NumPack


def test_stats(run, made):
    values = made["x"].astype("f8")
    (found,) = run("show", "features.npk", "x", "--stats", "--json").json
    stats = found["stats"]
    assert stats["values"] == values.size
    assert stats["min"] == values.min()
    assert stats["max"] == values.max()
    assert stats["mean"] == pytest.approx(values.mean())
    assert stats["std"] == pytest.approx(values.std())
    assert sum(stats["histogram"]) == values.size
    expected = np.histogram(values, len(stats["histogram"]))[0]
    assert np.abs(expected - stats["histogram"]).sum() <= 4  # of values on the edge of a bin
    out = run("show", "features.npk", "x[:, 0]", "--stats").out
    assert f"{made['x'][:, 0].min():.6g} " in out
    assert any(bar in out for bar in "▂▃▄▅▆▇█")


def test_stats_of_each_kind(run):
    rng = np.random.default_rng(1)
    cases = {
        "f2": np.array([1, np.nan, 3, np.inf], "f2"),
        "all nan": np.full(3, np.nan),
        "u8": np.array([2**64 - 1, 0, 2**63], "u8"),
        "i8": np.array([-(2**63), 2**63 - 1]),
        "bool": np.array([True, True, False]),
        "complex": np.array([1 + 1j, 3 - 1j]),
        "time": np.array(["2026-01-01", "NaT", "2026-01-03"], "M8[D]"),
        "span": np.array([1, 3], "m8[s]"),
        "big": np.array([1e308, -1e308, 1e308]),
        "one": np.float32(7),
        "empty": np.zeros((0, 2)),
        "wide": rng.normal(size=(3, 400_000)),
    }
    with NumPack("kinds.npk") as npk:
        npk.save(cases)
    texts = run("show", "kinds.npk", "--stats").out
    assert "2026-01-02" in texts
    found = {
        each["name"]: each["stats"] for each in run("show", "kinds.npk", "-s", "--json").json
    }

    def check(name, key, expected):
        assert found[name][key] == expected

    assert_each(
        [
            ("f2", "nan", 1),
            ("f2", "infinite", 1),
            ("f2", "min", 1.0),
            ("f2", "max", "Infinity"),
            ("f2", "mean", None),
            ("f2", "high", 3.0),
            ("all nan", "nan", 3),
            ("all nan", "min", None),
            ("all nan", "histogram", []),
            ("u8", "max", 2**64 - 1),
            ("i8", "min", -(2**63)),
            ("i8", "max", 2**63 - 1),
            ("bool", "histogram", [1, 2]),
            ("bool", "max", True),
            ("complex", "mean", [2.0, 0.0]),
            ("complex", "min", None),
            ("time", "nan", 1),
            ("time", "mean", "2026-01-02"),
            ("time", "histogram", [1, 0, 1]),
            ("span", "max", "3 seconds"),
            ("one", "histogram", [1]),
            ("one", "std", 0.0),
            ("empty", "values", 0),
            ("empty", "mean", None),
        ],
        check,
    )
    assert sum(found["i8"]["histogram"]) == 2
    assert sum(found["big"]["histogram"]) == 3
    assert found["wide"]["mean"] == pytest.approx(cases["wide"].mean())


def test_stats_of_narrow_floats(run):
    import ml_dtypes

    values = np.arange(100).astype(ml_dtypes.bfloat16)
    values[3] = np.nan
    with NumPack("narrow.npk") as npk:
        npk.save({"x": values, "y": np.array([1, -2], ml_dtypes.int4)})
    x, y = run("show", "narrow.npk", "--stats", "--json").json
    assert (x["stats"]["max"], x["stats"]["nan"]) == (99.0, 1)
    assert (y["stats"]["min"], y["stats"]["max"]) == (-2, 1)
    assert run("show", "narrow.npk", "y", "--json").json[0]["values"] == [1, -2]


def test_stats_of_what_has_none(run):
    done = run("show", "features.npk", "names", "--stats", expect=2)
    assert "no statistics" in done.err
    assert (
        "names" in run("show", "features.npk", "--stats").out
    )  # with others it is passed over


def test_stats_read_a_few_mib_at_a_time(run, monkeypatch):
    from numpack.cli._selection import Rows

    with NumPack("large.npk") as npk:
        npk.save({"x": np.arange(6 << 20, dtype="f8")})
    sizes, read = [], Rows.read

    def spy(self, start, stop):
        part = read(self, start, stop)
        sizes.append(part.nbytes)
        return part

    monkeypatch.setattr(Rows, "read", spy)
    (found,) = run("show", "large.npk", "x", "--stats", "--json").json
    assert sum(sizes) == 2 * (48 << 20)
    assert max(sizes) <= 8 << 20
    assert found["stats"]["mean"] == ((6 << 20) - 1) / 2


def test_stats_of_a_file_that_does_not_fit_in_memory(run_python):
    run_python(
        """
import contextlib, io, json, resource
from pathlib import Path
import numpy as np
from numpack import NumPack
from numpack.cli import main

with NumPack("large.npk") as npk:
    npk.save({"x": np.zeros((0, 1024), "f4")})
    for number in range(12):
        npk.append({"x": np.full((4096, 1024), number, "f4")})
    npk.drop("x", [0])
main(["show", "large.npk", "x[:9]", "--stats"])  # imports everything
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (64 << 20),) * 2)
with contextlib.redirect_stdout(io.StringIO()) as out:
    assert main(["show", "large.npk", "x", "--stats", "--json"]) == 0
(found,) = json.loads(out.getvalue())
assert found["stats"]["max"] == 11.0 and found["stats"]["values"] == (12 * 4096 - 1) * 1024
with contextlib.redirect_stdout(io.StringIO()) as out:
    assert main(["show", "large.npk", "x"]) == 0
assert "11." in out.getvalue()
"""
    )
