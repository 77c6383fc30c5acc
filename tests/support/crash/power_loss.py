"""A model of power loss: the states that a recorded run may leave on a device.

At any moment each 512-byte sector that was not flushed may be on the device in its current
version or in any version since the last flush; so may the size of each file, and each name that
was created or removed in a folder, in any order.
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
import struct
import subprocess
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from numpack import NotAStoreError, NumPack
from support.crash.operations import State, state_of
from support.crash.power_loss_kinds import KINDS, PATH

SECTOR = 512
Files = dict[str, bytes]
_SOURCE = Path(__file__).with_name("recorder.c")
_HEADER = struct.Struct("<IIIIQQ")


def built(folder: Path) -> Path:
    """Build the library that records system calls."""
    library = folder / "recorder.so"
    compiler = os.environ.get("CC", "cc").split()
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    more = ["-U_FORTIFY_SOURCE", "-lpthread"]
    subprocess.run([*compiler, *flags, "-o", library, _SOURCE, *more], check=True)
    return library


class Event(NamedTuple):
    kind: str
    a: int
    b: int
    first: bytes
    second: str


def events_in(path: str) -> Iterator[Event]:
    content = memoryview(Path(path).read_bytes())
    at = 0
    while at < len(content):
        kind, first, second, _, a, b = _HEADER.unpack_from(content, at)
        at += _HEADER.size
        middle, end = at + first, at + first + second
        yield Event(
            chr(kind), a, b, bytes(content[at:middle]), bytes(content[middle:end]).decode()
        )
        at = end


class Luck:
    """Chooses which pending writes a power loss keeps.

    Parameters
    ----------
    dice : Random
    pending : int
        Number of pending writes.
    """

    def __init__(self, dice: random.Random, pending: int) -> None:
        one = 1 / max(1, pending)
        self._dice = dice
        self._chance = dice.choice([0.0, 1.0, 0.5, one, 1 - one, 0.1, 0.9])

    def spares(self) -> bool:
        return self._dice.random() < self._chance

    def version(self, count: int) -> int:
        """Choose one of the versions; the last is the current one."""
        if self.spares():
            return count - 1
        return 0 if self._chance == 0.0 else self._dice.randrange(count)


class File:
    """A file: its durable contents, and the pending versions of its sectors."""

    def __init__(self, content: bytes = b"") -> None:
        self.now = bytearray(content)
        self.flush()

    def flush(self) -> None:
        self._durable = bytes(self.now)
        self._sectors: dict[int, list[bytes]] = {}
        self._sizes = [len(self.now)]

    @property
    def pending(self) -> int:
        return len(self._sectors) + len(self._sizes) - 1

    def write(self, at: int, data: bytes) -> None:
        if at > len(self.now):
            self.now.extend(bytes(at - len(self.now)))
        self.now[at : at + len(data)] = data
        self._note(at, at + len(data))

    def resize(self, size: int) -> None:
        before = len(self.now)
        del self.now[size:]
        self.now.extend(bytes(size - len(self.now)))
        self._note(min(before, size), max(before, size))

    def become(self, content: bytes) -> None:
        """Apply writes through mapped pages."""
        new, old = np.frombuffer(content, np.uint8), np.frombuffer(bytes(self.now), np.uint8)
        for sector in np.unique(np.flatnonzero(new != old) // SECTOR):
            start = int(sector) * SECTOR
            self.write(start, content[start : start + SECTOR])

    def _note(self, start: int, end: int) -> None:
        for sector in range(start // SECTOR, -(-end // SECTOR)):
            first = sector * SECTOR
            known = self._sectors.get(sector)
            if known is None:
                known = self._sectors[sector] = [_padded(self._durable[first : first + SECTOR])]
            known.append(_padded(bytes(self.now[first : first + SECTOR])))
        if len(self.now) != self._sizes[-1]:
            self._sizes.append(len(self.now))

    def after_loss(self, luck: Luck) -> bytes:
        size = self._sizes[luck.version(len(self._sizes))]
        content = bytearray(self._durable[:size])
        content.extend(bytes(size - len(content)))
        for sector, versions in self._sectors.items():
            first = sector * SECTOR
            if first < size:
                chosen = versions[luck.version(len(versions))]
                content[first : first + SECTOR] = chosen[: size - first]
        return bytes(content)


def _padded(sector: bytes) -> bytes:
    return sector.ljust(SECTOR, b"\0")


Changes = dict[str, "Folder | File | None"]


class Folder:
    """A folder: its durable names, and pending changes of them."""

    def __init__(self) -> None:
        self.now: dict[str, Folder | File] = {}
        self.flush()

    def flush(self) -> None:
        self._durable = dict(self.now)
        self._changes: list[Changes] = []

    @property
    def pending(self) -> int:
        return len(self._changes)

    def change(self, **names: Folder | File | None) -> None:
        self._apply(self.now, names)
        self._changes.append(names)

    def after_loss(self, luck: Luck) -> dict[str, Folder | File]:
        names = dict(self._durable)
        for change in self._changes:
            if luck.spares():
                self._apply(names, change)
        return names

    @staticmethod
    def _apply(names: dict[str, Folder | File], change: Changes) -> None:
        for name, node in change.items():
            if node is None:
                names.pop(name, None)
            else:
                names[name] = node


class Disk:
    """A folder tree, to which the events of a run are applied."""

    def __init__(self, path: str) -> None:
        self._nodes: dict[int, Folder | File] = {}
        self.root = self._read(path)

    def _read(self, path: str) -> Folder:
        folder = Folder()
        self._nodes[os.stat(path).st_ino] = folder
        for entry in os.scandir(path):
            if entry.is_dir():
                folder.now[entry.name] = self._read(entry.path)
            else:
                inode = entry.inode()
                if inode not in self._nodes:
                    self._nodes[inode] = File(Path(entry.path).read_bytes())
                folder.now[entry.name] = self._nodes[inode]
        folder.flush()
        return folder

    def meet(self, event: Event) -> None:
        kind, a, b, first, second = event
        node = self._nodes.get(a)
        if isinstance(node, File):
            match kind:
                case "W":
                    node.write(b, first)
                case "T":
                    node.resize(b)
                case "P":
                    node.become(first)
                case "F":
                    node.flush()
        elif node is not None:
            self._meet_in_folder(node, kind, b, first.decode(), second)

    def _meet_in_folder(self, folder: Folder, kind: str, b: int, old: str, name: str) -> None:
        match kind:
            case "C" | "M":
                self._nodes[b] = File() if kind == "C" else Folder()
                folder.change(**{name: self._nodes[b]})
            case "L":
                folder.change(**{name: self._nodes[b]})
            case "U":
                folder.change(**{name: None})
            case "R":
                folder.change(**{old: None, name: self._nodes[b]})
            case "F":
                folder.flush()

    def pending(self) -> int:
        return sum(node.pending for node in set(self._nodes.values()))

    def after_loss(self, dice: random.Random) -> Files:
        luck, found = Luck(dice, self.pending()), {}
        contents: dict[File, bytes] = {}

        def look(folder: Folder, path: str) -> None:
            for name, node in folder.after_loss(luck).items():
                if isinstance(node, Folder):
                    found[f"{path}{name}/"] = b""
                    look(node, f"{path}{name}/")
                else:
                    if node not in contents:
                        contents[node] = node.after_loss(luck)
                    found[path + name] = contents[node]

        look(self.root, "")
        return found


class Losses:
    """A recorded kind of change, and power losses during it.

    Parameters
    ----------
    name : str
    folder : Path
        An empty working folder.
    record : callable
        Runs `power_loss_kinds` with the recording library, in a folder.
    """

    def __init__(self, name: str, folder: Path, record: Callable[..., None]) -> None:
        self._kind, self._work = KINDS[name], folder / "work"
        self._lost = folder / "lost"
        self._work.mkdir()
        store = self._work / PATH
        if self._kind.build.__name__ != "nothing":
            store.parent.mkdir(parents=True)
            self._kind.build(str(store))
        self._disk = Disk(str(self._work))
        events, states = str(folder / "events"), str(folder / "states")
        record(name, events, states, cwd=self._work)
        self.events = list(events_in(events))
        with open(states, "rb") as file:
            self.states: list[State | None] = pickle.load(file)
        self._seen: dict[tuple[int, int], str] = {}
        self.distinct = 0

    def run(self, count: int, seed: int) -> Iterator[tuple[int, str]]:
        """Lose power `count` times; yield the event and the description of each flaw."""
        dice = random.Random(seed)
        notes = [at for at, event in enumerate(self.events, 1) if event.kind == "N"]
        first = 0 if self._kind.at_once else notes[0]
        times = Counter(dice.randint(first, len(self.events)) for _ in range(count))
        for at in range(len(self.events) + 1):
            for _ in range(times[at]):
                returned = bisect_right(notes, at)
                flaw = self._flaw(self._disk.after_loss(dice), returned)
                if flaw:
                    yield at, flaw
            if at < len(self.events):
                self._disk.meet(self.events[at])

    def _flaw(self, files: Files, returned: int) -> str:
        key = (hash(frozenset((n, c) for n, c in files.items())), returned)
        if key not in self._seen:
            self.distinct += 1
            self._write(files)
            try:
                self._seen[key] = self._look(self.states[returned : returned + 2])
            except Exception as error:
                self._seen[key] = f"{type(error).__name__}: {error}"
        return self._seen[key]

    def _write(self, files: Files) -> None:
        shutil.rmtree(self._lost, ignore_errors=True)
        self._lost.mkdir()
        for name, content in sorted(files.items()):
            if name.endswith("/"):
                (self._lost / name).mkdir(exist_ok=True)
            else:
                (self._lost / name).write_bytes(content)

    def _look(self, allowed: list[State | None]) -> str:
        path = str(self._lost / PATH)
        found = _found(path)
        if not any(self._is_like(found, state, allowed) for state in allowed):
            return f"found {_summary(found)}, not {' or '.join(map(_summary, allowed))}"
        with NumPack(path, upgrade=True) as store:
            if found is not None and state_of(store) != found:
                return "a writer sees something else"
            store.save({"next": np.arange(3)})
            report = store.verify()
        return "" if report.ok else str(report)

    def _is_like(
        self, found: State | None, state: State | None, allowed: list[State | None]
    ) -> bool:
        name = self._kind.mixed
        if not name or found is None or state is None:
            return found == state
        rest = [{n: a for n, a in each.items() if n != name} for each in (found, state)]
        mixable = np.array([_values(each, name) for each in allowed if each])
        return rest[0] == rest[1] and bool((mixable == _values(found, name)).any(axis=0).all())


def _values(state: State, name: str) -> np.ndarray:
    dtype, _, content, _ = state[name]
    return np.frombuffer(content, dtype)


def _found(path: str) -> State | None:
    try:
        with NumPack(path, mode="r") as store:
            report = store.verify()
            if not report.ok:
                raise AssertionError(str(report))
            return state_of(store)
    except NotAStoreError:
        return None


def _summary(state: State | None) -> str:
    if state is None:
        return "no store"
    return str({name: (shape, hash(content)) for name, (_, shape, content, _) in state.items()})
