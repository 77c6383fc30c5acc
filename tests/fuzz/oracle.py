"""Determine which arrays of a mutated input are intact, by an independent reader."""

from __future__ import annotations

import json
import struct
from typing import Any

from . import other_mutations
from .lines import parsed
from .seeds import FILE, OLD, PACKAGE, STORE, Arrays, Seed
from .trees import Directory, Tree

_ENDS = ("bin", "sum", "del")


def untouched(seed: Seed, tree: Tree) -> Arrays:
    """Return the arrays whose entries and files equal the seed's; their rows must too."""
    try:
        if seed.kind == STORE:
            return _of_store(seed, tree)
        if seed.kind == PACKAGE:  # whose rows are not compared with their checksums
            return seed.arrays if tree == seed.tree else {}
        return _of_old(seed, tree) if seed.kind == OLD else _of_tensors(seed, tree)
    except Exception:  # an input that this reader cannot parse has no intact arrays
        return {}


def _of_store(seed: Seed, tree: Tree) -> Arrays:
    if "numpack.json" not in tree and "metadata.npkm" in tree:  # its upgrade was interrupted
        return _of_old(seed, tree)
    if tree.get("data", Directory()) != Directory():
        return {}
    (before, was), (after, now) = _state(seed.tree), _state(tree)
    if was != now or seed.tree.get("journal") != tree.get("journal"):
        return {}
    ids = [record["id"] for record in after.values()]
    return {
        name: rows
        for name, rows in seed.arrays.items()
        if before[name] == after.get(name)
        and ids.count(before[name]["id"]) == 1
        and all(seed.tree.get(file) == tree.get(file) for file in _files(before[name]["id"]))
    }


def _files(identifier: str) -> list[str]:
    return [f"data/{identifier}.{end}" for end in _ENDS]


def _state(tree: Tree) -> tuple[dict[str, Any], Any]:
    """Parse the arrays of a log by docs/format.md, and its token, commit and journal."""
    log = tree["commits.log"]
    assert isinstance(log, bytes)
    lines = [line for line in log.splitlines(keepends=True) if line.endswith(b"\n")]
    first = max(n for n, line in enumerate(lines) if line.startswith(b'{"store":'))
    snapshot = parsed(lines[first])
    arrays, last = snapshot["arrays"], snapshot
    for line in lines[first + 1 :]:
        last = parsed(line)
        for name in last.get("drop", []):
            del arrays[name]
        arrays |= last.get("put", {})
        for name, change in last.get("set", {}).items():
            if "rows" in change:
                arrays[name]["shape"][0] = change.pop("rows")
            arrays[name] |= change
    for record in arrays.values():
        record.pop("modified_us", None)
    return arrays, (snapshot["store"], last.get("commit"), last.get("journal"))


def _of_old(seed: Seed, tree: Tree) -> Arrays:
    before, after = (_old_records(each) for each in (seed.tree, tree))
    files = [record["file"] for record in after.values()]
    found: Arrays = {}
    for name, rows in seed.arrays.items():
        record = before[name.encode()]
        bitmap = f"deleted_{name}.npkb"
        if (
            record == after.get(name.encode())
            and files.count(record["file"]) == 1
            and all(
                seed.tree.get(each) == tree.get(each) for each in (f"data_{name}.npkd", bitmap)
            )
        ):
            found[name] = rows
    return found


def _old_records(tree: Tree) -> dict[bytes, dict[str, Any]]:
    metadata = tree["metadata.npkm"]
    assert isinstance(metadata, bytes)
    return {record["name"]: record for record in other_mutations.records(metadata)}


def _of_tensors(seed: Seed, tree: Tree) -> Arrays:
    def claims(content: Any) -> dict[str, Any]:
        (length,) = struct.unpack_from("<Q", content)
        header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
        return {
            name: (claim["dtype"], claim["shape"], data[slice(*claim["data_offsets"])])
            for name, claim in header.items()
            if name in seed.arrays
        }

    before, after = claims(seed.tree[FILE]), claims(tree[FILE])
    return {name: rows for name, rows in seed.arrays.items() if before[name] == after.get(name)}
