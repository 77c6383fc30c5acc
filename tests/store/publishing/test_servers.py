"""Publishing to a real server of S3, by processes that are killed and that meet each other."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import support
from support.store.objects import BLOCK, arrays_of, catalog_of, needed_by, same

from numpack import NumPack
from numpack.errors import RemoteError
from numpack.object_store import open_object_store

pytestmark = pytest.mark.system
LONG = np.random.default_rng(2).integers(0, 256, 40 * BLOCK + 7, np.uint8)
ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def options(bucket):
    return {**bucket.options, "retry_config": {"max_retries": 0}}


@pytest.fixture
def url(bucket, prefix):
    return bucket.url(prefix)


@pytest.fixture
def there(seaweedfs, prefix):
    """Return a function that reads all objects, beside the proxy."""
    objects = open_object_store(seaweedfs.url(prefix), seaweedfs.options)
    return lambda: {name: objects.read(name)[0] for name, _ in objects.list("")}


@pytest.fixture
def start(options, url):
    """Start processes that publish a store once they are told to; kill them after the test."""
    started = []
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(support.__file__).parents[1]),
        "OPTIONS": json.dumps(options),
    }

    def start_one(path="s.npk"):
        process = subprocess.Popen(
            [sys.executable, "-m", "support.store.publishing", path, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def state(store):
    return {name: store.load(name) for name in store}


def test_increments(store, url, options, there, proxy):
    store.save({"x": ROWS, "long": LONG})
    store.publish(url, storage_options=options)
    assert same(arrays_of(there()), state(store))
    for change in (
        lambda: store.append({"long": LONG[: BLOCK // 3]}),
        lambda: store.replace({"long": LONG[:500]}, slice(9 * BLOCK, 9 * BLOCK + 500)),
        lambda: store.drop("long", [5, 6]),
        lambda: store.save({"x": ROWS + 1}),
    ):
        change()
        previous = needed_by(there())
        proxy.reset()
        report = store.publish(url, storage_options=options)
        assert report.bytes_sent <= proxy.sent < report.bytes_sent + 3000 <= 1.5 * BLOCK
        assert same(arrays_of(there()), state(store))
        # Times of objects are in whole seconds, so those of the last second are kept.
        assert needed_by(there()) | previous <= set(there())
    proxy.reset()
    assert store.publish(url, storage_options=options).objects_sent == 0
    assert len(proxy.requests) == 3


def test_failure_of_any_request_leaves_the_old_commit_or_the_new(
    store, url, options, there, proxy
):
    store.save({"x": ROWS, "y": np.zeros(BLOCK + 5, "u1")})
    store.publish(url, storage_options=options)
    outcomes = set()
    for number in itertools.count():
        old = arrays_of(there())
        store.append({"x": ROWS})
        store.drop("y", [number])
        store.append({"y": np.ones(3, "u1")})
        new = state(store)
        proxy.reset()
        proxy.stop_at(number)
        try:
            store.publish(url, storage_options=options)
        except RemoteError:
            proxy.reset()
            found = arrays_of(there())
            outcomes.add(same(found, new))
            assert same(found, old) or same(found, new)
        else:
            break
    assert number > 8
    assert outcomes >= {False}
    proxy.reset()
    store.publish(url, storage_options=options)
    assert same(arrays_of(there()), state(store))


def test_lost_answers_of_the_commit(store, url, options, there, proxy):
    store.save({"x": ROWS})
    for _ in range(3):
        store.append({"x": ROWS})
        proxy.reset()
        proxy.inject(lose=True, method="PUT", path="commits.log")
        store.publish(url, storage_options=options)
        assert same(arrays_of(there()), state(store))


def test_killed_processes(store, url, options, there, proxy, start):
    store.save({"x": ROWS, "long": LONG[: 9 * BLOCK]})
    store.publish(url, storage_options=options)
    for number in (3, 5, 7, 8):
        old = arrays_of(there())
        store.append({"x": ROWS, "long": LONG[:5]})
        store.drop("long", [number])
        process = start()
        proxy.reset()
        proxy.inject(call=lambda _, process=process: process.kill(), reset=True, first=number)
        go(process)
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
        proxy.reset()
        found = arrays_of(there())
        assert same(found, old) or same(found, state(store))
    store.publish(url, storage_options=options)
    assert same(arrays_of(there()), state(store))


def test_one_of_two_processes_wins(store, url, options, there, proxy, start):
    """Two copies of a store each make a commit of their own, and publish it at once."""
    store.save({"x": ROWS, "long": LONG[: 3 * BLOCK]})
    store.publish(url, storage_options=options)
    store.close()
    proxy.delay = 0.02
    for step in range(3):
        states = {}
        for name in ("a.npk", "b.npk"):
            shutil.rmtree(name, ignore_errors=True)
            shutil.copytree("s.npk", name)
            with NumPack(name) as copy:
                copy.append({"x": np.full((1, 2), float(ord(name[0]))), "long": LONG[:step]})
                copy.save({name: ROWS})
                states[name] = state(copy)
        processes = {name: start(name) for name in states}
        for process in processes.values():
            go(process)
        outcomes = {name: each.communicate()[0] for name, each in processes.items()}
        assert sorted(outcomes.values()) == ["lost\n", "won\n"]
        (winner,) = (name for name, outcome in outcomes.items() if outcome == "won\n")
        assert same(arrays_of(there()), states[winner])
        shutil.rmtree("s.npk")
        shutil.copytree(winner, "s.npk")
    with NumPack("s.npk") as last:
        last.append({"x": ROWS})
        last.publish(url, storage_options=options)
        assert same(arrays_of(there()), state(last))
        assert catalog_of(there()).commit == last.commit
