"""Power loss at any moment, on a device that may lose everything that was not flushed."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.crash import power_loss
from support.crash.power_loss_kinds import KINDS
from support.fork_server import ForkServer

pytestmark = pytest.mark.system
SEED = 7


@pytest.fixture(scope="module")
def server(recorder_library):
    with ForkServer(
        "support.crash.power_loss_kinds", LD_PRELOAD=str(recorder_library)
    ) as server:
        yield server


@pytest.fixture
def losses(server, tmp_path):
    def record(*args: str, cwd: Path) -> None:
        script = "from support.crash.power_loss_kinds import main; main()"
        server.run(script, *args, folder=cwd)

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
