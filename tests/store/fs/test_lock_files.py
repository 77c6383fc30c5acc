"""Lock files with content, and file systems without locks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from numpack import LockError, NumPack, StoreError

ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS})
        yield opened


@pytest.fixture(scope="session")
def no_flock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flock")
    code = "#include <errno.h>\n#include <stdlib.h>\n"
    code += 'int flock(int f, int o) { errno = atoi(getenv("E")); return -1 | (f & o & 0); }\n'
    (folder / "f.c").write_text(code)
    library = folder / "f.so"
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", library, folder / "f.c"], check=True)
    return library


def test_file_system_without_locks_allows_reading_only(store, no_flock):
    script = """
import os, sys
import numpy as np
from numpack import LockError, LockTimeoutError, NumPack
for number in sys.argv[1:]:
    os.environ["E"] = number  # which flock returns
    for mode in ("a", "r", "r+"):
        with NumPack("s.npk", mode=mode, lock_timeout=5) as store:
            assert store["x"].tolist() == store.getitem("x", [0, 1, 2]).tolist()
            assert store.load("x", lazy=True).shape == (3, 2)
            assert store.verify().ok
    for call in (
        lambda: NumPack(f"new{number}.npk").open(),
        lambda: NumPack("s.npk", mode="w").open(),
        lambda: NumPack("s.npk", drop_if_exists=True).open(),
        lambda: NumPack("s.npk").__enter__().append({"x": np.zeros((1, 2))}),
        lambda: NumPack("s.npk", lock_timeout=3).__enter__().sync(),
    ):
        try:
            call()
        except LockError as error:
            assert not isinstance(error, LockTimeoutError)
            assert ".npk cannot be locked" in str(error) and "mode='r' reads" in str(error)
            print(error.errno)
"""
    numbers = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, 524]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *map(str, numbers)],
        env={**os.environ, "LD_PRELOAD": str(no_flock)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(number) for number in numbers for _ in range(5)]
    assert issubclass(LockError, StoreError)


def test_lock_file_with_content_still_locks(run_python):
    run_python(
        "import signal; signal.alarm(10)\n"
        "import numpy as np; from numpack import NumPack\n"
        "with NumPack('s.npk') as store: store.save({'x': np.zeros(1)})\n"
        "import pathlib; pathlib.Path('s.npk/lock').write_text('something')\n"
        "with NumPack('s.npk') as store: store.save({'x': np.zeros(2)})\n"
    )
