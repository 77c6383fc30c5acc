"""Publishing to a real server: what is sent, who wins, and what a death leaves."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from numpack import NumPack
from numpack.errors import ConflictError, MovedError, RemoteError, StoreError

from .conftest import make_store

ROWS = 5000  # of "x", which has almost three blocks


@pytest.fixture
def options(bucket):
    return {**bucket.options, "retry_config": {"max_retries": 0}}


@pytest.fixture
def direct(seaweedfs):
    """Return options that lead past the proxy."""
    return seaweedfs.options


def make_small_store():
    """Create ``s.npk``, of arrays of three kinds: each request is stopped at once."""
    make_store(rows=ROWS)
    with NumPack("s.npk") as npk:
        for name in set(npk) - {"x", "small", "dropped"}:
            npk.drop(name)


@pytest.fixture
def published(bucket, prefix, direct):
    """Publish the store ``s.npk``; return its URL."""
    make_small_store()
    with NumPack("s.npk") as npk:
        npk.publish(bucket.url(prefix), storage_options=direct)
    return bucket.url(prefix)


def values(url, options, number):
    """Return all arrays and the commit, read with an empty cache."""
    with NumPack(url, mode="r", storage_options=options, cache=f"reader {number}") as npk:
        return {**{name: npk.load(name) for name in npk}, "": npk.commit}


def local_values(path="s.npk"):
    with NumPack(path, mode="r") as npk:
        return {**{name: npk.load(name) for name in npk}, "": npk.commit}


def same(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def change(path="s.npk", value=1.0):
    """Make a commit of each kind."""
    with NumPack(path) as npk:
        npk.append({"small": np.arange(5)})
        npk.replace({"x": np.full((10, 128), value, "f4")}, slice(4500, 4510))
        npk.drop("dropped", [77])
        npk.save({"new": np.arange(1000) * value})


def test_a_published_store_equals_the_local_one(published, direct):
    assert same(values(published, direct, 0), local_values())
    with NumPack(published, mode="r", storage_options=direct, cache="cache") as npk:
        assert npk.verify().ok


def test_an_equal_store_is_not_sent_again(published, options, proxy):
    with NumPack("s.npk") as npk, proxy.counted() as requests:
        npk.publish(published, storage_options=options)
    assert {request.method for request in requests} <= {"GET", "HEAD"}


def test_changes_are_sent_and_nothing_else(published, options, direct, proxy):
    for number in range(5):
        change(value=number + 1.0)
        with NumPack("s.npk") as npk:
            proxy.reset()
            npk.publish(published, storage_options=options)
        assert proxy.sent < 2.5 * (1 << 20)  # a block of "x", and what else has changed
        assert same(values(published, direct, number), local_values())


def test_a_handle_stays_at_its_commit(published, direct):
    """The next publication does not disturb a reader; another one may, and says so."""
    before = local_values()
    npk = NumPack(published, mode="r", storage_options=direct, cache="cache")
    npk.open()
    change()
    with NumPack("s.npk") as local:
        local.publish(published, storage_options=direct)
        assert same({**{name: npk.load(name) for name in npk}, "": npk.commit}, before)
        npk.close()
        npk.open()
        assert npk.commit == local.commit
        old = NumPack(published, mode="r", storage_options=direct, cache="other")
        old.open()
        for number in range(3):
            time.sleep(1.1)  # the server's times are whole seconds
            local.save({"x": np.full((ROWS, 128), number, "f4")})
            local.publish(published, storage_options=direct)
    with pytest.raises(MovedError, match="publish"):
        old.load("x")
    old.close()
    npk.close()


def test_a_publisher_that_stops_at_any_request(published, options, direct, proxy):
    """Readers see the old commit or the new one, and publishing again succeeds."""
    for lose in (False, True):
        number = 0
        while True:
            before = local_values()
            change(value=number + 2.0 + lose / 2)
            after = local_values()
            proxy.reset()
            proxy.stop_at(number, **({"lose": True} if lose else {"reset": True}))
            with NumPack("s.npk") as npk:
                try:
                    npk.publish(published, storage_options=options)
                except (RemoteError, ConflictError):
                    stopped = True
                else:
                    stopped = len(proxy.requests) > number
            found = values(published, direct, f"{lose} {number}")
            assert same(found, before) or same(found, after), number
            proxy.reset()
            with NumPack("s.npk") as npk:
                npk.publish(published, storage_options=options)
            if not stopped:
                break
            number += 1
        assert same(values(published, direct, f"{lose} again"), after)
        assert number > 4


def test_the_first_publication_stops_at_any_request(bucket, prefix, options, direct, proxy):
    """There is no store before it is whole."""
    make_small_store()
    expected = local_values()
    number, stopped = 0, True
    while stopped:
        url = bucket.url(f"{prefix}/{number}")
        proxy.reset()
        proxy.stop_at(number)
        with NumPack("s.npk") as npk:
            try:
                npk.publish(url, storage_options=options)
                stopped = len(proxy.requests) > number
            except StoreError:
                pass
            proxy.reset()
            try:
                assert same(values(url, direct, number), expected)
            except FileNotFoundError:
                assert stopped
            npk.publish(url, storage_options=options)
        number += 1
    assert same(values(url, direct, "again"), expected)
    assert number > 4


KILLED = """
import json, os, sys
from numpack import NumPack
url, options = json.loads(sys.argv[1])
with NumPack("s.npk") as npk:
    npk.publish(url, storage_options=options)
"""


def test_a_publisher_that_is_killed_at_any_put(published, bucket, direct, proxy, start_module):
    """The process is killed by SIGKILL while the server has its request."""
    import subprocess
    import sys

    for number in range(8):
        before = local_values()
        change(value=number + 10.0)
        after = local_values()
        proxy.reset()
        victim = []
        proxy.inject(method="PUT", first=number, call=lambda _, victim=victim: victim[0].kill())
        victim.append(
            subprocess.Popen(
                [sys.executable, "-c", KILLED, json.dumps([published, bucket.options])]
            )
        )
        status = victim[0].wait(60)
        assert status in (0, -9)
        found = values(published, direct, number)
        assert same(found, before) or same(found, after), number
        with NumPack("s.npk") as npk:
            npk.publish(published, storage_options=direct)
        assert same(values(published, direct, f"{number} again"), after)


def test_two_publishers_at_once(published, options, direct, proxy):
    """Of two copies that have diverged one is published; the other publisher is told so."""
    for number in range(5):
        copies = [f"copy {number} {each}.npk" for each in "ab"]
        for each, path in enumerate(copies):
            shutil.copytree("s.npk", path)
            change(path, 100.0 + 2 * number + each)
        proxy.reset()
        proxy.delay = 0.02
        outcomes = _publish_at_once(copies, published, options)
        assert sorted(outcomes) == ["conflict", "published"]
        winner = copies[outcomes.index("published")]
        assert same(values(published, direct, number), local_values(winner))
        shutil.rmtree("s.npk")
        shutil.copytree(winner, "s.npk")


def _publish_at_once(paths, url, options):
    outcomes = [""] * len(paths)
    barrier = threading.Barrier(len(paths))

    def publish(each):
        with NumPack(paths[each]) as npk:
            barrier.wait()
            try:
                npk.publish(url, storage_options=options)
                outcomes[each] = "published"
            except ConflictError:
                outcomes[each] = "conflict"

    threads = [threading.Thread(target=publish, args=(each,)) for each in range(len(paths))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_readers_beside_a_publisher(published, direct):
    """Each handle has the values of one commit, whenever it was opened."""
    stop = threading.Event()
    failures = []

    def read(number):
        try:
            while not stop.is_set():
                with NumPack(
                    published, mode="r", storage_options=direct, cache=f"cache {number}"
                ) as npk:
                    x, small = npk.load("x"), npk.load("small")
                    assert (x[:, 0] == x[0, 0]).all()
                    assert small[0] == x[0, 0]
        except MovedError:  # two publications after it was opened
            read(number)
        except BaseException as error:
            failures.append(error)

    with NumPack("s.npk") as npk:
        npk.save({"x": np.zeros((5000, 128), "f4"), "small": np.zeros(3, int)})
        npk.publish(published, storage_options=direct)
        threads = [threading.Thread(target=read, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for number in range(1, 15):
            npk.save({"x": np.full((5000, 128), number, "f4"), "small": np.full(3, number)})
            npk.publish(published, storage_options=direct)
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures


def test_older_and_other_stores_are_refused(published, options, direct, proxy):
    shutil.copytree("s.npk", "old.npk")
    change()
    with NumPack("s.npk") as npk:
        npk.publish(published, storage_options=direct)
    expected = local_values()
    with NumPack("other.npk") as npk:
        npk.save({"x": np.zeros(3)})
    for path in ("old.npk", "other.npk"):
        with (
            NumPack(path) as npk,
            proxy.counted() as requests,
            pytest.raises(ConflictError),
        ):
            npk.publish(published, storage_options=options)
        assert {request.method for request in requests} <= {"GET", "HEAD"}
    assert same(values(published, direct, 0), expected)
    with NumPack("other.npk") as npk:
        npk.publish(published, storage_options=direct, overwrite=True)
    assert same(values(published, direct, 1), local_values("other.npk"))


def test_nothing_is_left_over(published, direct, seaweedfs, prefix):
    """The objects of former commits are removed, save those of the previous one."""
    for number in range(4):
        time.sleep(1.1)  # the server's times are whole seconds
        with NumPack("s.npk") as npk:
            npk.save({"x": np.full((ROWS, 128), number, "f4")})
            npk.publish(published, storage_options=direct)
    pages = seaweedfs.client().list_objects_v2(Bucket=seaweedfs.name, Prefix=f"{prefix}/")
    size = sum(each["Size"] for each in pages["Contents"])
    assert size < 2.6 * sum(p.stat().st_size for p in Path("s.npk/data").iterdir())


def test_backup_downloads_what_was_published(published, direct):
    change()
    with NumPack("s.npk") as npk:
        npk.publish(published, storage_options=direct)
    with NumPack(published, mode="r", storage_options=direct, cache="cache") as npk:
        npk.backup("copy.npk")
    assert same(local_values("copy.npk") | {"": 0}, local_values() | {"": 0})
