"""Fixtures of the tests of the store, and the counts that the summary reports."""

from __future__ import annotations

import gc
import importlib.util
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import support
from support.crash import faults, power_loss

from numpack import NumPack

_DONE = pytest.StashKey[Counter[str]]()

# The library of these tests, which is loaded before the C library, and the kernel's table of
# mappings exist on Linux only.
collect_ignore = (
    []
    if sys.platform == "linux"
    else [
        "crash/test_faults.py",
        "crash/test_killed_in_replace.py",
        "crash/test_power_loss.py",
        "format/test_holes.py",
        "fs/test_lock_files.py",
        "fs/test_locks.py",
        "fs/test_reentrant_calls.py",
        "fs/test_replaced_files.py",
        "remote/test_killed_servers.py",
    ]
)
if importlib.util.find_spec("obstore") is None:
    collect_ignore.append("remote")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_DONE] = Counter()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for what, count in config.stash[_DONE].items():
        terminalreporter.write_line(f"{count:,} {what}")


@pytest.fixture
def store() -> Iterator[NumPack]:
    """Open a new store in the folder of the test."""
    with NumPack("s.npk") as opened:
        yield opened


@pytest.fixture
def done(request: pytest.FixtureRequest) -> Counter[str]:
    """Return the counts of what the tests have done, which the terminal summary prints."""
    return request.config.stash[_DONE]


@pytest.fixture(scope="session", autouse=True)
def _fast_collection() -> Iterator[None]:
    """Freeze the objects of all imported modules, to speed up `gc.collect`."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def thorough() -> bool:
    """Return whether to run the long form of the crash tests, as ``make crash`` does."""
    return "CRASH" in os.environ


@pytest.fixture(scope="session")
def faults_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the fault-injection library and return its path."""
    return faults.built(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def recorder_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library that records system calls and return its path."""
    return power_loss.built(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def start_module(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start modules of tests/support in fresh interpreters, and kill them after the test."""
    started = []
    tests = str(Path(support.__file__).parents[1])
    paths = [tests, *filter(None, [os.environ.get("PYTHONPATH")])]

    def start(module: str, *args: str, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", module, *args],
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **env},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def open_temporary():
    """Open files in the folder of the test; they are closed at its end."""
    descriptors = []

    def open_file(content=b"", flags=os.O_RDWR, path="data.bin"):
        with open(path, "wb") as file:
            file.write(content)
        descriptors.append(os.open(path, flags))
        return descriptors[-1]

    yield open_file
    for descriptor in descriptors:
        os.close(descriptor)
