"""Publishing to folders by their URLs, with the real engine, and by the command line."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import fsspec
import numpy as np
import pytest
from support.store.objects import BLOCK, arrays_of, needed_by, same

from numpack import NumPack
from numpack.__main__ import main
from numpack.errors import (
    ConflictError,
    CorruptStoreError,
    InvalidValueError,
    PublishedStoreError,
    RemoteError,
    UnsupportedError,
)

ROWS = np.arange(6.0).reshape(3, 2)
LONG = np.random.default_rng(1).integers(0, 256, 30 * BLOCK + 7, np.uint8)


@pytest.fixture
def url(tmp_path):
    return (tmp_path / "out" / "p.npk").as_uri()


def files(path="out/p.npk"):
    found = Path(path)
    return {
        str(each.relative_to(found)): each.read_bytes()
        for each in found.rglob("*")
        if each.is_file()
    }


def test_publishing_to_a_folder(store, url):
    store.save({"x": ROWS, "long": LONG})
    assert store.publish(url).arrays == ("x", "long")
    assert same(arrays_of(files()), {"x": ROWS, "long": LONG})
    with NumPack("out/p.npk") as copy:  # no array has extents yet
        assert np.array_equal(copy.load("long"), LONG)
        assert copy.verify().ok
    Path("out/p.npk/lock").unlink(missing_ok=True)
    for number in range(4):
        store.append({"x": ROWS, "long": np.full(BLOCK, number, "u1")})
        report = store.publish(url)
        assert report.bytes_sent < 3 * BLOCK
        found = files()
        assert same(arrays_of(found), {name: store.load(name) for name in store})
        assert needed_by(found) <= set(found)
    with pytest.raises(PublishedStoreError):
        NumPack("out/p.npk").open()
    assert store.publish(url).objects_sent == 0


def test_own_folder_is_refused(tmp_path):
    with NumPack("a b%20.npk") as store:
        store.save({"x": ROWS})
        folder = tmp_path / "a b%20.npk"
        (tmp_path / "link").symlink_to(folder)
        before = files(folder)
        for inside in (folder, folder / "data" / "p", tmp_path / "link"):
            with pytest.raises(InvalidValueError, match="in the folder of the store itself"):
                store.publish(inside.as_uri(), overwrite=True)
        assert files(folder) == before
        store.publish((tmp_path / "a b%20.npk2").as_uri())


def test_batches_are_written_first(store, url):
    with store.batch_mode():
        store.save({"x": ROWS})
        store.publish(url)
    assert same(arrays_of(files()), {"x": ROWS})


def test_damage_is_found_while_a_stream_is_sent(store, url):
    store.save({"x": ROWS})
    store.publish(url)
    before = files()
    store.save({"long": LONG})
    path = Path("s.npk", store._session().arrays()["long"].data_file)
    with path.open("r+b") as file:
        file.seek(25 * BLOCK)
        file.write(b"\0\1\2")
    with pytest.raises(CorruptStoreError, match="block 25"):
        store.publish(url)
    assert {name for name, content in files().items() if content} == set(before)


def test_error_of_the_callback_is_raised(store, url):
    store.save({"long": LONG})

    def stop(done, total):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.publish(url, progress=stop)
    assert "commits.log" not in files()
    store.publish(url)
    assert same(arrays_of(files()), {"long": LONG})


def test_little_memory_is_needed(run_python, url):
    out = run_python(
        """
import sys, resource
import numpy as np
from numpack import NumPack
with NumPack("s.npk") as store:
    store.save({"small": np.zeros(1 << 20)})
    store.publish(sys.argv[1])
    store.save({"x": np.zeros(0, "u1")})
    for number in range(24):
        store.append({"x": np.full(16 << 20, number, "u1")})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = store.publish(sys.argv[1])
    print(report.bytes_sent >> 20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
""",
        url,
    )
    sent, kib = map(int, out.split())
    assert sent > 350
    assert kib < 250 << 10


def test_two_publishers_at_once(store, url):
    outcomes = []
    for step in range(6):
        store.save({"x": np.full(1000, step), "long": LONG[: step * BLOCK]})
        barrier = threading.Barrier(3)

        def run(barrier=barrier):
            with NumPack("s.npk", mode="r") as reader:
                barrier.wait()
                try:
                    outcomes.append(reader.publish(url).objects_sent > 0)
                except ConflictError:
                    outcomes.append(None)

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert same(arrays_of(files()), {name: store.load(name) for name in store})
    assert outcomes.count(True) == 6
    assert len(outcomes) == 18


def test_web_servers_and_filesystems_are_refused(store):
    store.save({"x": ROWS})
    for target in (fsspec.get_mapper("memory://a"), "http://127.0.0.1:9/a.npk"):
        with pytest.raises((UnsupportedError, RemoteError)):
            store.publish(target)


# Command line --------------------------------------------------------------------------------


def test_command_line(store, url, capsys):
    store.save({"x": ROWS})
    assert main(["publish", "s.npk", url]) == 0
    assert capsys.readouterr().out.startswith("commit 1: ")
    assert main(["publish", "s.npk", url, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == {"commit": 1, "bytes_sent": 0, "objects_sent": 0, "arrays": []}
    store.backup("b.npk")
    assert main(["publish", "b.npk", url]) == 2
    assert "overwrite" in capsys.readouterr().err
    assert main(["publish", "b.npk", url, "--overwrite", "--option", "mkdir=true"]) == 0
    assert same(arrays_of(files()), {"x": ROWS})


def test_command_line_makes_no_store(url, capsys):
    assert main(["publish", "none.npk", url]) == 2
    assert "there is no store at" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["publish", "none.npk", url, "--option", "key"])
    assert "'key' is not KEY=VALUE" in capsys.readouterr().err
    assert not os.path.exists("none.npk")
    with pytest.raises(SystemExit):
        main(["publish", "--help"])
    assert "Credentials are taken from the environment" in capsys.readouterr().out
