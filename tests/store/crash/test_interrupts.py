"""Exceptions from signal handlers at any moment of a change."""

from __future__ import annotations

import json

import pytest

INTERRUPTS = """
import dis, fcntl, gc, json, sys
from pathlib import Path
import numpy as np
import numpack.store
from numpack import NumPack
from numpack.store.format.log import log

operation, fold, name, first, step = sys.argv[1:]
if fold == "True":
    log._COMPACT_BYTES, log._COMPACT_FACTOR = -1, 0
Interrupt = {"KeyboardInterrupt": KeyboardInterrupt, "TimeoutError": TimeoutError}[name]
FOLDER = str(Path(numpack.store.__file__).parent)
ROWS = np.arange(6.0).reshape(3, 2)
OPERATIONS = {
    "save": lambda s: s.save({"x": -ROWS, "y": ROWS}),
    "append": lambda s: s.append({"x": ROWS}),
    "append two": lambda s: s.append({"x": ROWS, "z": ROWS}),
    "drop": lambda s: s.drop("x"),
    "drop rows": lambda s: s.drop("x", [1]),
    "replace": lambda s: s.replace({"x": -ROWS[:1]}, 1),
}
left, lost, last, kinds = 0, [], {}, {}
sys.unraisablehook = lambda error: lost.append(repr(error.exc_value))

def kind_of(frame):
    code = frame.f_code
    if code not in kinds:
        kinds[code] = {each.offset: each.opname for each in dis.get_instructions(code)}
    return kinds[code].get(frame.f_lasti, "")

def trace(frame, event, arg):
    global left
    code = frame.f_code
    if not code.co_filename.startswith(FOLDER) or code.co_name == "__del__":
        return None
    frame.f_trace_opcodes = True
    if event == "opcode":
        before, last[frame] = last.get(frame, ""), kind_of(frame)
        if before.startswith(("CALL", "RESUME", "JUMP_BACKWARD")):  # there handlers run
            left -= 1
            if left == 0:
                raise Interrupt
    return trace

def state(store):
    return {name: store.load(name).tolist() for name in store}

def attempt(store, path, at):
    global left
    store.open()
    store.save({"x": ROWS, "z": ROWS})
    before = state(store)
    left = at
    sys._getframe().f_trace_opcodes = True  # before `settrace`, as Python 3.12 needs
    sys.settrace(trace)
    try:
        OPERATIONS[operation](store)
    except Interrupt:
        pass
    finally:
        sys.settrace(None)
        last.clear()
    session = store._handle.session
    assert not session.mutex._is_owned(), "it is still its turn"
    with open(Path(path) / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    found = state(store)
    with NumPack(path, mode="r") as other:
        assert state(other) == found
    store.save({"probe": ROWS})
    with NumPack(path) as other:
        again = state(other)
        assert other.verify(), str(other.verify())
    store.close()
    if found not in (before, after) or again != {**found, "probe": ROWS.tolist()}:
        raise AssertionError(f"a mixture: {found}, {again}")

with NumPack("model.npk") as model:
    model.save({"x": ROWS, "z": ROWS})
    OPERATIONS[operation](model)
    after = state(model)
at = int(first)
while left <= 0:
    try:
        attempt(NumPack(f"{at}.npk"), f"{at}.npk", at)
    except Exception as error:
        lost.append(repr(error))
    gc.collect()
    print(json.dumps([at, lost]))
    lost.clear()
    at += int(step)
"""
INTERRUPTED = ["save", "append", "append two", "drop", "drop rows", "replace"]


@pytest.mark.parametrize(
    ("operation", "compact", "error"),
    [
        *((each, False, "KeyboardInterrupt") for each in INTERRUPTED),
        ("append", True, "KeyboardInterrupt"),
        *((each, False, "TimeoutError") for each in ("save", "append", "append two")),
    ],
)
def test_exception_from_a_signal_handler_leaves_the_store_intact_and_usable(
    run_python, thorough, operation, compact, error
):
    first, step = (1, 1) if thorough else (1 + INTERRUPTED.index(operation), 10)
    output = run_python(INTERRUPTS, operation, str(compact), error, str(first), str(step))
    results = [json.loads(each) for each in output.splitlines()]
    assert results[-1][0] > 30, "the interrupts no longer strike"
    assert [each for each in results if each[1]] == []
