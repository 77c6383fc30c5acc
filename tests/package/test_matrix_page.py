"""The table of conversions and its pages; ``make matrix-check`` compares the files."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import matrix
import measure
import numpy as np
import pytest
from conversions.arrays import DTYPES, LAYOUTS, MAPPED, MEMORY, OWN, READ_ONLY, Impossible, make
from conversions.fixes import code_of
from conversions.outcomes import COPIED, MAPPED_AGAIN, REFUSED, SHARED, outcome
from conversions.page import render
from conversions.sources import STORE, Sources, default_memory
from conversions.table import Table
from support.each import assert_each, for_each

ROOT = Path(__file__).parents[2]
NAMES = [layout.name for layout in LAYOUTS]


@pytest.fixture(scope="module")
def table() -> Table:
    return matrix.from_script(matrix.DATA.read_text())


@pytest.fixture
def sources(tmp_path):
    with Sources(tmp_path) as sources, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of copies
        yield sources


def held(sources, *choice):
    """Return an array, or ``None`` and why there is none."""
    try:
        return sources.hold(*choice), ""
    except Impossible as reason:
        return None, str(reason)


def made(dtype, layout, memory, folder):
    try:
        return make(dtype, layout, memory, folder)
    except Impossible:
        return None


def test_arrays_have_the_layout_of_their_column(tmp_path):
    """Each array has the layout of its column, for the dtypes that allow it."""
    for name in DTYPES:
        arrays = {layout: made(name, layout, OWN, tmp_path) for layout in NAMES}
        plain = arrays["C"]
        assert plain.dtype.hasobject or plain.ctypes.data % 64 == 0
        assert arrays["F"].flags.f_contiguous
        assert not arrays["step"].flags.c_contiguous
        assert arrays["neg"].strides[0] < 0
        assert arrays["bcast"] is None
        assert made(name, "bcast", READ_ONLY, tmp_path).strides[0] == 0
        assert arrays["empty"].size == arrays["0-D"].ndim == 0
        assert arrays["mask"].mask.view("?").any()
        assert arrays["null"].ndim == 1
        assert arrays["null"].mask.view("?").any()
        if not plain.dtype.hasobject:
            assert arrays["off"].flags.aligned
            assert arrays["off"].ctypes.data % 64
            assert arrays["odd"].flags.aligned == (plain.dtype.alignment == 1)
        if arrays["swap"] is not None:
            assert not arrays["swap"].dtype.isnative


def test_arrays_have_the_memory_of_their_kind(tmp_path):
    def check(layout, memory):
        array = made("float32", layout, memory, tmp_path)
        if array is None:
            assert layout == "bcast"
            assert not memory.read_only
            return
        assert array.flags.writeable != memory.read_only
        assert array.size == next(each.size for each in LAYOUTS if each.name == layout)
        base = array.data if isinstance(array, np.ma.MaskedArray) else array
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap) == memory.mapped

    assert_each([(layout, memory) for layout in NAMES for memory in MEMORY], check)


@for_each(
    ("source", "layout", "memory", "reason"),
    [
        ("torch", "neg", OWN, "it has negative strides"),
        ("torch", "C", READ_ONLY, "torch has no read-only arrays"),
        ("jax", "step", READ_ONLY, "its elements are not contiguous"),
        ("jax", "C", OWN, "JAX has no writable arrays"),
        ("arrow", "0-D", READ_ONLY, "its arrays have one axis"),
        ("numpy", "grad", OWN, "only PyTorch's tensors have it"),
        ("buffer", "chunks", OWN, "only columns have chunks"),
        (
            STORE,
            "odd",
            MAPPED,
            "a store keeps its rows C-contiguous, aligned and without masks",
        ),
    ],
)
def test_a_framework_without_such_an_array_says_why(source, layout, memory, reason, sources):
    with pytest.raises(Impossible, match=reason):
        sources.hold(source, "float32", layout, memory)


@for_each(
    ("source", "dtype", "layout", "memory", "target", "verdict", "code"),
    [
        ("numpy", "float32", "F", OWN, "torch", SHARED, "copy=False)"),
        ("numpy", "float32", "C", MAPPED, "torch", MAPPED_AGAIN, "copy=False)"),
        (STORE, "float32", "C", MAPPED, "torch", MAPPED_AGAIN, "copy=False)"),
        ("numpy", "bool", "C", OWN, "arrow", COPIED, ', "%T", copy=False, type=pa.bool8())'),
        ("numpy", "datetime64[ns]", "C", OWN, "torch", REFUSED, "x = x.view('i8')"),
        ("torch", "float32", "sparse", OWN, "numpy", REFUSED, "x = x.to_dense()"),
        ("arrow", "float32", "null", READ_ONLY, "numpy", COPIED, 'nulls="mask"'),
        ("polars", "string", "1-D", READ_ONLY, "numpy", COPIED, "copy=True)  # one copy"),
        ("numpy", "float32", "C", OWN, "cuda_array_interface", REFUSED, ""),
    ],
)
def test_outcomes_have_code_that_was_run(
    source, dtype, layout, memory, target, verdict, code, sources
):
    x = sources.hold(source, dtype, layout, memory)
    found = outcome(x, target)
    assert found.verdict == verdict
    assert bool(found.obstacles) == (verdict in (COPIED, REFUSED))
    shown = code_of(x, source, target, found)
    assert code in shown
    assert bool(shown) == bool(code)


def test_caution_is_without_the_array(sources):
    x = sources.hold("numpy", "float32", "C", READ_ONLY)
    assert outcome(x, "torch").caution.startswith("torch has no read-only tensors, so a write")


def test_committed_table_has_the_outcomes(table, sources):
    """A small part of the table, which is compared as a whole by ``make matrix-check``."""
    targets = table.data["targets"]

    def check(source, dtype, layout):
        memory = default_memory(source)
        cell = table.cell(source, dtype, layout, memory)
        x, why = held(sources, source, dtype, layout, memory)
        if x is None:
            assert cell == why
            return
        for target in ("numpy", "torch", "arrow"):
            *found, _ = cell[targets.index(target)]
            assert tuple(found) == outcome(x, target)

    cells = [
        (source, dtype, layout)
        for source in ("numpy", "torch", "arrow", STORE)
        for dtype in ("float32", "bool", "complex128")
        for layout in NAMES
    ]
    assert_each(cells, check)


def test_both_pages_are_of_one_table(table):
    assert render(table) == matrix.PAGE.read_text()
    assert matrix.to_script(table.data) == matrix.DATA.read_text()
    assert table.data["costs"] == matrix.costs()
    assert matrix.DATA.stat().st_size < 300_000


def test_costs_are_those_of_the_benchmarks_page():
    page = (ROOT / "docs/benchmarks.md").read_text()
    section = page.split("<!-- benchmarks/routes.py -->")[1].split(measure.END)[0]
    lines = [line.split("|")[1:-2] for line in section.splitlines() if " → " in line]
    assert [[cell.strip() for cell in line] for line in lines] == [
        [
            f"{each['source']} → {each['target']}",
            f"`{each['theirs']}`",
            f"{each['ours_ns'] / 1000:,.2f}",
            f"{each['theirs_ns'] / 1000:,.2f}",
        ]
        for each in json.loads(matrix.COSTS.read_text())["routes"]
    ]
