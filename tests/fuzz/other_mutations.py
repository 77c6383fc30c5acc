"""Mutations of folders of NumPack 0.x and of safetensors files."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

from . import hostile
from .seeds import FILE
from .store_mutations import bytes_changed, files_moved, kinds_changed
from .trees import Directory, Fifo, Link, Sparse, Tree

_META = "metadata.npkm"
_REST = struct.Struct("<QQBBiQQB")
_NAMES = ["", "..", "x", "data_x.npkd", "../canary/victim", "data_/../x.npkd", "data_\0.npkd"]
_NAMES += ["data_.npkd", "data_x.npkd/", "data_" + "x" * 300 + ".npkd", "metadata.npkm", "\x7f"]
_NAMES += ["data_\\x.npkd", "data_../../canary/victim.npkd", "numpack.json", "data_new.npkd"]


# NumPack 0.x


def old_folder(rng: random.Random, tree: Tree) -> Tree:
    """Mutate a folder of NumPack 0.x one to three times."""
    tree = dict(tree)
    for _ in range(rng.choice([1, 1, 2, 3])):
        ways = [*[_records_changed] * 6, *[_bitmap_changed] * 3, bytes_changed, bytes_changed]
        rng.choice([*ways, kinds_changed, kinds_changed, files_moved])(rng, tree)
    return tree


def records(metadata: bytes) -> list[dict[str, Any]]:
    """Parse the records of valid metadata."""
    (count,), at, found = struct.unpack_from("<I", metadata, 16), 20, []
    for _ in range(count):
        record: dict[str, Any] = {}
        record["name"], at = _text(metadata, at)
        (ndim,) = struct.unpack_from("<I", metadata, at)
        record["shape"] = list(struct.unpack_from(f"<{ndim}Q", metadata, at + 4))
        record["file"], at = _text(metadata, at + 4 + 8 * ndim)
        record["rest"] = list(_REST.unpack_from(metadata, at))
        at += _REST.size
        found.append(record)
    return found


def _text(metadata: bytes, at: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("<I", metadata, at)
    if at + 4 + length > len(metadata):
        raise ValueError(length)
    return metadata[at + 4 : at + 4 + length], at + 4 + length


def _records_changed(rng: random.Random, tree: Tree) -> None:
    metadata = tree.get(_META)
    try:
        assert isinstance(metadata, bytes)
        found = records(metadata)
    except (struct.error, ValueError, AssertionError):
        return
    if not found:
        return
    record, count = rng.choice(found), len(found)
    head, tail = bytearray(metadata[:16]), b""
    match rng.randrange(9):
        case 0:
            record["name"] = _name(rng)
        case 1:
            record["file"] = rng.choice([_name(rng), rng.choice(found)["file"]])
        case 2:
            record["shape"] = rng.choice(_SHAPES)
        case 3:
            changed = hostile.changed(rng, record["shape"])
            record["shape"] = changed if isinstance(changed, list) else []
        case 4 | 5:
            at = rng.randrange(len(record["rest"]))
            record["rest"][at] = rng.choice([*hostile.INTS, 9, 14, 13])
        case 6:
            found.insert(0, rng.choice(found))
            count = rng.choice([count, count + 1])
        case 7:
            count = rng.choice([0, count - 1, count + 1, 2**32 - 1, 2**31])
        case _:
            head[rng.randrange(16)] ^= 1 << rng.randrange(8)
            tail = rng.choice([b"", b"\0", bytes(100)])
    if rng.random() < 0.5:
        _repair_size(record)
    body = b"".join(map(_record, found))
    tree[_META] = bytes(head) + struct.pack("<I", count % 2**32) + body + tail


_SHAPES: list[list[int]] = [
    [],
    [2**62],
    [0, 2**62],
    [2**32, 2**32],
    [1] * 65,
    [0] * 64,
    [96],
    [12],
]
_SHAPES += [
    [2**61 + 12],
    [6, 2, 1],
    [2, 6],
    [0],
    [2**63],
    [2**64 - 1],
    [0, 2**64 - 1],
    [2**40, 0],
]


def _name(rng: random.Random) -> bytes:
    name = rng.choice(_NAMES).encode()
    return rng.choice([name, name, name + b"\xff", b"\xed\xa0\x80", b"x" * 70_000])


def _repair_size(record: dict[str, Any]) -> None:
    """Make the size agree with shape and dtype, if they have one."""
    items = [1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 8, 16]
    size, code = 1, record["rest"][2]
    for extent in record["shape"]:
        size *= extent if type(extent) is int else 1
    if type(code) is int and 0 <= code < len(items):
        record["rest"][1] = size * items[code]


def _record(record: dict[str, Any]) -> bytes:
    shape = [each % 2**64 if type(each) is int else 1 for each in record["shape"]]
    bits = (64, 64, 8, 8, 32, 64, 64, 8)
    rest = [int(each) % 2**width for each, width in zip(record["rest"], bits, strict=True)]
    rest[4] = min(rest[4], 2**31 - 1)
    return (
        struct.pack("<I", len(record["name"]))
        + record["name"]
        + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        + struct.pack("<I", len(record["file"]))
        + record["file"]
        + _REST.pack(*rest)
    )


def _bitmap_changed(rng: random.Random, tree: Tree) -> None:
    names = [name for name in tree if name.endswith(".npkb")] or ["deleted_x.npkb"]
    name = rng.choice([*names, "deleted_x.npkb", "deleted_0d.npkb", "deleted_empty.npkb"])
    content = tree.get(name)
    if not isinstance(content, bytes) or len(content) < 16:
        content = struct.pack("<QQQ", 6, 1, 61)
    rows, deleted = struct.unpack_from("<QQ", content)
    match rng.randrange(4):
        case 0:
            rows = rng.choice([*hostile.INTS, 64, 70]) % 2**64
        case 1:
            deleted = rng.choice(hostile.INTS) % 2**64
        case 2:
            tree[name] = Sparse(content, 1 << rng.choice([20, 30, 40]))
            return
        case _:
            content = content[:16] + rng.randbytes(rng.choice([0, 7, 8, 16]))
    tree[name] = struct.pack("<QQ", rows, deleted) + content[16:]


# safetensors


def tensors(rng: random.Random, tree: Tree) -> Tree:
    """Mutate a safetensors file once or twice."""
    tree = dict(tree)
    for _ in range(rng.choice([1, 1, 2])):
        rng.choice([*[_header_changed] * 6, _length_changed, bytes_changed, _kind_changed])(
            rng, tree
        )
    return tree


def _header_changed(rng: random.Random, tree: Tree) -> None:
    content = tree[FILE]
    if not isinstance(content, bytes) or len(content) < 8:
        return
    length = int.from_bytes(content[:8], "little")
    try:
        document = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        return
    claims = [each for each in document.values() if isinstance(each, dict) and "dtype" in each]
    if claims and rng.random() < 0.4:
        claim = rng.choice(claims)
        member = rng.choice(["dtype", "shape", "data_offsets"])
        claim[member] = rng.choice(_CLAIMS[member])
    else:
        hostile.mutate(rng, document)
    text = hostile.dumps(document) + b" " * rng.choice([0, 0, 1, 7])
    if rng.random() < 0.05:
        text = text.replace(b"{", b'{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},', 1)
    tree[FILE] = struct.pack("<Q", len(text)) + text + content[8 + length :]


_CLAIMS: dict[str, list[Any]] = {
    "dtype": [
        "BOOL",
        "U8",
        "I64",
        "F4",
        "F6_E2M3",
        "F8_E4M3",
        "BF16",
        "C64",
        "F8_E8M0",
        "O",
        "f4",
    ],
    "shape": [
        [],
        [0],
        [2**62],
        [0, 2**62],
        [0, 2**62, 2**62],
        [1] * 65,
        [6],
        [3, 2, 1],
        [24],
        [3],
    ],
    "data_offsets": [
        [0, 0],
        [0, 2**63],
        [24, 0],
        [-1, 23],
        [8, 24],
        [0],
        [0, 1, 2],
        [0, 24],
        [0, 5],
    ],
}


def _length_changed(rng: random.Random, tree: Tree) -> None:
    content = tree[FILE]
    if isinstance(content, bytes):
        length = rng.choice([*hostile.INTS, 100_000_000, 100_000_001]) % 2**64
        tree[FILE] = struct.pack("<Q", length) + content[8:]


def _kind_changed(rng: random.Random, tree: Tree) -> None:
    node = tree[FILE]
    kinds = [Fifo(), Directory(), b"", Link("/dev/zero"), Link("nowhere"), Link(FILE)]
    head = node[:8] if isinstance(node, bytes) else b""
    tree[FILE] = rng.choice(
        [*kinds, Sparse(struct.pack("<Q", 90_000_000) + b"{", 1 << 40), Sparse(head, 1 << 30)]
    )
