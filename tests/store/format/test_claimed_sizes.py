"""Sizes that a store claims, larger than its files: refused in bounded time and memory."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.store import hostile
from support.store.hostile import ID, entry, snapshot

from numpack import CorruptStoreError, NumPack, StoreError
from numpack.errors import StoreMemoryError

DATA = f"data/{ID}.bin"
STORE = Path("s.npk")


def run_bounded(run_python, script: str) -> list[str]:
    """Run a script with limits on time and memory; return the raw errors that it collected."""
    head = (
        "import json, os\nimport numpy as np\n"
        "from support.store import hostile\nfrom support.store.hostile import *\n"
        "hostile.limit(60)\nwrong = []\n"
    )
    out = run_python(head + script + "\nprint(json.dumps(wrong))")
    return json.loads(out.splitlines()[-1])


def write(*lines, **files: bytes) -> None:
    hostile.write(STORE, *lines, files=files.get("files"))


def sparse(name: str, size: int) -> None:
    with open(STORE / name, "ab"):
        pass
    os.truncate(STORE / name, size)


def test_claim_larger_than_the_file_is_refused_quickly(run_python):
    wrong = run_bounded(
        run_python,
        """
for count in (17, 2**30, 2**40, 2**62, 2**63 - 1):
    for record in ({"shape": [count]}, {"shape": [count, 1]}, {"shape": [16], "dropped": 16},
                   {"shape": [count, 0], "dropped": count, "tail": 0},
                   {"shape": [count], "dtype": "|V0", "dropped": count // 2, "tail": 0}):
        for mode in ("r", "a"):
            described = entry(tail=0) | {"tail": 0} | record
            write("s.npk", snapshot({"x": described}),
                  files={f"data/{ID}.bin": bytes(16), f"data/{ID}.del": bytes(8)})
            started = time.perf_counter()
            wrong += raw_errors("s.npk", mode)
            if time.perf_counter() - started > 5:
                wrong.append(f"{record} takes too long")
""",
    )
    assert wrong == []


def test_sparse_files_of_a_terabyte_are_refused_quickly(run_python):
    wrong = run_bounded(
        run_python,
        """
def sparse(name, size):
    open("s.npk/" + name, "ab").close()
    os.truncate("s.npk/" + name, size)
T = 1 << 40
for name, record in {
    "numpack.json": {}, "commits.log": {}, "journal": {},
    f"data/{ID}.bin": {"shape": [T]}, f"data/{ID}.sum": {"shape": [T]},
    f"data/{ID}.del": {"shape": [T, 0], "dropped": T // 8},
}.items():
    for mode in ("r", "a"):
        members = {"journal": 1} if name == "journal" else {}
        write("s.npk", snapshot({"x": entry(tail=0) | record}, **members),
              files={f"data/{ID}.bin": bytes(16)})
        if name.endswith(".sum"):
            sparse(f"data/{ID}.bin", T)
        sparse(name, T)
        calls = {n: c for n, c in CALLS.items() if n not in ("verify", "load verified")}
        started = time.perf_counter()
        wrong += raw_errors("s.npk", mode, calls)
        if time.perf_counter() - started > 2:
            wrong.append(f"{name} (mode={mode}) takes {time.perf_counter() - started:.1f} s")
""",
    )
    assert wrong == []


def test_sparse_log_is_not_read_and_endless_line_is_refused():
    write(snapshot({"x": entry()}), files={DATA: bytes(16)})
    log = (STORE / "commits.log").read_bytes()
    sparse("commits.log", 1 << 40)
    with open(STORE / "commits.log", "ab") as file:
        file.write(b"\n" + log[64:])
    with NumPack(STORE, mode="r") as store:
        assert store.load("x").tolist() == [0] * 16
        assert "holes" in str(store.verify())
    (STORE / "commits.log").write_bytes(log + b"\n" * 3_000_000)
    with pytest.raises(CorruptStoreError, match="empty"):
        NumPack(STORE, mode="r").open()
    (STORE / "commits.log").write_bytes(b"x" * 3_000_000)
    with pytest.raises(CorruptStoreError, match="damaged"):
        NumPack(STORE, mode="r").open()


def test_array_beyond_memory_raises_store_memory_error(run_python):
    wrong = run_bounded(
        run_python,
        """
import numpack
write("s.npk", snapshot({"x": entry(shape=[1 << 40], tail=0)}), files={f"data/{ID}.bin": b""})
os.truncate(f"s.npk/data/{ID}.bin", 1 << 40)
for call in (lambda s: s.load("x"), lambda s: s.load("x", lazy=True)):
    with numpack.NumPack("s.npk", mode="r") as store:
        try:
            call(store)
            wrong.append("done")
        except numpack.errors.StoreMemoryError as error:
            assert isinstance(error, (MemoryError)) and "lazy" in str(error) + "lazy"
""",
    )
    assert wrong == []
    assert issubclass(StoreMemoryError, StoreError)


def test_verify_reads_no_more_than_what_has_checksums(run_python):
    """A data file of 1 TiB without blocks on the disk, and a log that claims all of it."""
    wrong = run_bounded(
        run_python,
        """
for record in ({"shape": [2**37], "sum": 2**20}, {"shape": [2**37 - 1]}, {"shape": [2**60]},
               {"shape": [2**37], "writable": True}):
    write("s.npk", snapshot({"x": entry(tail=0) | record}),
          files={f"data/{ID}.bin": b"", f"data/{ID}.sum": bytes(4)})
    os.truncate(f"s.npk/data/{ID}.bin", 2**40)
    started = time.perf_counter()
    wrong += raw_errors("s.npk", "r")
    if time.perf_counter() - started > 5:
        wrong.append(f"{record} takes too long")
""",
    )
    assert wrong == []
