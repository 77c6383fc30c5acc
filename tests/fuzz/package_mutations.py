"""Mutations of packages: of their records, and of the files of the store in them."""

from __future__ import annotations

import io
import itertools
import random
import struct
import zipfile
import zlib

from support.packages.archives import Member, archive

from . import hostile
from .seeds import PACKAGE_FILE
from .store_mutations import bytes_changed, mutated
from .trees import Tree

_NAMES = [b"../canary/victim", b"/etc/passwd", b"data/..", b"lock", b"", b"\0", b"commits.log"]
_UNREADABLE = RuntimeError, OSError, EOFError, zipfile.BadZipFile, zlib.error
_RECORD, _LOCAL, _END = b"PK\1\2", b"PK\3\4", b"PK\5\6"
_FIELDS = {_RECORD: "2222244422222444", _LOCAL: "22222444222", _END: "22222442"}


def package(rng: random.Random, tree: Tree) -> Tree:
    """Mutate a package one to three times."""
    tree = dict(tree)
    for _ in range(rng.choice([1, 1, 2, 3])):
        data = tree[PACKAGE_FILE]
        way = rng.choice([*[_field] * 5, _record, _files, _files, None, None])
        if way is None or not isinstance(data, bytes):
            bytes_changed(rng, tree)
            continue
        try:
            tree[PACKAGE_FILE] = way(rng, data)
        except _UNREADABLE:
            bytes_changed(rng, tree)  # an earlier mutation left nothing that can be read
    return tree


def _field(rng: random.Random, data: bytes) -> bytes:
    """Change a number, or the name, in a record, a local header or the end record."""
    signature = rng.choice([_RECORD, _RECORD, _LOCAL, _END])
    places = _places(data, signature)
    at = rng.choice(places)
    widths = [int(each) for each in _FIELDS[signature]]
    number = rng.randrange(len(widths) + 1)
    start = at + 4 + sum(widths[:number])
    if number == len(widths):  # the name
        name = rng.choice(_NAMES)
        return data[:start] + name + data[start + len(name) :]
    width = widths[number]
    before = int.from_bytes(data[start : start + width], "little")
    value = rng.choice([before + 1, before - 1, before ^ 1, *hostile.INTS]) % (1 << 8 * width)
    return data[:start] + value.to_bytes(width, "little") + data[start + width :]


def _record(rng: random.Random, data: bytes) -> bytes:
    """Remove, repeat or exchange records of the directory, and state their number or not."""
    places = [*_places(data, _RECORD), data.rindex(_END)]
    records = [data[one:two] for one, two in itertools.pairwise(places)]
    one, two = rng.randrange(len(records)), rng.randrange(len(records))
    match rng.randrange(3):
        case 0:
            del records[one]
        case 1:
            records.insert(two, records[one])
        case _:
            records[one], records[two] = records[two], records[one]
    body, end = b"".join(records), bytearray(data[places[-1] :])
    if rng.random() < 0.8:
        struct.pack_into("<2HL", end, 8, len(records), len(records), len(body))
    return data[: places[0]] + body + bytes(end)


def _files(rng: random.Random, data: bytes) -> bytes:
    """Mutate the files as those of a store, and make an archive of them again."""
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        tree: Tree = {each.filename: found.read(each) for each in found.infolist()}
    tree = mutated(rng, tree)
    members = [
        Member(name.encode("utf-8", "replace"), node)
        for name, node in tree.items()
        if isinstance(node, bytes)
    ]
    return archive(*members)


def _places(data: bytes, signature: bytes) -> list[int]:
    places, at = [], data.find(signature)
    while at >= 0:
        places.append(at)
        at = data.find(signature, at + 1)
    return places
