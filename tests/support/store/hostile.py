"""Hand-written stores with valid checksums and false claims.

``python -m support.store.hostile`` makes every call on each of them, with limits on time and
memory.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numpack import NumPack, NumpackError

TOKEN = "00c0ffee"
ID = f"00000001-{TOKEN}"
OTHER_ID = f"00000002-{TOKEN}"
BLOCK = 1 << 20
MODES = ("a", "r", "r+")


def line(record: Any) -> bytes:
    """Encode a line of a log, with its checksum."""
    text = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
    return checked(text[:-1].encode("utf-8", "surrogatepass"))


def checked(body: bytes) -> bytes:
    """Append the checksum to the beginning of a line."""
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


def header_line(commits: Any) -> bytes:
    return checked(b'{"numpack":1,"commits":%-20s' % str(commits).encode())


def entry(data: bytes = bytes(16), **members: Any) -> dict[str, Any]:
    """Return the snapshot record of an array of bytes."""
    tail = zlib.crc32(data[len(data) // BLOCK * BLOCK :])
    usual = {"id": ID, "dtype": "|u1", "shape": [len(data)], "tail": tail, "modified_us": 0}
    return usual | members


def snapshot(arrays: Any, **members: Any) -> dict[str, Any]:
    return {"store": TOKEN, "commit": 1, "next_id": 9, **members, "arrays": arrays}


def write(path: str | Path, *lines: Any, files: dict[str, bytes] | None = None) -> None:
    """Write a store whose log has these lines after the header line."""
    path = Path(path)
    shutil.rmtree(path, ignore_errors=True)
    (path / "data").mkdir(parents=True)
    (path / "numpack.json").write_text('{"format": "numpack", "version": 1}\n')
    (path / "lock").touch()
    written = [each if isinstance(each, bytes) else line(each) for each in lines]
    (path / "commits.log").write_bytes(header_line(1) + b"".join(written))
    for name, content in (files or {}).items():
        (path / name).write_bytes(content)


ROW = np.ones(1, "u1")

CALLS: dict[str, Callable[[NumPack], Any]] = {
    "list": list,
    "get_metadata": lambda s: s.get_metadata(),
    "get_shape": lambda s: s.get_shape("x"),
    "load": lambda s: s.load("x"),
    "lazy": lambda s: repr(s.load("x", lazy=True)[()]),
    "getitem": lambda s: s.getitem("x", [0]),
    "stream_load": lambda s: next(iter(s.stream_load("x", 4)), None),
    "verify": lambda s: str(s.verify()),
    "load verified": lambda s: s.load("x", verify=True),
}
CHANGES: dict[str, Callable[[NumPack], Any]] = {
    "append": lambda s: s.append({"x": ROW}),
    "replace": lambda s: s.replace({"x": ROW}, [0]),
    "drop rows": lambda s: s.drop("x", [0]),
    "update": lambda s: s.update("x"),
    "clone": lambda s: s.clone("x", "copy"),
    "batch": lambda s: _batch(s),
    "writable batch": lambda s: _writable(s),
    "attributes": lambda s: s.attrs["x"].update(a=1),
    "attributes of the store": lambda s: s.attrs.store.update(a=1),
    "save another": lambda s: s.save({"z": np.arange(3)}),
    "save": lambda s: s.save({"x": np.arange(3)}),
    "drop": lambda s: s.drop("x"),
    "reset": lambda s: s.reset(),
}


def _batch(store: NumPack) -> None:
    with store.batch_mode():
        store.load("x")[...] = 0


def _writable(store: NumPack) -> None:
    with store.writable_batch_mode() as batch:
        batch.load("x")[...] = 0


def raw_errors(path: str, mode: str = "r", calls: Any = None) -> list[str]:
    """Make every call on a store; list exceptions that are not the package's own."""
    calls = calls or (CALLS if mode == "r" else CALLS | CHANGES)
    found: list[str] = []

    def attempt(what: str, call: Callable[[], Any]) -> bool:
        try:
            call()
        except NumpackError:
            return False
        except Exception as error:
            found.append(f"{what} (mode={mode}): {type(error).__name__}: {error}"[:200])
            return False
        return True

    store = NumPack(path, mode=mode)
    if attempt("open", store.open):
        for name, call in calls.items():
            attempt(name, lambda call=call: call(store))
    attempt("close", store.close)
    return found


HUGE = (2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64, 10**30)
BAD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 1.0, 1e300, float("inf"), float("nan"), *HUGE),
    *("", "x", "1", "\0", "\ud800", "../../x", "O", "f" * 5000),
    *([], [1], [-1], [0], [1.5], ["4"], [None], [True], [[1]], {}, {"a": 1}, [1] * 65),
    *([2**40, 2**40], [0, 2**63], [2**62], [2**63], [0, 2**40, 2**40], [2**50, 0]),
)
IDS = (
    *("", "1", f"1-{TOKEN}", f"00000001-{TOKEN}\n", f"00000001-{TOKEN}\0", "00000001-00000000"),
    *(f"0000000\u0661-{TOKEN}", f"00000001-{TOKEN.upper()}", f"../00001-{TOKEN}", "../../home"),
    *(f"{'0' * 30}-{TOKEN}", f"-0000001-{TOKEN}", f" 0000001-{TOKEN}", f"0000_001-{TOKEN}"),
    *(f"99999999-{TOKEN}", f"{10**18}-{TOKEN}", f"00000001-{TOKEN}/../x", f"00000009-{TOKEN}"),
)


def struct(**members: Any) -> dict[str, Any]:
    usual = {"names": ["a", "b"], "formats": ["<f4", "|i1"], "offsets": [0, 4], "itemsize": 8}
    return usual | members


def nested(levels: int) -> Any:
    code: Any = "<f4"
    for _ in range(levels):
        code = struct(names=["a"], formats=[code], offsets=[0], itemsize=4)
    return code


DTYPES: tuple[Any, ...] = (
    *("O", "|O", "O8", "T", "StringDType", "object", "f4,O", "(2,2)f4", "2f4", "V", "S", "U"),
    *("|S2147483648", "|V99999999999", "<U536870912", "|S05", "|S-1", "|S 1", "<M8[0s]", ">f4"),
    *(
        "<M8[25]",
        "<M8[2147483648s]",
        "<M8[1s]",
        "<M8[generic]",
        "<f16",
        "<c32",
        "g",
        "f4",
        "=f4",
    ),
    *(
        "?",
        "<i1",
        "|i2",
        "<f4\n",
        "<f4\0",
        " <f4",
        "float32",
        "nonsense",
        "|S\u0665",
        "bfloat17",
    ),
    *(["<f4", [2]], ["<f4"], nested(70), nested(300), struct(names=["a", "a"])),
    *(
        struct(names=["a", 1]),
        struct(names="ab"),
        struct(formats=["O", "|i1"]),
        struct(names=[]),
    ),
    *(struct(offsets=[-1, 4]), struct(offsets=[5, 0]), struct(offsets=[2**62, 0]), {"x": 1}),
    *(struct(offsets=[0.0, 4]), struct(offsets=[0, True]), struct(itemsize=4), struct(more=1)),
    *(
        struct(itemsize=2**31),
        struct(itemsize=2**63),
        struct(itemsize=-1),
        struct(itemsize="8"),
    ),
    *(struct(titles=["b", None]), struct(titles=["t", "t"]), struct(titles=[["t"], None])),
    *(struct(titles=[{"t": 1}, None]), struct(titles="ab"), struct(titles=[1, None])),
    *(struct(formats=[["<f4", [-1]], "|i1"]), struct(formats=[["<f4", [2**31]], "|i1"])),
    *(struct(formats=[["|V0", [2**31 - 1] * 64], "|i1"]), struct(formats=[["<f4", []], "|i1"])),
    *(
        struct(formats=[["<f4", [1] * 65], "|i1"]),
        struct(formats=[["|V0", [2**20] * 2], "|i1"]),
    ),
)


def stores(step: int = 1) -> Iterator[tuple[str, list[Any], dict[str, bytes]]]:
    """Yield the stores that must be refused, or of which an array must be refused.

    Of the wrong values for a member, only every `step`-th is tried, beginning with another one
    for each member.
    """
    offsets = itertools.count()

    def some(values: Sequence[Any]) -> Sequence[Any]:
        return values[next(offsets) % step :: step]

    data = {f"data/{ID}.bin": bytes(16)}
    usual = snapshot({"x": entry()})
    dropped = {"dropped": 1, "dropped_crc32": zlib.crc32(bytes(8))}
    full = entry(revision=1, writable=False, attrs={}) | dropped
    gone = {**data, f"data/{ID}.del": bytes(8)}
    for key in ("store", "commit", "next_id", "journal", "attrs", "arrays", "more"):
        yield from ((f"snapshot {key}", [usual | {key: bad}], data) for bad in some(BAD))
        without = {other: usual[other] for other in usual if other != key}
        yield f"snapshot without {key}", [without], data
    for key in (*full, "more"):
        yield from (
            (f"{key} {bad!r:.60}", [snapshot({"x": full | {key: bad}})], gone)
            for bad in some(BAD)
        )
        without = {other: full[other] for other in full if other != key}
        yield f"array without {key}", [snapshot({"x": without})], gone
    for shape in ([2], [0], []):
        for code in some(DTYPES):
            described = entry(dtype=code, shape=shape, tail=0)
            yield f"dtype {code!r:.60}", [snapshot({"x": described})], data
    for bad in some(IDS):
        yield f"id {bad!r}", [snapshot({"x": entry(id=bad)})], data
    yield "an id twice", [snapshot({"x": entry(), "y": entry()})], data
    yield "no name", [snapshot({"": entry()})], data
    yield from ((f"an array {bad!r:.60}", [snapshot({"x": bad})], data) for bad in some(BAD))
    yield from commits(usual, data, some)
    yield from lines(usual, data)


def commits(
    usual: Any, data: dict[str, bytes], some: Callable[[Sequence[Any]], Sequence[Any]]
) -> Iterator[tuple[str, list[Any], Any]]:
    commit = {"commit": 2, "time_us": 1}
    for key in ("commit", "time_us", "drop", "put", "set", "journal", "attrs", "more"):
        for bad in some(BAD):
            yield f"commit {key} {bad!r:.60}", [usual, commit | {key: bad}], data
    for key in (
        "rows",
        "tail",
        "dropped",
        "dropped_crc32",
        "revision",
        "writable",
        "attrs",
        "id",
    ):
        for bad in some(BAD):
            change = commit | {"set": {"x": {key: bad}}}
            yield f"set {key} {bad!r:.60}", [usual, change], data
    for bad in some(IDS):
        put = {"y": entry(id=bad)}
        put["y"].pop("modified_us")
        yield f"put {bad!r}", [usual, commit | {"put": put}], data
    yield "set of none", [usual, commit | {"set": {"y": {"tail": 0}}}], data
    yield "drop twice", [usual, commit | {"drop": ["x", "x"]}], data


def lines(usual: Any, data: dict[str, bytes]) -> Iterator[tuple[str, list[Any], Any]]:
    """Yield logs whose lines are not records."""
    deep = [b"[" * 200_000 + b"]" * 200_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000]
    for each in (*deep, b"9" * 10_000, b"NaN", b"-Infinity", b'"\xff"', b"tru", b'"\n"'):
        yield f"snapshot {each[:20]!r}", [checked(b'{"store":' + each)], data
        yield f"commit {each[:20]!r}", [usual, checked(b'{"commit":2,"time_us":' + each)], data
    yield (
        "two objects",
        [usual, checked(b'{"commit":2,"time_us":1},{"commit":3,"time_us":1')],
        data,
    )
    yield "an end", [usual, checked(b'{"commit":2,"time_us":1}],[{"a":1')], data
    yield "a list", [usual, checked(b'[1,{"a":1')], data
    yield "no lines", [b"\n" * 1_500_000], data
    yield "empty lines", [usual, b"\n" * 1_500_000], data


def limit(seconds: int) -> None:
    """Limit this process to some seconds and to 3 GiB of addresses."""
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))


def main() -> None:
    limit(int(sys.argv[1]))
    step = int(sys.argv[2])
    wrong, number, slowest = [], 0, ("", 0.0)
    for number, (what, records, files) in enumerate(stores(step)):
        mode = MODES[number % 3]
        write("s.npk", *records, files=files)
        started = time.perf_counter()
        wrong += [f"{what}: {each}" for each in raw_errors("s.npk", mode)]
        took = time.perf_counter() - started
        slowest = max(slowest, (what, took), key=lambda each: each[1])
    sys.stdout.write(
        json.dumps({"wrong": wrong, "stores": number + 1, "slowest": slowest}) + "\n"
    )


if __name__ == "__main__":
    os.umask(0o022)
    main()
