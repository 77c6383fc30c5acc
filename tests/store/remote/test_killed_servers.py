"""Servers end with the tests, also if those are killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import support

START = """
import sys, time
from pathlib import Path
from support.servers.s3 import seaweedfs
with seaweedfs(Path(sys.argv[1])) as bucket:
    print(bucket.endpoint, flush=True)
    time.sleep(300)
"""


def test_a_server_ends_when_the_tests_are_killed(tmp_path):
    paths = [str(Path(support.__file__).parents[1]), *sys.path]
    with subprocess.Popen(
        [sys.executable, "-c", START, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    ) as process:
        endpoint = process.stdout.readline().strip()
        assert _answers(endpoint)
        process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 20
    while _answers(endpoint):
        assert time.monotonic() < end
        time.sleep(0.05)


def _answers(endpoint):
    parts = urlsplit(endpoint)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=5).close()
    except OSError:
        return False
    return True
