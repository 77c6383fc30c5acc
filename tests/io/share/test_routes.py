"""The routes of `explain`: steps, cautions, bytes, and their representation."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from support.each import for_each

import numpack
from numpack import (
    CopyWarning,
    NumPack,
    ReadOnlyWarning,
    Route,
    ZeroCopyArray,
    explain,
    share,
)

SOURCES = "numpy torch arrow chunked dlpack capsule lazy wrapper".split()


def sources():
    with NumPack("sources.npk") as npk:
        npk.save({"x": np.arange(6.0)})
        lazy = npk.load("x", lazy=True)
    return {
        "numpy": np.arange(6.0),
        "torch": torch.arange(6.0, dtype=torch.float64),
        "arrow": pa.array(np.arange(6.0)),
        "chunked": pa.chunked_array([np.arange(6.0)]),
        "dlpack": numpack.io.to_dlpack(np.arange(6.0)),
        "capsule": numpack.io.to_dlpack(np.arange(6.0)).__dlpack__(),
        "lazy": lazy,
        "wrapper": ZeroCopyArray(np.arange(6.0)),
    }


@for_each("target", ["numpy", "torch", "arrow", "dlpack"])
@for_each("source", SOURCES)
@pytest.mark.filterwarnings("ignore::numpack.ReadOnlyWarning")
def test_all_sources_to_all_targets(source, target):
    x = sources()[source]
    route = explain(x, target)
    assert route.shares_memory
    assert route.supported
    assert (route.reason, route.fix, route.nbytes) == ("", "", 0)
    result = share(x, target, copy=False)
    assert share(result, "numpy").tolist() == list(range(6))
    if source != "capsule":
        copied = share(share(x, target, copy=True), "numpy")
        assert copied.tolist() == list(range(6))
        assert not np.shares_memory(copied, share(result, "numpy"))


def test_route_reports_each_of_two_copies():
    source = torch.tensor([[1 + 1j, 2]]).conj().imag.t()
    route = explain(source, "arrow")
    assert [step.action for step in route.steps] == ["copied", "shared"]
    strided = torch.zeros(4, 6)[::2]
    route = explain(strided, "arrow")
    assert [step.action for step in route.steps] == ["shared", "copied"]
    assert route.nbytes == 48
    chunks = pa.chunked_array([[True], [False]])
    route = explain(chunks, "arrow", nulls="convert")  # through NumPy
    assert [step.action for step in route.steps] == ["copied", "copied"]
    with pytest.warns(CopyWarning) as caught:
        assert share(chunks, "arrow", nulls="convert").to_pylist() == [True, False]
    assert len(caught) == 2


def test_repr_of_a_route():
    route = explain(np.zeros(1000, bool), "arrow")
    assert isinstance(route, Route)
    assert repr(route) == (
        "numpy -> arrow: copies 1,000 bytes\n"
        "  to Arrow: 1,000 bytes copied, Arrow packs booleans as bits; "
        "pass type=pa.bool8() to share the bytes"
    )
    html = route._repr_html_()
    assert html.startswith("<table>")
    assert "Arrow packs booleans as bits" in html
    refused = explain(np.zeros(2, "M8[s]"), "torch")
    assert refused.verdict == "not supported"
    assert "array.view('i8')" in refused.fix
    assert "array.view(&#x27;i8&#x27;)" in refused._repr_html_()


@pytest.mark.parametrize("target", ["torch", "onnxruntime"])
def test_cautions_of_a_route_match_the_warnings_of_share(target):
    a = np.zeros(3)
    assert explain(a, target).cautions == ()
    a.flags.writeable = False
    route = explain(a, target)
    assert route.shares_memory
    assert (route.reason, route.fix) == ("", "")
    assert [step.caution for step in route.steps] == list(route.cautions)
    for copy in (None, False):
        with pytest.warns(ReadOnlyWarning) as caught:
            share(a, target, copy=copy)
        assert [str(w.message) for w in caught] == list(route.cautions)
    share(a, target, copy=True)
    assert repr(route).endswith("shared; but a write changes read-only memory")
    assert "pass copy=True for one that is safe to write" in route._repr_html_()


def test_copies_have_no_caution():
    a = np.zeros(6)[::-1]
    a.flags.writeable = False
    route = explain(a, "torch")
    assert (route.verdict, route.cautions) == ("copies 48 bytes", ())
    with pytest.warns(CopyWarning) as caught:
        share(a, "torch")
    assert len(caught) == 1
    arrow = pa.array([1.0, 2.0])
    assert [bool(step.caution) for step in explain(arrow, "torch").steps] == [False, True]
    assert explain(arrow, "numpy").cautions == ()


def test_explain_reports_the_bytes_of_a_copy():
    a = np.zeros((1000, 1000))[::-1]
    route = explain(a, "torch")
    assert route.nbytes == a.nbytes
    assert explain(torch.zeros(3).conj(), "torch").shares_memory
