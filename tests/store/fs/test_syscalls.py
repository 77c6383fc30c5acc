"""System calls that fail, and a file that has changed."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from pathlib import Path

import pytest
from support.files import raises
from support.store import hostile
from support.store.hostile import ID, entry, snapshot

from numpack import CorruptStoreError, NumPack, StoreError
from numpack.errors import StorePermissionError
from numpack.store.fs.syscalls import has_changed, hold, is_held


def test_has_changed(open_temporary):
    file = open_temporary(b"12345")
    assert has_changed(file, 5) is False
    assert has_changed(file, 4) is True
    assert has_changed(file, -1) is True
    os.link("data.bin", "other.bin")
    assert has_changed(file, 5) is True
    os.unlink("other.bin")
    assert has_changed(file, 5) is False
    os.unlink("data.bin")
    assert has_changed(file, 5) is True
    with raises(errno.EBADF):
        has_changed(-1, 5)


DATA = f"data/{ID}.bin"
STORE = Path("s.npk")


def write(*lines, **files: bytes) -> None:
    hostile.write(STORE, *lines, files=files.get("files"))


def open_store(mode: str) -> NumPack:
    store = NumPack(STORE, mode=mode)
    store.open()
    return store


@pytest.mark.parametrize("number", [13, 1, 24, 23, 5])
def test_error_of_a_system_call_is_not_reported_as_damage(monkeypatch, number):
    write(snapshot({"x": entry()}), files={DATA: bytes(16)})
    store = open_store("r")
    path = os.path.abspath(STORE)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    calls = [lambda: store.load("x"), store.verify]
    monkeypatch.setattr("numpack.store.fs.directory.open_at", refuse)
    monkeypatch.setattr("numpack.store.fs.directory.OpenFile", refuse)
    monkeypatch.setattr("numpack.store.format.log.reader.open_ordinary", lambda *_: None)
    monkeypatch.setattr("numpack.store.format.log.reader.open_head_and_tail", refuse)
    calls.append(lambda: NumPack(STORE, mode="r").open())
    if number == errno.EIO:  # `verify` reports the array and continues with the next
        calls.remove(store.verify)
        assert re.search(f"{path}.*{os.strerror(number)}", str(store.verify()))
    for call in calls:
        with pytest.raises(StoreError) as raised:
            call()
        assert raised.value.errno == number
        assert not isinstance(raised.value, CorruptStoreError)
        assert "damage" not in str(raised.value)
        assert path in str(raised.value)
        assert isinstance(raised.value, PermissionError) == (number in (13, 1))
    assert issubclass(StorePermissionError, PermissionError)


def test_hold_lasts_until_all_copies_of_the_descriptor_are_closed(open_temporary):
    writer = open_temporary(b"abc")
    assert not is_held(writer)
    reader = os.open("data.bin", os.O_RDONLY)
    assert hold(reader)
    other = os.dup(reader)
    assert not is_held(reader), "it does not exclude itself"
    assert is_held(writer)
    fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the two do not collide
    os.close(os.open("data.bin", os.O_RDONLY))  # which would end a lock of the process
    os.close(reader)
    assert is_held(writer)
    os.close(other)
    assert not is_held(writer)


def test_hold_needs_a_system_with_such_locks(open_temporary):
    descriptor = open_temporary(flags=os.O_WRONLY)  # for a shared lock it has to be readable
    assert not hold(descriptor)
    os.close(os.dup(descriptor))
    assert not is_held(descriptor)
    assert not hold(-1)
    assert not is_held(-1)
