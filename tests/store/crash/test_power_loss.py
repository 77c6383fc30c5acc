"""Power loss at any moment, on a device that may lose everything that was not flushed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import support
from support import power_loss
from support.power_loss_kinds import KINDS

pytestmark = pytest.mark.system


SEED = 7


@pytest.fixture(scope="session")
def recorder(tmp_path_factory):
    return power_loss.built(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def losses(recorder, tmp_path):
    def record(*args: str, cwd: Path) -> None:
        tests = str(Path(support.__file__).parents[1])
        paths = [tests, *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {"PYTHONPATH": os.pathsep.join(paths), "LD_PRELOAD": str(recorder)}
        subprocess.run(
            [sys.executable, "-W", "error", "-m", "support.power_loss_kinds", *args],
            cwd=cwd,
            env={**os.environ, **env},
            check=True,
        )

    return lambda name: power_loss.Losses(name, tmp_path, record)


@pytest.mark.parametrize("name", KINDS)
def test_returned_calls_survive_a_power_loss(name, losses, thorough, done):
    lost = losses(name)
    assert len(lost.states) > 1
    flaws = []
    count = 10_000 if thorough else 200
    for at, flaw in lost.run(count, SEED):
        flaws.append(f"event {at} of {len(lost.events)}: {flaw}")
    assert not flaws, f"{len(flaws)} of {count}:\n" + "\n".join(flaws[:5])
    done["losses of power"] += count
    done["different disks after them"] += lost.distinct
