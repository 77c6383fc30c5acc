"""Clusters of the tests of engines: one for each module, whose processes are gone after it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

WORKERS = 2


@contextmanager
def no_processes_left() -> Iterator[None]:
    """Check that all processes which were started in the block have ended."""
    import psutil

    this = psutil.Process()
    before = {process.pid for process in this.children(recursive=True)}
    yield
    started = [each for each in this.children(recursive=True) if each.pid not in before]
    psutil.wait_procs(started, timeout=10)
    left = [each.cmdline() for each in started if each.is_running()]
    assert not [words for words in left if not any("resource_tracker" in w for w in words)]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Start a Dask cluster of two worker processes; a task may kill one of them."""
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": 1,
        "distributed.deploy.lost-worker-timeout": "1 minute",  # a new one takes its place
        "distributed.worker.memory.terminate": False,
        "logging.distributed": "critical",
    }
    with (
        no_processes_left(),
        dask.config.set(settings),
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
            local_directory=str(tmp_path_factory.mktemp("dask")),
        ) as cluster,
        Client(cluster) as connected,
    ):
        yield connected


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory):
    """Start Ray with two workers at a time; a task may kill one."""
    import ray

    with no_processes_left():
        ray.init(
            num_cpus=WORKERS,
            include_dashboard=False,
            object_store_memory=100 << 20,
            log_to_driver=False,
            logging_level="critical",
            configure_logging=False,
        )
        settings = ray.data.DataContext.get_current()
        settings.enable_progress_bars = False
        settings.execution_options.preserve_order = True
        yield ray
        ray.shutdown()
