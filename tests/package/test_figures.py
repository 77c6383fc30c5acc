"""The figures in docs/speed.md are those of the benchmarks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import measure
import pytest

from numpack.doctor import own_calls

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("exchange", ROOT / "benchmarks/exchange.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_has_the_calls_of_the_benchmark(benchmark):
    """The calls in the page are those that benchmarks/exchange.py measures."""
    page = (ROOT / "docs/speed.md").read_text()
    table = page.split("<!-- benchmarks/exchange.py -->")[1].split(measure.END)[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| `")]
    found = [(ours.strip(" `"), theirs.strip(" `")) for ours, theirs, *_ in rows]
    assert found == [(contest.ours, contest.theirs) for contest in benchmark.CONTESTS]


def test_page_has_the_ratios_of_all_routes():
    page = (ROOT / "docs/speed.md").read_text()
    table = page.split("<!-- benchmarks/routes.py -->")[1].split(measure.END)[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in row] for row in rows)
    assert head[1:] == [row[0] for row in rows] == list(own_calls.FROM_NUMPY)
    ratios = {cell for row in rows for cell in row[1:] if cell}
    assert all(0 < float(ratio) < 10 for ratio in ratios)


def test_page_has_the_results_of_the_store_benchmark():
    page = (ROOT / "docs/speed.md").read_text()
    table = page.split("<!-- benchmarks/store.py -->")[1].split(measure.END)[0]
    for result in json.loads((ROOT / "benchmarks/store.json").read_text())["aims"]:
        row = f"{result['ratio']:.3f} |"
        assert any(
            line.startswith(f"| {result['ours']} |") and line.endswith(row)
            for line in table.splitlines()
        ), result


def test_page_has_the_results_of_the_loader_benchmark():
    page = (ROOT / "docs/speed.md").read_text()
    table = page.split("<!-- benchmarks/loader.py -->")[1].split(measure.END)[0]
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line
    ]
    results = json.loads((ROOT / "benchmarks/loader.json").read_text())["bars"]
    assert len(lines) == len(results) + 2
    for line, result in zip(lines[2:], results, strict=True):
        assert line[:2] == [result["ours"], result["theirs"]]
        shown = float(line[-1].removesuffix(" ×").replace(",", ""))
        assert shown == pytest.approx(result["their_cost"] / result["our_cost"], rel=0.06)


def test_page_has_the_results_of_the_allocation_benchmark():
    page = (ROOT / "docs/benchmarks.md").read_text()
    table = page.split("<!-- benchmarks/allocation.py -->")[1].split(measure.END)[0]
    head, _, *lines = (line.strip("| ").split("|") for line in table.strip().splitlines())
    found = {
        (line[0].strip(), size.strip()): ratio.strip()
        for line in lines
        for size, ratio in zip(head, line[1:], strict=False)
        if ratio.strip()
    }
    results = json.loads((ROOT / "benchmarks/allocation.json").read_text())["results"]
    assert found == {(r["ours"], r["theirs"]): f"{r['ratio']:.2f}" for r in results}
