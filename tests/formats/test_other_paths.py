"""Paths of stores at which there is something else: errors with fixes, and nothing changes."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.each import assert_each

from numpack import NumPack, convert
from numpack.errors import CorruptStoreError, NotAStoreError, StoreNotFoundError

PATH = Path("x.npk")
ARRAYS = {"x": np.arange(3)}


def folder_of(**files: str) -> None:
    """Make a folder of files; ``__`` in a name is a slash."""
    for name, text in files.items():
        path = PATH / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def npz() -> None:
    """Write an .npz file of another name."""
    with PATH.open("wb") as file:
        np.savez(file, **ARRAYS)


MAKE: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "a file": npz,
    "an empty file": PATH.touch,
    "a fifo": lambda: os.mkfifo(PATH),
    "a link to nothing": lambda: PATH.symlink_to("none"),
    "an empty folder": PATH.mkdir,
    "a folder": lambda: folder_of(notes="mine"),
    "data": lambda: folder_of(data__x="mine"),
    "a creation that was interrupted": lambda: folder_of(lock=""),
}


def found() -> dict[str, bytes | int]:
    """Return what is in the current folder, whatever it is."""
    return {
        str(path): path.read_bytes() if path.is_file() else path.lstat().st_mode
        for path in sorted(Path().rglob("*"))
    }


def check_refused(
    case: str,
    kind: type[Exception],
    message: str,
    places: tuple[object, object] = (PATH, "o.npk"),
    **options: object,
) -> None:
    """Check the error of a conversion from the path, or to it."""
    if PATH.is_dir():
        shutil.rmtree(PATH)
    else:
        PATH.unlink(missing_ok=True)
    MAKE[case]()
    before = found()
    with pytest.raises(kind) as raised:
        convert(*places, **options)
    assert type(raised.value) is kind
    shown = PATH if places[0] is PATH else PATH.absolute()
    assert str(raised.value) == message.replace("PATH", str(shown)), case
    assert found() == before, case


def test_sources():
    not_a_folder = "PATH is a device, a FIFO or a socket, and a numpack store is a folder"
    not_a_store = (
        "the folder PATH is not a numpack store: it has no numpack.json; pass the folder of a "
        "store"
    )
    a_file = (
        "PATH is a file, and a numpack store is a folder; rename it to the suffix of its "
        "format, or read it with format=('npz', None)"
    )
    absent = "there is no store at PATH; pass the path of one"
    messages = [
        ("nothing", StoreNotFoundError, absent),
        ("a link to nothing", StoreNotFoundError, absent),
        ("a file", NotAStoreError, a_file),
        ("an empty file", NotAStoreError, a_file),
        ("a fifo", NotAStoreError, f"{not_a_folder}; pass the folder of a store"),
        ("an empty folder", NotAStoreError, not_a_store),
        ("a folder", NotAStoreError, not_a_store),
        ("data", NotAStoreError, not_a_store),
    ]
    assert_each(messages, check_refused)


def test_the_fixes_of_sources():
    npz()
    convert(PATH, "o.npk", format=("npz", None))
    PATH.rename("x.npz")
    convert("x.npz", "p.npk")
    convert("p.npk", "q.npz")
    for path in ("o.npk", "p.npk"):
        with NumPack(path, mode="r") as npk:
            assert npk["x"].tolist() == [0, 1, 2]
    assert np.load("q.npz")["x"].tolist() == [0, 1, 2]


TARGETS = [
    ("a file", NotAStoreError, "PATH is a file, and a store is a folder; choose another path"),
    (
        "a fifo",
        NotAStoreError,
        "PATH is a device, a FIFO or a socket, and a store is a folder; choose another path",
    ),
    (
        "a folder",
        NotAStoreError,
        "PATH is neither a numpack store nor empty; choose another path",
    ),
    (
        "data",
        CorruptStoreError,
        "the store PATH is damaged: numpack.json is missing; restore it from a backup",
    ),
]


def test_targets():
    interrupted = "PATH was being created as a store, and has no numpack.json; remove it"
    places = ARRAYS, PATH
    assert_each(
        [*TARGETS, ("a creation that was interrupted", NotAStoreError, interrupted)],
        functools.partial(check_refused, places=places),
    )
    shutil.rmtree(PATH)  # the fix
    convert(*places)
    with NumPack(PATH, mode="r") as npk:
        assert npk["x"].tolist() == [0, 1, 2]


def test_targets_that_rows_are_appended_to():
    absent = "there is no store at PATH; leave out append=True to make one"
    places = ARRAYS, PATH
    cases = [
        *TARGETS,
        *((case, StoreNotFoundError, absent) for case in ("nothing", "an empty folder")),
    ]
    assert_each(cases, functools.partial(check_refused, places=places, append=True))
    convert(*places)  # the fix
    convert(*places, append=True)
    with NumPack(PATH, mode="r") as npk:
        assert npk["x"].tolist() == [0, 1, 2, 0, 1, 2]
