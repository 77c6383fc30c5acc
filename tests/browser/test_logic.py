"""The tests of the page's logic, by the Node that Playwright brings."""

from __future__ import annotations

import subprocess
from pathlib import Path

from playwright._impl._driver import compute_driver_executable


def test_logic():
    node, *_ = compute_driver_executable()
    tests = Path(__file__).with_name("logic.test.js")
    done = subprocess.run([node, "--test", tests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "# fail 0" in done.stdout or "fail 0" in done.stdout
