"""Mutations of a store's files, structure by structure, with repaired checksums."""

from __future__ import annotations

import random
import zlib
from typing import Any

import numpy as np

from . import hostile
from .lines import parsed, sealed
from .trees import Directory, Fifo, Link, Sparse, Tree

BLOCK = 1 << 20
_SNAPSHOT = b'{"store":'
_LINKS = ["../canary/victim", "../canary/victim.bin", "../canary", "../canary/new", "/dev/zero"]
_LINKS += ["commits.log", "lock", "data", ".", "nowhere", "../../canary/victim", "numpack.json"]
_EXTRA = ["commits.log.new", "numpack.json.new", "obsolete.json", "journal", "lock", "data/x"]
_EXTRA += ["metadata.npkm", "data_x.npkd", "data/00000001-deadbeef.bin", "00000001.bin"]


def mutated(rng: random.Random, tree: Tree) -> Tree:
    """Mutate a store one to three times."""
    tree = dict(tree)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        rng.choice(_WAYS)(rng, tree)
    return tree


# Lines


def _written(rng: random.Random, document: Any) -> bytes:
    text = hostile.dumps(document)
    if rng.random() < 0.03:
        text = text.replace(b"{", b'{"commit":1,', 1)  # a duplicate member
    return sealed(text[:-1]) if text.endswith(b"}") else text + b"\n"


def _lines(tree: Tree) -> list[bytes]:
    log = tree.get("commits.log")
    return log.splitlines(keepends=True) if isinstance(log, bytes) else []


def _of_json(lines: list[bytes]) -> list[int]:
    """Return the numbers of the lines that are mostly read when the log is opened."""
    last = max((n for n, line in enumerate(lines) if line.startswith(_SNAPSHOT)), default=0)
    read = [n for n in range(last, len(lines)) if isinstance(parsed(lines[n]), dict)]
    return read or [n for n, line in enumerate(lines) if isinstance(parsed(line), dict)]


def log_fields(rng: random.Random, tree: Tree) -> None:
    """Mutate values in lines of the log."""
    lines = _lines(tree)
    numbers = _of_json(lines)
    if not numbers:
        return
    at = rng.choice(numbers) if rng.random() < 0.9 else rng.randrange(len(lines))
    document = parsed(lines[at])
    if isinstance(document, dict):
        for _ in range(rng.choice([1, 1, 2])):
            hostile.mutate(rng, document)
        if rng.random() < 0.5:
            _repair_checksums(document, tree)
        lines[at] = _written(rng, document)
        tree["commits.log"] = b"".join(lines)


def entry_fields(rng: random.Random, tree: Tree) -> None:
    """Mutate the record of an array consistently: id, dtype, shape, deleted rows."""
    lines = _lines(tree)
    found = [
        (at, document, record)
        for at in _of_json(lines)
        if isinstance(document := parsed(lines[at]), dict)
        for record in records(document).values()
        if isinstance(record, dict)
    ]
    if not found:
        return
    at, document, record = rng.choice(found)
    others = [each.get("id") for each in records(document).values() if isinstance(each, dict)]
    match rng.randrange(7):
        case 0:
            record["dtype"] = rng.choice(hostile.DTYPES)
        case 1:
            record["shape"] = rng.choice(
                [[2**62], [0, 2**62], [2**31, 2**31, 4], [-1], [-6, -2]]
            )
        case 2:
            record["shape"] = rng.choice(
                [[1] * 65, [], [2**40], [0] * 64, [6.0, 2], [True], "62"]
            )
        case 3:
            record["id"] = rng.choice([*hostile.IDS, *others])
        case 4:
            record |= {"dropped": rng.choice(hostile.INTS), "dropped_crc32": 0}
        case 5:
            record["shape"] = [rng.choice(hostile.INTS), *list(record.get("shape", []))[1:]]
        case _:
            shape = list(record.get("shape", []))
            record["shape"] = rng.choice([shape[::-1], shape[:-1], [*shape, 1], [*shape, 0]])
    if rng.random() < 0.8:
        _repair_checksums(document, tree)
    lines[at] = _written(rng, document)
    tree["commits.log"] = b"".join(lines)


def attributes(rng: random.Random, tree: Tree) -> None:
    """Mutate or invent attributes of arrays and of the store."""
    lines = _lines(tree)
    found = [at for at in _of_json(lines) if isinstance(parsed(lines[at]), dict)]
    if not found:
        return
    at = rng.choice(found)
    document = parsed(lines[at])
    changes = document.get("set")
    owners = [document, *records(document).values()]
    owners += changes.values() if isinstance(changes, dict) else []
    owner = rng.choice([each for each in owners if isinstance(each, dict)])
    value: Any = rng.choice([*hostile.INTS, *hostile.OTHER, *hostile.DTYPES, "x" * 1_100_000])
    match rng.randrange(3):
        case 0:
            owner["attrs"] = value
        case 1:
            for _ in range(rng.choice([1, 30, 31, 32, 33, 300])):
                value = rng.choice([[value], {"a": value}])
            owner["attrs"] = {"a": value}
        case _:
            known = owner.get("attrs")
            owner["attrs"] = {**(known if isinstance(known, dict) else {}), "n": value}
    lines[at] = _written(rng, document)
    tree["commits.log"] = b"".join(lines)


def commit_added(rng: random.Random, tree: Tree) -> None:
    """Append an invented commit."""
    lines = _lines(tree)
    numbers = _of_json(lines)
    known = [document for n in numbers if isinstance(document := parsed(lines[n]), dict)]
    if not known:
        return
    names = [name for document in known for name in records(document)] or ["x"]
    entries = [each for document in known for each in records(document).values()]
    name, commit = rng.choice(names), known[-1].get("commit", 0)
    if type(commit) is not int:
        return
    line: dict[str, Any] = {"commit": commit + 1, "time_us": 1_700_000_000_000_000}
    match rng.randrange(5):
        case 0:
            line["drop"] = rng.choice([[name], [name, name], ["nobody"], name, [1], {name: 1}])
        case 1:
            member = rng.choice(["rows", "tail", "dropped", "dropped_crc32", "revision"])
            line["set"] = {rng.choice([name, "nobody"]): {member: rng.choice(hostile.INTS)}}
        case 2:
            entry = dict(rng.choice(entries)) if entries else {}
            entry[rng.choice(["id", "dtype", "shape", "tail"])] = rng.choice(
                [*hostile.IDS, *hostile.DTYPES, [2**62], [3], 5]
            )
            line["put"] = {rng.choice([name, "new", ""]): entry}
        case 3:
            line["journal"] = rng.choice(hostile.INTS)
        case _:
            line |= {"set": rng.choice(hostile.OTHER), "put": rng.choice(hostile.OTHER)}
    if rng.random() < 0.5:
        _repair_checksums(line, tree)
    tree["commits.log"] = b"".join([*lines, _written(rng, line)])


def lines_moved(rng: random.Random, tree: Tree) -> None:
    """Duplicate, remove, reorder, truncate, empty or insert lines."""
    lines = _lines(tree)
    if not lines:
        return
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(9):
        case 0:
            lines.insert(other, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        case 4:
            lines.insert(at, rng.choice([b"\n", b"{}\n", b"[]\n", b"null\n", b"\0\n", b"\r\n"]))
        case 5:
            made = rng.choice(
                [{}, {"commit": 1}, {"store": 1}, {"store": "x" * 9}, {"time_us": 1}]
            )
            lines.insert(at, _written(rng, made))
        case 6:
            lines.append(b'{"store":' + b"x" * rng.choice([100, 20_000, 2_000_000]))
        case 7:
            lines = lines[: at + 1]
        case _:
            lines.insert(at, b"x" * rng.choice([100, 20_000, 2_000_000]) + b"\n")
    tree["commits.log"] = b"".join(lines)


def header_line(rng: random.Random, tree: Tree) -> None:
    lines = _lines(tree)
    if lines:
        commits = rng.choice([*hostile.INTS, *hostile.OTHER])
        text = hostile.dumps({"numpack": rng.choice([1, 1, 2, "1"]), "commits": commits})[:-1]
        lines[0] = sealed(text.ljust(43))
        tree["commits.log"] = b"".join(lines)


def records(document: Any) -> dict[str, Any]:
    """Return the array records of a line."""
    found: dict[str, Any] = {}
    for member in ("arrays", "put"):
        if isinstance(document.get(member), dict):
            found |= document[member]
    return found


def _repair_checksums(document: Any, tree: Tree) -> None:
    """Set the checksums in a line to those of the files, given its current claims."""
    for record in records(document).values():
        if not isinstance(record, dict) or not isinstance(record.get("id"), str):
            continue
        rows, gone = (tree.get(f"data/{record['id']}.{end}") for end in ("bin", "del"))
        size = _nbytes(record)
        if isinstance(rows, bytes) and 0 <= size <= len(rows):
            sums, whole = b"", size // BLOCK * BLOCK
            for start in range(0, whole, BLOCK):
                sums += zlib.crc32(rows[start : start + BLOCK]).to_bytes(4, "little")
            record["tail"] = zlib.crc32(rows[whole:size])
            if sums:
                tree[f"data/{record['id']}.sum"] = sums
        count = record.get("dropped")
        if isinstance(gone, bytes) and type(count) is int and 0 <= 8 * count <= len(gone):
            record["dropped_crc32"] = zlib.crc32(gone[: 8 * count])


def _nbytes(record: dict[str, Any]) -> int:
    try:
        count = np.dtype(record["dtype"]).itemsize
        for extent in record["shape"]:
            count *= int(extent)
    except Exception:  # a malformed record has no size
        return -1
    return count


# The journal


def journal(rng: random.Random, tree: Tree) -> None:
    """Mutate the journal of a replace that is not yet in place."""
    content = tree.get("journal")
    if not isinstance(content, bytes):
        content = tree["journal"] = rng.choice([b"", b"\n", b"{", b"{}\n", b"\0" * 100])
    head, newline, rest = (b"{" + content[1:]).partition(b"\n")
    document = parsed(head + newline)
    if isinstance(document, dict):
        match rng.randrange(4):
            case 0 | 1:
                hostile.mutate(rng, document)
            case 2:
                rest = _flipped(rng, rest)
            case _:
                rest = rng.choice([rest[:-1], rest + bytes(8), rest[: len(rest) // 2], b""])
        if rng.random() < 0.3:
            number = rng.choice([*hostile.INTS[:22], 2**63 - 1]) % 2**64
            rest = number.to_bytes(8, "little") + rest[8:]
        head = _written(rng, document)[:-1]
    content = tree["journal"] = head + newline + rest
    _name_journal(rng, tree, zlib.crc32(content))


def _name_journal(rng: random.Random, tree: Tree, crc: int) -> None:
    """Set the journal's checksum in the log."""
    lines = _lines(tree)
    for at, line in enumerate(lines):
        document = parsed(line)
        if isinstance(document, dict) and "journal" in document:
            document["journal"] = crc
            lines[at] = _written(rng, document)
    tree["commits.log"] = b"".join(lines)


# Files


def bytes_changed(rng: random.Random, tree: Tree) -> None:
    """Flip bits; truncate, extend, empty or sparsify files."""
    files = [name for name, node in tree.items() if isinstance(node, bytes)]
    if not files:
        return
    name = rng.choice(files)
    node = tree[name]
    assert isinstance(node, bytes)
    at = rng.randrange(len(node) + 1)
    match rng.randrange(8):
        case 0 | 1:
            tree[name] = _flipped(rng, node)
        case 2:
            tree[name] = node[:at]
        case 3:
            tree[name] = node + rng.choice(
                [b"\0", b"\n", b"{", rng.randbytes(9), node, node[:at]]
            )
        case 4:
            tree[name] = node[:at] + rng.randbytes(rng.choice([1, 4, 8])) + node[at:]
        case 5:
            size = 1 << (26 if name.endswith(".bin") else rng.choice([21, 27, 33, 40, 52]))
            tree[name] = Sparse(rng.choice([node, b"", node[:at]]), size)
        case 6:
            tree[name] = b""
        case _:
            tree[name] = node[:at] + bytes(len(node) - at)


def bytes_only(rng: random.Random, tree: Tree) -> Tree:
    """Mutate bytes regardless of structure."""
    tree = dict(tree)
    bytes_changed(rng, tree)
    return tree


def numbers_changed(rng: random.Random, tree: Tree) -> None:
    """Mutate deleted-row lists and checksums, with the list's checksum repaired."""
    files = [
        name
        for name, node in tree.items()
        if name.endswith((".del", ".sum")) and isinstance(node, bytes) and node
    ]
    if not files:
        return
    name = rng.choice(files)
    content, width = tree[name], 8 if name.endswith(".del") else 4
    assert isinstance(content, bytes)
    numbers = [content[at : at + width] for at in range(0, len(content), width)]
    at = rng.randrange(len(numbers))
    value = rng.choice([*hostile.INTS, 4, 5, 6]) % 2 ** (8 * width)
    numbers[at] = rng.choice([value.to_bytes(width, "little"), numbers[0], numbers[-1]])
    tree[name] = b"".join(numbers)
    lines = _lines(tree)
    for at, line in enumerate(lines):
        document = parsed(line)
        if isinstance(document, dict) and records(document):
            _repair_checksums(document, tree)
            lines[at] = _written(rng, document)
    tree["commits.log"] = b"".join(lines)


def kinds_changed(rng: random.Random, tree: Tree) -> None:
    """Replace files by links, FIFOs and folders, and folders by files."""
    name = rng.choice([*tree, "data", "lock", "journal", *_EXTRA])
    if name == "data" or rng.random() < 0.1:
        name = rng.choice(["data", name])
    if rng.random() < 0.5:
        up = "../" * name.count("/")
        tree[name] = Link(up + rng.choice(_LINKS))
    else:
        tree[name] = rng.choice([Fifo(), Directory(), b"", Sparse(b"", 1 << 40)])


def files_moved(rng: random.Random, tree: Tree) -> None:
    """Remove, exchange or copy files."""
    name, other = rng.choice([*tree]), rng.choice([*tree, *_EXTRA])
    match rng.randrange(3):
        case 0:
            del tree[name]
        case 1 if other in tree:
            tree[name], tree[other] = tree[other], tree[name]
        case _:
            tree[other] = tree[name]


def header(rng: random.Random, tree: Tree) -> None:
    document = {"format": "numpack", "version": 1}
    hostile.mutate(rng, document)
    text = hostile.dumps(document)
    tree["numpack.json"] = rng.choice([text, text + b"\n", text * 2, text[:-1], b"[" * 60_000])


def _flipped(rng: random.Random, content: bytes) -> bytes:
    flipped = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8]) if content else 0):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


_WAYS = [
    *[log_fields] * 6,
    *[entry_fields] * 6,
    *[commit_added] * 4,
    *[attributes] * 2,
    *[lines_moved] * 3,
    *[journal] * 3,
    *[bytes_changed] * 3,
    *[numbers_changed] * 3,
    *[kinds_changed] * 4,
    *(header_line, files_moved, files_moved, header),
]
