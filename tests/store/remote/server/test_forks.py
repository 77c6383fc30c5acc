"""Processes that begin while a store is open: they work, or raise at once, and never hang."""

from __future__ import annotations

import json

import pytest

OPENED = """
import json, multiprocessing, os, sys, time
import numpy as np
from numpack import NumPack
from numpack.errors import RemoteError

url, options = json.loads(sys.argv[1])
npk = NumPack(url, mode="r", storage_options=options, cache="cache")
npk.open()
x = npk.load("x", lazy=True)
rows = x[:2000]
"""

IN_A_CHILD = """
def attempt(call):
    begin = time.monotonic()
    try:
        found = call()
    except RemoteError as error:
        assert "spawn" in str(error) and "forkserver" in str(error), error
        found = None
    assert time.monotonic() - begin < 1, time.monotonic() - begin
    return found

child = os.fork()
if child == 0:
    try:
        found = attempt(lambda: x[:2000])
        assert found is None or (found == rows).all()
        attempt(lambda: npk.load("x"))
        attempt(lambda: npk.getitem("x", [15_000, 3]))
        attempt(lambda: npk.getitem("dropped", [3]))
        other = NumPack(url, mode="r", storage_options=options, cache="cache")
        attempt(other.open)
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
end = time.monotonic() + 60
while not (ended := os.waitpid(child, os.WNOHANG))[0]:
    if time.monotonic() > end:
        os.kill(child, 9)
        os.waitpid(child, 0)
        raise SystemExit("the child hangs")
    time.sleep(0.01)
assert os.waitstatus_to_exitcode(ended[1]) == 0
assert (npk.load("x")[:2000] == rows).all()     # the parent goes on
"""

FORKED_BEFORE_USE = """
child = os.fork()
if child == 0:
    with NumPack(url, mode="r", storage_options=options, cache="other") as npk:
        os._exit(0 if npk.load("x").shape == (20_000, 128) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

IN_POOLS = """
def first(reference):
    return float(reference[15_000, 0])

if __name__ == "__main__":
    for method in ("spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(first, [x] * 4) == [float(x[15_000, 0])] * 4
"""


@pytest.fixture
def arguments(bucket, url):
    return json.dumps([url, bucket.options])


def test_a_fork_after_use(run_python, arguments):
    run_python(OPENED + IN_A_CHILD, arguments)


def test_a_fork_before_use(run_python, arguments):
    run_python(OPENED[: OPENED.index("npk =")] + FORKED_BEFORE_USE, arguments)


def test_spawned_processes(tmp_path, arguments, bucket, monkeypatch):
    """The script is a file, which the processes import."""
    import subprocess
    import sys

    for name, value in bucket.variables.items():
        monkeypatch.setenv(name, value)
    guarded = OPENED.replace("npk = ", "if __name__ == '__main__':\n    npk = ")
    guarded = (
        guarded.replace("npk.open", "    npk.open")
        .replace("x = npk", "    x = npk")
        .replace("rows = ", "    rows = ")
    )
    script = tmp_path / "script.py"
    script.write_text(guarded + IN_POOLS)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
