"""Writes, releases in any order, fork and exit, in one process for each framework."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.oracles import TARGETS

TESTS = Path(__file__).parents[2]

COMMON = """
import gc, importlib, os, shutil, sys, threading, warnings, weakref
target = sys.argv[1]
import numpy as np
from numpack import CopyWarning, NumPack, share
from support.memory import region_at
from support.oracles import oracle
framework = oracle(target)
gc.freeze()  # the objects of its modules, which every collection would traverse
VALUES = np.arange(1000, dtype="f4")

class Memory(np.ndarray):
    pass

def aligned():
    raw = np.zeros(4064, "u1").view(Memory)
    fresh = np.asarray(raw[-raw.ctypes.data % 64:][:4000]).view("f4")
    fresh[:] = VALUES
    return fresh, weakref.ref(raw)

def check(result):
    assert np.array_equal(framework.values(result).ravel(), VALUES)

def lazy_in(store):
    npk = NumPack(store)
    npk.open()
    npk.save({"x": VALUES, "y": VALUES})
    return npk, npk.load("x", lazy=True)
"""

WRITES = """
import ctypes

def attempt(write):
    try:
        write()
    except (TypeError, ValueError, BufferError, RuntimeError):  # it obeys
        pass

def donated(x):
    import jax
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jax.jit(lambda x: x * 2, donate_argnums=0)(x).block_until_ready()

def in_place(x):
    import tensorflow as tf
    tf.raw_ops.InplaceAdd(x=x, i=[0, 1], v=[50.0, 50.0])
    tf.raw_ops.InplaceUpdate(x=x, i=[0, 1], v=[50.0, 50.0])

def through_views(x):
    for view in (x.values, x.to_numpy(), np.asarray(x), x.array._ndarray):
        attempt(lambda view=view: item(view))
    x.iloc[0] = 50.0
    x[1] = 50.0
    x += 1

def item(x):
    x[0] = 50.0

WRITERS = {
    "torch": lambda x: (x.fill_(50.0), x.numpy().fill(51.0)),
    "jax": donated,
    "tensorflow": in_place,
    "onnxruntime": lambda x: (x.update_inplace(VALUES + 50), x.numpy().fill(51.0)),
    "pandas": through_views,
    "xarray": lambda x: (attempt(lambda: item(x)), item(x.data)),
    "arrow": lambda x: item(np.frombuffer(x.buffers()[1], "f4")),
    "dlpack": lambda x: item(np.from_dlpack(x)),
}
npk, lazy = lazy_in("store.npk")
before = npk.load("x", lazy=True), npk.load("y", lazy=True), share(lazy, "numpy")
x = share(lazy, target, copy=False)
attempt(lambda: WRITERS.get(target, item)(x))
if target != "duckdb":  # whose results are computed
    attempt(lambda: item(share(x, "numpy", copy=False)))
for each in (*before, lazy, npk.load("x"), npk.load("y")):
    assert np.array_equal(np.asarray(each), VALUES), each
again = share(lazy, target, copy=False)
check(again)

# A write past the read-only flag raises no signal and changes no byte of the store.
place = None if target == "duckdb" else framework.address(again)
if place is not None:
    assert region_at(place).rights == "rw-p"
    ctypes.memset(place, 255, 8)
npk.close()
with NumPack("store.npk") as npk:
    assert np.array_equal(npk.load("x"), VALUES)
"""

LIFETIMES = """
memory, end = aligned()
result = share(memory, target, copy=False)
del memory
gc.collect()
assert end() is not None
check(result)
if target != "duckdb":  # whose results are computed
    back = share(result, "numpy", copy=False)
    del result
    gc.collect()
    assert end() is not None
    assert np.array_equal(back.ravel(), VALUES)
    held = [back]
    del back
else:
    held = [result]
    del result
thread = threading.Thread(target=lambda: (held.clear(), gc.collect()))
thread.start()
thread.join()
check(share(aligned()[0], target, copy=False))  # frees at last what a framework has put off
gc.collect()
assert end() is None, "the memory is still there"

npk, lazy = lazy_in("gone.npk")
result = share(lazy, target, copy=False)
del lazy
npk.close()
shutil.rmtree("gone.npk")
del npk
gc.collect()
check(result)

npk, lazy = lazy_in("fork.npk")
held = [share(lazy, target, copy=False), share(aligned()[0], target, copy=False), result]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    child = os.fork()
if child == 0:
    code = 1
    try:
        held.clear()
        del result
        gc.collect()
        code = 0 if np.array_equal(npk.load("x"), VALUES) else 2
    finally:
        os._exit(code)
assert os.waitpid(child, 0)[1] == 0
check(held[0])

kept = [*held, share(aligned()[0], target, copy=False)]
if target != "duckdb":
    kept.append(share(kept[-1], "numpy", copy=False))
kept.append(kept)
sys.kept_to_the_end = importlib.import_module("numpack").kept_to_the_end = kept
if target != "numpy":
    importlib.import_module(type(held[0]).__module__.partition(".")[0]).kept_to_the_end = kept
gc.unfreeze()  # what finalization frees
print("end")
"""


@pytest.mark.parametrize("target", TARGETS)
def test_writes_and_lifetimes_in_a_separate_process(target, tmp_path):
    """Writes do not reach the store; results outlive their source, the store and a fork."""
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", COMMON + WRITES + LIFETIMES, target],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=300,
        check=False,
    )
    own = ("absl::", "port.cc")  # messages of TensorFlow at import
    said = [line for line in done.stderr.splitlines() if not any(each in line for each in own)]
    assert (done.returncode, done.stdout, said) == (0, "end\n", [])
