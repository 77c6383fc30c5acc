"""Fixtures and hooks shared by all tests; each test runs in an empty folder."""

import contextlib
import gc
import os
import sys

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["support.servers.fixtures"]

# The kernel's table of mappings exists on Linux only.
ON_LINUX = ["core/test_mapped_files.py", "core/test_writability.py"]
collect_ignore = [] if sys.platform == "linux" else ON_LINUX

# CI tries the same examples on every run; elsewhere hypothesis draws new ones.
settings.register_profile(
    "project",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("project")


def pytest_addoption(parser):
    """Add the switches of the fast path and of the tests that need a browser."""
    text = "plan every conversion, as calls do that the fast path declines"
    parser.addoption("--no-fast-path", action="store_true", help=text)
    text = "collect tests/browser, which need Chromium and Playwright"
    parser.addoption("--with-browser", action="store_true", help=text)


def pytest_ignore_collect(collection_path, config):
    """Leave out what `make browser-tests` runs."""
    is_browser = collection_path.name == "browser" and collection_path.is_dir()
    return True if is_browser and not config.getoption("--with-browser") else None


def pytest_configure(config):
    """Turn the fast path off if requested."""
    if config.getoption("--no-fast-path"):
        from numpack._dlpack.fast_path import enable_fast_path

        enable_fast_path(False)


def pytest_collection_modifyitems(config, items):
    """Deselect the tests that need a CUDA device where there is none, and count them."""
    need_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if need_gpu and not _has_cuda():
        config.hook.pytest_deselected(items=need_gpu)
        items[:] = [item for item in items if item not in need_gpu]


def pytest_collection_finish():
    """Exempt the objects of imported frameworks from garbage collection, which slows it."""
    gc.collect()
    gc.freeze()


def _has_cuda() -> bool:
    """Return whether the CUDA driver finds a device, without importing a framework."""
    import ctypes

    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    found = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return found and count.value > 0


@pytest.fixture(autouse=True)
def _own_folder(tmp_path):
    with contextlib.chdir(tmp_path):  # a test may undo what `monkeypatch` has done
        yield


@pytest.fixture
def run_python(tmp_path):
    """Run a script in a fresh interpreter and return its output; check its status."""
    import subprocess
    import sys

    paths = [os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])]

    def run(script: str, *args: str, expect: int = 0, flags: tuple[str, ...] = ()) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", *flags, "-c", script, *args],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            timeout=300,
            check=False,
        )
        assert done.returncode == expect, (
            f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    return run


@pytest.fixture(scope="session")
def _torch_server():
    from support.fork_server import ForkServer

    with ForkServer("torch", "pyarrow", "ml_dtypes") as server:
        yield server


@pytest.fixture
def run_with_torch(_torch_server, tmp_path):
    """Run a script in a child that has imported torch and pyarrow; else as `run_python`."""

    def run(script: str, *args: str, expect: int = 0) -> str:
        return _torch_server.run(script, *args, folder=tmp_path, expect=expect)

    return run
