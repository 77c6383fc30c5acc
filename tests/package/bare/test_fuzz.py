"""A short, deterministic run of the fuzzer, and tests that it finds injected faults."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.system

RUN = """
import os, sys, tempfile
from fuzz.runner import Fuzzer
from fuzz.seeds import OLD, STORE, TENSORS
"""


def test_short_run_finds_nothing(run_python):
    run_python(
        RUN
        + """
with Fuzzer(2) as fuzzer:
    report = fuzzer.run(seconds=4, inputs=600)
assert report.inputs.total() > 20 and len(report.messages) > 10, report
assert report.unchecked < report.inputs.total(), report
assert not report.findings, report
"""
    )


FAULTS = """
import contextlib, io
import numpy as np
from unittest.mock import patch
from numpack import NumPack
from fuzz import child
from fuzz.runner import Report

def outside(store, name, mode):
    with open(f"{store._handle.path}/../{name}", mode) as file:
        file.write("x") if mode == "a" else file.read()

def changed(what, call):
    return patch.object(NumPack, what, call)

nothing = contextlib.nullcontext()
FAULTS = {
    "SIGABRT: verify": (changed("verify", lambda self: os.abort()), {}),
    "hang: get_shape": (changed("get_shape", lambda *_: os.read(os.pipe()[0], 1)), {}),
    "hang: get_modify_time": (changed("get_modify_time", lambda *_: spin()), {}),
    "metadata: KeyError": (changed("get_metadata", lambda self: {}["x"]), {}),
    "metadata: MemoryError": (changed("get_metadata", lambda self: bytes(1 << 33)), {}),
    "outside the store: victim was read": (
        changed("get_metadata", lambda self: outside(self, "canary/victim", "r")), {}),
    "outside the store: victim.bin was changed": (
        changed("get_metadata", lambda self: outside(self, "canary/victim.bin", "a")), {}),
    "outside the store: folder was changed": (
        changed("get_metadata", lambda self: outside(self, "canary/new", "a")), {}),
    "outside the store: a new file": (
        changed("get_metadata", lambda self: outside(self, "new", "a")), {}),
    "descriptors left open": (changed("get_metadata", lambda self: os.pipe()), {}),
    "load: wrong values": (nothing, {"x": np.zeros((6, 2))}),
    "an untouched array is missing": (changed("__iter__", lambda self: iter(())), {}),
}

def spin():
    while True:
        pass

child._WALL = 3
with Fuzzer(0, kinds=(STORE,)) as fuzzer:
    [plain] = fuzzer._seeds = [each for each in fuzzer._seeds if each.name == "plain"]
    assert not fuzzer.run(seconds=0).findings
    for what, (fault, arrays) in FAULTS.items():
        kept = plain.arrays.copy()
        plain.arrays.update(arrays)
        fuzzer.report = Report()
        with fault, contextlib.redirect_stdout(io.StringIO()):
            found = fuzzer.run(seconds=0).findings
        assert any(each.startswith(what) for each in found), (what, found)
        plain.arrays.clear()
        plain.arrays.update(kept)
"""


def test_injected_faults_are_found(run_python):
    """Each kind of finding occurs in an otherwise valid input."""
    run_python(RUN + FAULTS)


def test_a_folder_whose_upgrade_lost_its_header_has_the_arrays_of_numpack0(run_python):
    script = (
        RUN
        + """
from fuzz import oracle
with Fuzzer(0, kinds=(STORE,)) as fuzzer:
    [seed] = [each for each in fuzzer._seeds if each.name == "upgrading"]
    assert set(oracle.untouched(seed, seed.tree)) == set(seed.arrays)
    tree = {name: node for name, node in seed.tree.items() if name != "numpack.json"}
    assert set(oracle.untouched(seed, tree)) == set(seed.arrays)
    del tree["deleted_flags.npkb"]  # without which NumPack 0.x has deleted no rows
    assert set(oracle.untouched(seed, tree)) == set(seed.arrays) - {"flags"}
"""
    )
    run_python(script)


def test_same_seed_makes_the_same_inputs(run_python):
    script = (
        RUN
        + """
import hashlib
with Fuzzer(3) as fuzzer:
    made = [fuzzer._made(number)[1] for number in range(200)]
print(hashlib.sha256(repr([(each.tree, each.choices) for each in made]).encode()).hexdigest())
"""
    )
    assert run_python(script) == run_python(script)
