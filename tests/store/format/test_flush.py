"""Files that are flushed to the device, by durability."""

from __future__ import annotations

import json

import pytest
from support.crash.flushes import CHANGES

pytestmark = pytest.mark.system
NEEDED = {
    "save": {"data", "commits.log"},
    "append": {"commits.log"},
    "replace": {"commits.log", "journal"},
    "drop": {"commits.log"},
    "drop of rows": {"commits.log", "data"},
    "update": {"commits.log", "data"},
    "clone": {"commits.log", "data"},
}


@pytest.fixture
def flushed(start_module, recorder_library):
    def run(durability: str) -> dict[str, list[str]]:
        library = str(recorder_library)
        process = start_module("support.crash.flushes", durability, LD_PRELOAD=library)
        output, _ = process.communicate()
        assert process.returncode == 0
        return json.loads(output)

    return run


def test_changes_are_flushed_with_durability_power(flushed):
    found = flushed("power")
    assert found.keys() == CHANGES.keys()
    for change, needed in NEEDED.items():
        files = found[change]
        assert needed <= set(files), change
        rows = [each for each in files if each.endswith((".bin", ".del"))]
        last = len(files) - files[::-1].index("commits.log") - 1
        # A replace flushes its journal before the log instead of the rows.
        assert change == "replace" or all(files.index(each) < last for each in rows), change
        if change in ("save", "append", "clone", "update"):
            assert any(each.endswith(".bin") for each in files), change
        if change == "drop of rows":
            assert any(each.endswith(".del") for each in files)


def test_only_sync_flushes_by_default(flushed):
    found = flushed("process")
    files = set(found.pop("sync"))
    assert all(others == [] for others in found.values()), found
    assert {"commits.log", "data"} <= files
    endings = sorted(each.rpartition(".")[2] for each in files if each.startswith("data/"))
    assert endings == ["bin", "bin", "del", "sum"]
