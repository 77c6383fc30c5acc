"""Staged files: when they are removed, and what a damaged or foreign one causes."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each

from numpack import CorruptStoreError, MovedError, NumPack, StoreError
from numpack.errors import IncompleteWriteError, WriteEndedError

BLOCK = 1 << 20
DATA = Path("s.npk/data")
ROWS = np.arange(400_000.0)  # three blocks and a part


def staged(folder: Path = DATA) -> list[str]:
    return sorted(path.name for path in folder.glob("staged-*"))


def begun(store: NumPack, rows: int = len(ROWS)):
    plan = store.begin("x", rows, "f8")
    plan[:] = ROWS[:rows]
    return plan


def path_of(plan, extension: str) -> Path:
    return DATA / f"{plan._location.stem}.{extension}"


def next_writer() -> None:
    with NumPack("s.npk") as store:
        store.save({"probe": np.arange(3)})


def token() -> str:
    return json.loads(Path("s.npk/commits.log").read_bytes().splitlines()[1])["store"]


# Removal


def test_files_are_kept_while_any_copy_is_open(store):
    plan = begun(store)
    copy = pickle.loads(pickle.dumps(plan))
    copy[0] = np.float64(0)
    del plan
    next_writer()
    assert len(staged()) == 3
    copy.commit()
    assert np.array_equal(store.load("x", verify=True), ROWS)


def test_files_that_no_process_has_open_are_removed_by_the_next_writer(store):
    plan = begun(store)
    files = set(staged())
    del plan
    store.begin("y", 3, "f8")
    assert len(staged()) == 3
    assert not files & set(staged()), "the next parallel write removes them too"
    plan = begun(store)
    pickled = pickle.dumps(plan)
    del plan
    assert len(staged()) == 3
    next_writer()
    assert not staged()
    with pytest.raises(WriteEndedError):
        pickle.loads(pickled).commit()


def test_reading_removes_nothing(store):
    plan = begun(store)
    del plan
    with NumPack("s.npk", mode="r") as reader:
        assert list(reader) == []
        assert reader.verify().ok
    assert len(staged()) == 3


@pytest.mark.parametrize("present", ["bin", "sum", "rows", "bin sum", "sum rows", "bin rows"])
def test_some_of_the_files_are_removed_as_well(store, present):
    store.save({"z": np.arange(3)})
    for extension in present.split():
        Path(DATA, f"staged-0123456789abcdef-{token()}.{extension}").write_bytes(b"x")
    next_writer()
    assert not staged()


def test_files_of_another_form_or_token_are_left_alone(store):
    store.save({"z": np.arange(3)})
    other = f"{int(token(), 16) ^ 1:08x}"
    names = [f"staged-0123456789abcdef-{other}.bin", f"staged-0123456789ABCDEF-{token()}.bin"]
    names += [f"staged-0123456789abcdef-{token()}.del", f"staged-0123-{token()}.bin"]
    names += [f"staged-0123456789abcdef-{token()}.bin.bak", "staged-"]
    for name in names:
        Path(DATA, name).write_bytes(b"mine")
    next_writer()
    assert staged() == sorted(names)


def test_what_is_not_a_regular_file_is_left_alone(store):
    store.save({"z": np.arange(3)})
    victim = Path("victim")
    victim.write_bytes(b"mine")
    stem = f"staged-0123456789abcdef-{token()}"
    makers = {
        "link": lambda path: path.symlink_to(victim.absolute()),
        "fifo": os.mkfifo,
        "folder": os.mkdir,
    }
    for make in makers.values():
        for extension in ("bin", "sum", "rows"):
            path = Path(DATA, f"{stem}.{extension}")
            make(path)
            next_writer()
            with NumPack("s.npk", mode="w"):
                pass
            store.save({"z": np.arange(3)})
            assert os.path.lexists(path)
            assert victim.read_bytes() == b"mine"
            path.rmdir() if path.is_dir() else path.unlink()
            stem = f"staged-0123456789abcdef-{token()}"


def test_emptied_store_ends_parallel_writes(store):
    plan = begun(store)
    with NumPack("s.npk", mode="w") as emptied:
        assert not staged()
        with pytest.raises(WriteEndedError):
            plan[0] = np.float64(0)
        with pytest.raises(WriteEndedError):
            plan.commit()
        assert list(emptied) == []


def test_store_that_was_emptied_beside_a_commit_refuses_it(store, monkeypatch):
    plan = begun(store)
    files = plan._opener.open()
    with files.locked(exclusive=True), NumPack("s.npk", mode="w", lock_timeout=1):
        pass
    with pytest.raises(WriteEndedError):
        plan.commit()
    assert list(store) == []


def test_reset_does_not_end_parallel_writes(store):
    plan = begun(store)
    store.save({"y": ROWS})
    store.reset()
    plan.commit()
    assert list(store) == ["x"]


def test_orphan_of_the_same_id_is_removed_by_the_commit(store):
    store.save({"z": np.arange(3)})
    plan = begun(store)
    orphan = Path(DATA, f"{store._handle.session.log.catalog.new_id()}.bin")
    orphan.write_bytes(b"orphan")
    plan.commit()
    assert np.array_equal(store.load("x", verify=True), ROWS)


def test_nothing_but_an_orphan_is_overwritten_by_the_commit(store):
    store.save({"z": np.arange(3)})
    plan = begun(store)
    new_id = store._handle.session.log.catalog.new_id()
    for extension in ("bin", "sum"):
        obstacle = Path(DATA, f"{new_id}.{extension}")
        obstacle.symlink_to("/dev/null")
        with pytest.raises(CorruptStoreError, match="not a regular file"):
            plan.commit()
        assert obstacle.is_symlink()
        assert len(staged()) == 3
        obstacle.unlink()
    plan[5] = np.float64(5)
    plan.commit()
    assert np.array_equal(store.load("x", verify=True), ROWS)


# Damage


def damaged(store: NumPack, extension: str, change) -> type[BaseException] | None:
    """Commit after a change of one of the files; return the error, and check the store."""
    plan = begun(store)
    path = path_of(plan, extension)
    content = path.read_bytes()
    changed = change(content)
    with open(path, "r+b") as file:
        file.write(changed)
        file.truncate(len(changed))
    try:
        plan.commit()
    except (CorruptStoreError, IncompleteWriteError) as error:
        assert "x" not in store
        plan.abort()
        assert not staged()
        return type(error)
    assert store.load("x").shape == ROWS.shape
    store.drop("x")
    return None


@for_each("extension", ["bin", "sum", "rows"])
def test_truncated_file_is_never_committed(store, extension):
    for length in (0, 1, 7):
        assert damaged(store, extension, lambda content, n=length: content[:n]) is not None


def test_claims_beyond_the_array_are_damage(store):
    from numpack.store.format.staged.records import begun as line

    for rows in ((0, len(ROWS) + 1), (5, 2**62)):
        kind = damaged(store, "rows", lambda content, r=rows: content + line("a" * 16, *r))
        assert kind is CorruptStoreError


def test_records_without_limit_are_damage(store):
    plan = begun(store)
    os.truncate(path_of(plan, "rows"), (1 << 30) + 1)
    with pytest.raises(CorruptStoreError, match="more than 1,073,741,824 bytes"):
        plan.commit()
    plan.abort()


def test_mutated_records_commit_the_rows_or_nothing(store):
    dice = random.Random(8)

    def mutated(content: bytes) -> bytes:
        changed = bytearray(content)
        for _ in range(dice.choice([1, 2])):
            at = dice.randrange(len(changed))
            match dice.randrange(3):
                case 0:
                    changed[at] = dice.randrange(256)
                case 1:
                    del changed[at : at + dice.randrange(1, 30)]
                case _:
                    changed[at:at] = dice.randbytes(3)
        return bytes(changed)

    kinds = [damaged(store, "rows", mutated) for _ in range(60)]
    assert len(set(kinds)) >= 2


def test_wrong_checksum_is_found_by_verify(store):
    for extension in ("sum", "bin"):
        assert damaged_block(store, extension)


def damaged_block(store: NumPack, extension: str) -> bool:
    plan = begun(store)
    with open(path_of(plan, extension), "r+b") as file:
        file.seek(5)
        byte = file.read(1)[0]
        file.seek(5)
        file.write(bytes([byte ^ 1]))
    plan.commit()
    found = not store.verify().ok
    store.drop("x")
    return found


# Moved


def reason_of(data: bytes) -> str:
    with pytest.raises(MovedError) as raised:
        pickle.loads(data)[0] = np.float64(0)
    assert "begin" in str(raised.value)
    copied = pickle.loads(pickle.dumps(raised.value))
    assert (type(copied), copied.reason) == (type(raised.value), raised.value.reason)
    return raised.value.reason


def test_moved_error_names_the_reason(store):
    plan = begun(store)
    data = pickle.dumps(plan)
    shutil.copytree("s.npk", "copy.npk")
    os.rename("s.npk", "moved.npk")
    assert reason_of(data) == "missing"
    Path("s.npk").write_text("a file")
    assert reason_of(data) == "missing"
    Path("s.npk").unlink()
    Path("s.npk").mkdir()
    assert reason_of(data) == "missing"
    Path("s.npk").rmdir()
    os.rename("copy.npk", "s.npk")
    assert reason_of(data) == "another copy"
    shutil.rmtree("s.npk")
    with NumPack("s.npk") as other:
        other.save({"x": ROWS})
        assert reason_of(data) == "another store"
        assert np.array_equal(other.load("x"), ROWS)
    shutil.rmtree("s.npk")
    os.rename("moved.npk", "s.npk")
    pickle.loads(data)[0] = np.float64(0)
    plan.commit()
    assert reason_of(data) == "ended"


def test_missing_permission_is_a_reason(store, monkeypatch):
    from numpack.store.batches import parallel_location

    data = pickle.dumps(begun(store))

    def denied(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(parallel_location, "Folder", denied)
    assert reason_of(data) == "permission"


def test_device_numbers_are_compared_within_one_boot(store):
    plan = begun(store)
    location = plan._location
    moved = location._replace(file=(location.file[0] + 1, location.file[1]))
    assert reason_of(pickle.dumps(type(plan)(moved))) == "another copy"
    type(plan)(moved._replace(boot="another"))[0] = np.float64(0)
    wrong = location._replace(file=(location.file[0], location.file[1] + 1), boot="another")
    assert reason_of(pickle.dumps(type(plan)(wrong))) == "another copy"
    plan.commit()


def test_begin_leaves_nothing_where_it_fails(store, monkeypatch):
    store.save({"z": np.arange(3)})

    def fail(descriptor: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "ftruncate", fail)
    with pytest.raises(OSError, match="No space"):
        store.begin("x", 3, "f8")
    assert not staged()


def test_folder_without_locks_is_refused(store, monkeypatch):
    import fcntl

    plan = begun(store)
    pickled = pickle.dumps(plan)

    def fail(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(StoreError, match="does not support flock"):
        pickle.loads(pickled)[0] = np.float64(0)
    monkeypatch.undo()
    plan.commit()
