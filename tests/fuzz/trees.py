"""Folder trees in memory, with files, links, FIFOs and holes; written to disk and read."""

from __future__ import annotations

import os
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Link:
    target: str


@dataclass(frozen=True)
class Fifo:
    pass


@dataclass(frozen=True)
class Directory:
    pass


@dataclass(frozen=True)
class Sparse:
    """A file that begins with some bytes and continues as a hole up to its size."""

    head: bytes
    size: int


Node = bytes | Link | Fifo | Directory | Sparse
Tree = dict[str, Node]


def read(folder: Path) -> Tree:
    tree: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        tree[name] = path.read_bytes() if path.is_file() else Directory()
    return tree


def write(tree: Tree, folder: Path) -> None:
    os.mkdir(folder)
    places = {name for name, node in tree.items() if not isinstance(node, Directory)}
    for name, node in tree.items():
        path = folder / name
        if name.partition("/")[0] in places - {name}:
            continue  # its parent is no longer a folder
        if isinstance(node, Directory):
            path.mkdir(parents=True, exist_ok=True)
            continue
        if "/" in name:
            path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(node, bytes):
            path.write_bytes(node)
        elif isinstance(node, Link):
            path.symlink_to(node.target)
        elif isinstance(node, Fifo):
            os.mkfifo(path)
        else:
            path.write_bytes(node.head)
            try:
                os.truncate(path, node.size)
            except OSError:  # beyond the maximum file size of the file system
                os.truncate(path, 1 << 36)


def remove(folder: Path) -> None:
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def save(path: Path, what: object) -> None:
    """Save an input as a pickle, which supports every node and is only read locally."""
    path.write_bytes(pickle.dumps(what))


def load(path: Path) -> Any:
    return pickle.loads(path.read_bytes())
