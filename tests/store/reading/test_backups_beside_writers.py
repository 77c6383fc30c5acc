"""Backups beside a writer, each of one commit."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest
from support.crash.backed_up import commit_of, digest

from numpack import NumPack

pytestmark = pytest.mark.system


def test_backups_beside_a_writer_are_each_of_one_commit(start_module, thorough, done):
    seconds = 60 if thorough else 4
    writer = start_module("support.crash.backed_up", "3")
    lines = [writer.stdout.readline()]
    reading = threading.Thread(target=lambda: lines.extend(writer.stdout))
    reading.start()
    found, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        with NumPack("s.npk", mode="r") as store:
            store.backup("b.npk", verify=len(found) % 2 == 0)
        with NumPack("b.npk", mode="r") as copy:
            report = copy.verify()
            assert report.ok, report
            found.append((commit_of(copy), digest(copy)))
        shutil.rmtree("b.npk")
    assert writer.poll() is None
    writer.kill()
    reading.join()
    states = dict(line.split() for line in lines)
    last = max(map(int, states))
    assert len({commit for commit, _ in found}) > 3
    for commit, state in found:
        assert states.get(str(commit), state if commit > last else "") == state, commit
    done["backups beside a writer"] += len(found)
    with NumPack("s.npk") as store:
        assert store.verify().ok
        store.backup("b.npk")
    assert Path("b.npk/numpack.json").exists()
