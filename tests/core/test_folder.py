"""The store's folder: creating, recognising and cleaning it; foreign files are kept."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from numpack import (
    CorruptStoreError,
    NewerFormatError,
    NotAStoreError,
    NumPack,
    StoreError,
)
from numpack.store.format import folder

FOLDER = Path("s.npk")
HEADER = FOLDER / "numpack.json"
LOG = FOLDER / "commits.log"
DATA = FOLDER / "data"
ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def store():
    with NumPack(FOLDER) as opened:
        yield opened


@pytest.fixture
def saved():
    """Create and close a store of two arrays."""
    with NumPack(FOLDER) as store:
        store.save({"x": ROWS, "y": -ROWS})


def contents(path: Path = FOLDER) -> dict[str, bytes | None]:
    """Return all files and folders below a path."""
    found = [path, *path.rglob("*")] if path.is_dir() else [path]
    return {str(each): each.read_bytes() if each.is_file() else None for each in found}


def usable() -> bool:
    """Return whether the store accepts an array and reads it back."""
    with NumPack(FOLDER) as store:
        store.save({"probe": ROWS})
    with NumPack(FOLDER) as store:
        return np.array_equal(store.load("probe"), ROWS)


def files_of(store: NumPack) -> dict[str, Path]:
    arrays = store.get_metadata()["arrays"]
    return {name: FOLDER / each["data_file"] for name, each in arrays.items()}


# Creating a store


def test_new_store_has_header_log_lock_and_empty_data_folder(store):
    assert contents().keys() == {
        "s.npk",
        "s.npk/numpack.json",
        "s.npk/commits.log",
        "s.npk/lock",
        "s.npk/data",
    }
    assert json.loads(HEADER.read_text()) == {"format": "numpack", "version": 1}


def test_header_is_written_once(store):
    before = HEADER.stat()
    store.save({"x": ROWS})
    with NumPack(FOLDER, drop_if_exists=True) as other:
        other.save({"x": ROWS})
    assert HEADER.stat().st_ino == before.st_ino
    assert HEADER.stat().st_mtime_ns == before.st_mtime_ns


def test_empty_folder_becomes_a_store():
    FOLDER.mkdir()
    assert usable()


def test_symlink_to_a_store_is_followed(saved):
    os.symlink("s.npk", "link.npk")
    with NumPack("link.npk") as linked, NumPack(FOLDER) as store:
        linked.append({"x": ROWS})
        assert store.get_shape("x") == (6, 2)


def _make_folder(*names: str) -> None:
    FOLDER.mkdir()
    for name in names:
        (FOLDER / name).mkdir() if name == "data" else (FOLDER / name).write_bytes(b"")


UNFINISHED = {
    "folder": lambda: _make_folder(),
    "lock": lambda: _make_folder("lock"),
    "data": lambda: _make_folder("lock", "data"),
    "log begun": lambda: _make_folder("lock", "data", "commits.log.new"),
    "log half written": lambda: (
        _make_folder("lock", "data"),
        Path("s.npk/commits.log.new").write_bytes(b'{"store":"01'),
    ),
    "log": lambda: (NumPack(FOLDER).open(), HEADER.unlink()),
    "header begun": lambda: (
        NumPack(FOLDER).open(),
        HEADER.unlink(),
        Path("s.npk/numpack.json.new").write_bytes(b""),
    ),
    "header written": lambda: (
        NumPack(FOLDER).open(),
        HEADER.rename("s.npk/numpack.json.new"),
    ),
}


@pytest.mark.parametrize("step", UNFINISHED)
@pytest.mark.parametrize("drop_if_exists", [False, True])
def test_interrupted_creation_is_completed(step, drop_if_exists):
    UNFINISHED[step]()
    with NumPack(FOLDER, drop_if_exists=drop_if_exists) as store:
        assert store.get_member_list() == []
    assert usable()
    assert not Path("s.npk/commits.log.new").exists()
    assert not Path("s.npk/numpack.json.new").exists()


def test_threads_create_the_same_store_concurrently():
    for number in range(40):
        path = Path(f"{number}.npk")
        start, failures = threading.Barrier(8), []

        def create(name: str, path=path, start=start, failures=failures):
            start.wait()
            try:
                with NumPack(path) as store:
                    store.save({name: ROWS})
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=create, args=(name,)) for name in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        with NumPack(path) as store:
            assert sorted(store.get_member_list()) == list("abcdefgh")


@pytest.mark.parametrize("filled", [False, True])
def test_store_created_meanwhile_is_opened(monkeypatch, filled):
    check = folder._check_creatable
    calls = []

    def slow(path):
        if not calls:  # between the check of the header and that of the folder
            calls.append(path)
            with NumPack(path) as faster:
                if filled:
                    faster.save({"x": ROWS})
        return check(path)

    monkeypatch.setattr(folder, "_check_creatable", slow)
    with NumPack(FOLDER) as store:
        assert store.get_member_list() == (["x"] if filled else [])
    assert calls


# Paths that are not a store


def _make_foreign(**files: str) -> None:
    for name, text in files.items():
        path = FOLDER / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


FOREIGN = {
    "a file": (lambda: FOLDER.write_text("mine"), NotAStoreError, "is a file"),
    "an empty file": (lambda: FOLDER.write_text(""), NotAStoreError, "is a file"),
    "a folder with a file": (
        lambda: _make_foreign(notes="mine"),
        NotAStoreError,
        "neither a numpack store nor empty",
    ),
    "a folder with a folder": (
        lambda: _make_foreign(sub__notes="mine"),
        NotAStoreError,
        "neither a numpack store nor empty",
    ),
    "a store's files and others": (
        lambda: _make_foreign(lock="", data__x="1", notes="mine"),
        NotAStoreError,
        "neither a numpack store nor empty",
    ),
    "a hidden file": (lambda: _make_foreign(**{".git": "mine"}), NotAStoreError, "nor empty"),
    "a damaged folder of NumPack 0.x": (
        lambda: _make_foreign(**{"metadata.npkm": "NPKB"}),
        CorruptStoreError,
        "NumPack 0",
    ),
    "another format": (
        lambda: _make_foreign(**{"numpack.json": '{"format": "zarr", "version": 1}'}),
        NotAStoreError,
        "'zarr'",
    ),
    "data that is a file": (lambda: _make_foreign(data="mine"), StoreError, "s.npk"),
    "someone's data": (lambda: _make_foreign(data__table="mine"), StoreError, "s.npk"),
    "a newer format": (
        lambda: _make_foreign(**{"numpack.json": '{"format": "numpack", "version": 2}'}),
        NewerFormatError,
        "version 2.*upgrade",
    ),
}


@pytest.mark.parametrize("drop_if_exists", [False, True])
@pytest.mark.parametrize("case", FOREIGN)
def test_path_that_is_not_a_store_is_refused_and_unchanged(case, drop_if_exists):
    make, error, phrase = FOREIGN[case]
    make()
    before = contents()
    with pytest.raises(error, match=phrase) as raised:
        NumPack(FOLDER, drop_if_exists=drop_if_exists).open()
    assert isinstance(raised.value, OSError)
    assert contents() == before


@pytest.mark.parametrize("drop_if_exists", [False, True])
def test_path_below_a_file_is_refused(drop_if_exists):
    FOLDER.write_text("mine")
    with pytest.raises(NotAStoreError, match=r"s\.npk"):
        NumPack(FOLDER / "deeper", drop_if_exists=drop_if_exists).open()
    assert FOLDER.read_text() == "mine"


def test_dangling_symlink_is_refused():
    os.symlink("nowhere", FOLDER)
    with pytest.raises(NotAStoreError, match=r"s\.npk"):
        NumPack(FOLDER).open()
    assert not Path("nowhere").exists()


# Damaged headers

HEADERS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"5",
    b'"numpack"',
    b"{}",
    b'{"format": "numpack"}',
    b'{"version": 1}',
    b'{"format": "numpack", "version": null}',
    b'{"format": "numpack", "version": "new"}',
    b'{"format": "numpack", "version": [1]}',
    b'{"format": "numpack", "version": 1e999}',
    b'{"format": "numpack", "version": NaN}',
    b'{"format": "numpack", "version": 0}',
    b'{"format": "numpack", "version": -1}',
    b'{"format": "numpack", "version": 1}trailing',
    b"\xff\xfe\x00",
    bytes(40),
    b"[" * 100_000,
]


@pytest.mark.parametrize("drop_if_exists", [False, True])
@pytest.mark.parametrize("header", HEADERS, ids=lambda header: repr(header[:45]))
def test_damaged_header_is_reported_and_nothing_is_lost(saved, header, drop_if_exists):
    whole = HEADER.read_bytes()
    HEADER.write_bytes(header)
    before = contents()
    with pytest.raises(CorruptStoreError, match=r"numpack\.json is damaged") as raised:
        NumPack(FOLDER, drop_if_exists=drop_if_exists).open()
    assert '{"format": "numpack", "version": 1}' in str(raised.value)
    assert contents() == before
    HEADER.write_bytes(whole)
    with NumPack(FOLDER) as store:
        assert np.array_equal(store.load("x"), ROWS)


def test_header_from_the_error_message_repairs_the_store(saved):
    HEADER.write_bytes(b"\0" * 30)
    with pytest.raises(CorruptStoreError) as raised:
        NumPack(FOLDER).open()
    text = str(raised.value)
    HEADER.write_text(text[text.index("{") : text.index("}") + 1])
    with NumPack(FOLDER) as store:
        assert np.array_equal(store.load("x"), ROWS)


@pytest.mark.parametrize("version", [2, 3.0, 10**30])
def test_newer_format_is_not_reported_as_damage(saved, version):
    HEADER.write_text(json.dumps({"format": "numpack", "version": version, "more": []}))
    before = contents()
    with pytest.raises(NewerFormatError, match="upgrade numpack"):
        NumPack(FOLDER, drop_if_exists=True).open()
    assert contents() == before


def test_unknown_header_keys_are_ignored(saved):
    HEADER.write_text('{"made by": "hand", "version": 1, "format": "numpack"}')
    with NumPack(FOLDER) as store:
        assert np.array_equal(store.load("x"), ROWS)


# Missing files


@pytest.mark.parametrize("drop_if_exists", [False, True])
@pytest.mark.parametrize("also", [[], ["commits.log"], ["data"], ["lock"]])
def test_store_without_header_is_damage(saved, also, drop_if_exists):
    HEADER.unlink()
    for name in also:
        path = FOLDER / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = contents()
    with pytest.raises(CorruptStoreError, match="missing"):
        NumPack(FOLDER, drop_if_exists=drop_if_exists).open()
    assert contents() == before


def test_missing_lock_file_is_created(saved):
    (FOLDER / "lock").unlink()
    assert usable()


def test_missing_data_folder_of_an_empty_store_is_created():
    with NumPack(FOLDER):
        DATA.rmdir()  # as tools do that do not copy empty folders
    assert usable()


def test_drop_if_exists_with_missing_data_folder(saved):
    shutil.rmtree(DATA)
    with NumPack(FOLDER, drop_if_exists=True) as store:
        assert store.get_member_list() == []
    assert usable()


def test_missing_data_folder_is_damage_of_each_array(saved):
    shutil.rmtree(DATA)
    with NumPack(FOLDER) as store:
        assert store.get_member_list() == ["x", "y"]
        with pytest.raises(CorruptStoreError, match="'x' is missing"):
            store.load("x")


READS = {
    "load": lambda s: s.load("x"),
    "lazy load": lambda s: s.load("x", lazy=True),
    "getitem": lambda s: s.getitem("x", 0),
    "stream_load": lambda s: s.stream_load("x"),
    "append": lambda s: s.append({"y": ROWS, "x": ROWS}),
}


@pytest.mark.parametrize("call", READS)
def test_missing_data_file_is_damage(store, call):
    store.save({"x": ROWS, "y": -ROWS})
    files_of(store)["x"].unlink()
    with pytest.raises(CorruptStoreError, match=r"data/\d{8}-[0-9a-f]{8}\.bin.* is missing"):
        READS[call](store)
    assert np.array_equal(store.load("y"), -ROWS)
    assert not files_of(store)["x"].exists()


@pytest.mark.parametrize("size", [0, 1, 47])
@pytest.mark.parametrize("call", READS)
def test_truncated_data_file_is_damage(store, call, size):
    store.save({"x": ROWS, "y": -ROWS})
    os.truncate(files_of(store)["x"], size)
    log = LOG.read_bytes()
    with pytest.raises(CorruptStoreError, match=f"should have 48 bytes and has {size}"):
        READS[call](store)
    assert LOG.read_bytes() == log
    assert files_of(store)["x"].stat().st_size == size
    assert np.array_equal(store.load("y"), -ROWS)


def test_bytes_after_the_rows_are_ignored(store):
    store.save({"x": ROWS})
    with files_of(store)["x"].open("ab") as file:
        file.write(b"left by a writer that died" * 100)
    with NumPack(FOLDER) as other:
        assert np.array_equal(other.load("x"), ROWS)
        assert np.array_equal(other.load("x", lazy=True), ROWS)
        other.append({"x": -ROWS})
    assert np.array_equal(store.load("x"), np.concatenate([ROWS, -ROWS]))


def test_damaged_array_can_be_saved_again_or_dropped(store):
    store.save({"x": ROWS, "y": ROWS})
    for file in files_of(store).values():
        file.unlink()
    store.save({"x": ROWS})
    store.drop("y")
    assert np.array_equal(store.load("x"), ROWS)


# drop_if_exists


def test_drop_if_exists_removes_only_data_files(saved):
    (FOLDER / "notes.txt").write_text("mine")
    (DATA / "notes.txt").write_text("mine too")
    (DATA / "00000001.bin").write_text("no name of ours")
    with NumPack(FOLDER, drop_if_exists=True) as store:
        assert store.get_member_list() == []
    assert sorted(path.name for path in DATA.iterdir()) == ["00000001.bin", "notes.txt"]
    assert (FOLDER / "notes.txt").read_text() == "mine"
    assert (DATA / "notes.txt").read_text() == "mine too"


def test_drop_if_exists_creates_a_missing_store():
    with NumPack(FOLDER, drop_if_exists=True) as store:
        assert store.get_member_list() == []
    assert usable()


def test_drop_if_exists_does_nothing_before_open(saved):
    before = contents()
    NumPack(FOLDER, drop_if_exists=True)
    assert contents() == before


def test_drop_if_exists_discards_a_damaged_log(saved):
    LOG.write_bytes(b"damage\n")
    with NumPack(FOLDER, drop_if_exists=True) as store:
        assert store.get_member_list() == []
    assert usable()


# Removing orphans


def test_first_write_of_a_handle_removes_orphans(saved):
    with NumPack(FOLDER) as store:
        live = set(files_of(store).values())
        token = json.loads(LOG.read_bytes().splitlines()[1])["store"]
        orphan = DATA / f"00000099-{token}.bin"
        orphan.write_bytes(b"orphan")
        another = f"00000099-{int(token, 16) ^ 1:08x}.bin"  # as of another store
        names = ("notes.txt", "1-2.bin", f"00000001-{token}.bin.bak", another)
        others = {DATA / name for name in names}
        for other in others:
            other.write_text("mine")
        assert np.array_equal(store.load("x"), ROWS)
        assert orphan.exists(), "reading removes nothing"
        store.append({"x": ROWS})
        assert set(DATA.iterdir()) == live | others
        assert np.array_equal(store.load("y"), -ROWS)


def test_removing_orphans_keeps_arrays_just_saved_by_another_handle(saved):
    with NumPack(FOLDER) as idle, NumPack(FOLDER) as busy:
        assert idle.get_member_list() == ["x", "y"]
        busy.save({"z": ROWS})
        idle.append({"x": ROWS})
        assert np.array_equal(busy.load("z"), ROWS)
        assert np.array_equal(idle.load("z"), ROWS)


@pytest.mark.parametrize(
    "call", [lambda s: s.save({}), lambda s: s.drop("absent"), lambda s: s.append({"x": ROWS})]
)
def test_orphans_are_kept_while_the_log_is_damaged(saved, call):
    with NumPack(FOLDER) as store:
        before = contents(DATA)
        whole = LOG.read_bytes()
        LOG.write_bytes(whole + b"damage\n")
        with pytest.raises(CorruptStoreError, match="damaged"):
            call(store)
        assert contents(DATA) == before


# Moving and copying stores


def test_store_can_be_moved_and_copied(saved):
    shutil.copytree(FOLDER, "copy.npk")
    FOLDER.rename("moved.npk")
    for path in ("copy.npk", "moved.npk"):
        with NumPack(path) as store:
            store.append({"x": ROWS})
            assert np.array_equal(store.load("x"), np.concatenate([ROWS, ROWS]))
    assert not FOLDER.exists()


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.save({"x": -ROWS, "z": ROWS}),
        lambda s: s.append({"x": ROWS}),
        lambda s: s.drop("y"),
        lambda s: s.drop("y", [0]),
        lambda s: s.replace({"x": ROWS[:1]}, [-1]),
    ],
    ids=["save", "append", "drop", "drop rows", "replace"],
)
def test_handle_follows_its_store_when_it_is_moved(saved, call, replaced):
    def read_all(path):
        with NumPack(path) as store:
            assert store.verify().ok
            return {name: store.load(name).tolist() for name in store}

    shutil.copytree(FOLDER, "expected.npk")
    with NumPack("expected.npk") as store:
        call(store)
    with NumPack(FOLDER) as store:
        FOLDER.rename("moved.npk")
        if replaced:
            with NumPack(FOLDER) as other:
                other.save({"x": ROWS[:1], "y": ROWS})
        call(store)
        assert {name: store.load(name).tolist() for name in store} == read_all("expected.npk")
    assert read_all("moved.npk") == read_all("expected.npk")
    if replaced:
        assert read_all(FOLDER) == {"x": ROWS[:1].tolist(), "y": ROWS.tolist()}
