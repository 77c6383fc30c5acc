"""Commands in a real terminal: a pseudo-terminal that is theirs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time

ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-_])")
COLOURS = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-7]|9[0-7]|38|4[0-7])(?:;[0-9]+)*m")
_LIMIT = 120  # seconds


class Terminal:
    """A command that runs in a terminal of some width.

    Parameters
    ----------
    arguments : list of str
        Of ``python``.
    width : int
    env : mapping of str to str
        Changes of the environment; ``None`` removes a variable.
    in_pipe : bool
        Whether standard output is a pipe, and only standard error the terminal.
    """

    def __init__(self, arguments, *, width=80, env=(), in_pipe=False):
        self._master, slave = os.openpty()
        size = struct.pack("HHHH", 50, width, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        unset = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
        around = {key: value for key, value in os.environ.items() if key not in unset}
        changed = {**around, "TERM": "xterm-256color", **dict(env)}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=slave,
            stdout=subprocess.PIPE if in_pipe else slave,
            stderr=slave,
            env={key: value for key, value in changed.items() if value is not None},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.shown = ""

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._master)

    def press(self, keys):
        """Type some keys; ``"\\x03"`` is Ctrl-C."""
        os.write(self._master, keys.encode())

    def wait_for(self, text):
        """Read until the terminal shows a text."""
        end = time.monotonic() + _LIMIT
        while text not in self.shown:
            assert time.monotonic() < end, f"{text!r} is not in {self.shown!r}"
            assert self._read(1.0) or self.process.poll() is None, self.shown

    def finish(self):
        """Read to the end; return the exit status."""
        end = time.monotonic() + _LIMIT
        while self._read(0.2) or self.process.poll() is None:
            assert time.monotonic() < end, self.shown
        return self.process.wait()

    @property
    def text(self):
        """What was shown, without escape sequences."""
        return ESCAPES.sub("", self.shown).replace("\r\n", "\n")

    @property
    def lines(self):
        """The lines of `text`."""
        return self.text.splitlines()

    def _read(self, seconds):
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        with contextlib.suppress(OSError):  # EIO: the command has ended
            data = os.read(self._master, 1 << 16)
            self.shown += data.decode("utf-8", "replace")
            return bool(data)
        return False


def numpack(*arguments, **options):
    """Run ``numpack`` in a terminal to its end; return the terminal and the exit status."""
    with Terminal(["-m", "numpack", *arguments], **options) as terminal:
        return terminal, terminal.finish()
