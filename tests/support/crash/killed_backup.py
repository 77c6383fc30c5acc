"""A backup of s.npk that is killed: ``python -m support.crash.killed_backup STEP``.

The step is the number of the call of `progress` that kills; the one after the last array is
that before the header is named.
"""

from __future__ import annotations

import os
import signal
import sys
from unittest import mock

from numpack import NumPack
from numpack.store.reading import backup


def main() -> None:
    stop, calls = int(sys.argv[1]), 0

    def kill(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def count(*_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == stop:
            kill()

    with NumPack("s.npk") as store, mock.patch.object(backup, "write_store", kill):
        store.backup(f"b{stop}.npk", progress=count)


if __name__ == "__main__":
    main()
