"""A fault at every system call of every operation leaves the state before or after it."""

from __future__ import annotations

import json
import signal

import pytest
from support.crash.faults import FAIL, FULL, KILL_AFTER, KILL_BEFORE, KILL_HALF, KILLS, NAMES
from support.crash.operations import OPERATIONS
from support.fork_server import ForkServer

pytestmark = pytest.mark.system
KINDS = [KILL_BEFORE, KILL_HALF, FAIL, FULL]
ALL_KINDS = [KILL_BEFORE, KILL_HALF, KILL_AFTER, FAIL, FULL]
MOST = 3  # calls of an operation that are tried with each kind of fault, in the short form
KILLING = {NAMES[kind] for kind in KILLS}


@pytest.fixture(scope="module")
def server(faults_library):
    with ForkServer("support.crash.faults", LD_PRELOAD=str(faults_library)) as server:
        yield server


@pytest.fixture
def inject_faults(server, thorough, tmp_path):
    """Inject faults at the system calls of an operation: at each, or at some of each kind.

    Return the calls and, for each fault, what was found after it.
    """

    def run(name: str) -> tuple[list[str], list[dict]]:
        kinds = ",".join(map(str, ALL_KINDS if thorough else KINDS))
        most = "1000000" if thorough else str(MOST)
        script = "from support.crash.faults import main; main()"
        output = server.run(script, name, kinds, most, folder=tmp_path)
        first, *results = map(json.loads, output.splitlines())
        return first["calls"], results

    return run


def flaws(result: dict, *, mixes: bool) -> list[str]:
    """Return what is wrong after one fault."""
    found = [*result["wrong"], *([result["error"]] if "error" in result else [])]
    injected, kills = bool(result["call"]), result["kind"] in KILLING
    if result.get("code") != (-signal.SIGKILL if injected and kills else 0):
        found.append("its exit status is wrong")
    if result.get("state") not in (
        ("before", "after", "mixture") if mixes else ("before", "after")
    ):
        found.append("its state is neither that before nor that after")
    if kills or result.get("code"):
        return found
    if result["fired"] != injected:
        found.append("the fault did not strike")
    if not result["raised"] and result["state"] != "after":
        found.append("no error reached the caller")
    if result["same handle"] != result["state"]:
        found.append("the handle sees something else")
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_fault_at_any_call_leaves_the_state_before_or_after(name, inject_faults, done):
    operation = OPERATIONS[name]
    calls, results = inject_faults(name)
    assert set(operation.calls.split()) <= set(calls), calls
    wrong = [
        {**result, "wrong": found}
        for result in results
        if (found := flaws(result, mixes=operation.mixes))
    ]
    assert not wrong, "\n".join(map(str, wrong))
    for kind in {result["kind"] for result in results}:
        states = [  # without calls that may fail, such as preallocation
            each["state"]
            for each in results
            if each["kind"] == kind and (kind in KILLING or each["raised"] or not each["call"])
        ]
        assert states[-1] == "after", "the operation without a fault"
        if not operation.mixes:
            assert states == sorted(states, reverse=True), "a later fault has less effect"
    done["kills at a call"] += sum(each.get("code") == -signal.SIGKILL for each in results)
    done["failures at a call"] += sum(each.get("fired", False) for each in results)
