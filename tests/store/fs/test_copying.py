"""Copies of the first bytes of a file, made in each way."""

from __future__ import annotations

import errno
import fcntl
import os

import numpy as np
import pytest

from numpack.store.fs import copying

CONTENT = np.arange(20_000_000, dtype="u4").tobytes()[: (17 << 20) + 123]


@pytest.fixture
def copy(tmp_path):
    """Copy the first bytes of a file; return the copy and what was reported."""
    (tmp_path / "source").write_bytes(CONTENT)

    def run(nbytes: int, source: str = "source") -> tuple[bytes, list[int]]:
        calls: list[int] = []
        with open(tmp_path / source, "rb") as one, open(tmp_path / "copy", "wb") as other:
            copying.copy_start(one.fileno(), other.fileno(), nbytes, calls.append)
        return (tmp_path / "copy").read_bytes(), calls

    return run


def refuse(number: int):
    def call(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return call


SIZES = (0, 1, 4096, (8 << 20) - 1, 8 << 20, (17 << 20) + 123)


@pytest.mark.parametrize(
    "way", ["any", "kernel", "hand", "no holes", "nothing copied", "parts"]
)
def test_every_way_copies_the_first_bytes(copy, way, monkeypatch):
    if way != "any":
        monkeypatch.setattr(fcntl, "ioctl", refuse(errno.EOPNOTSUPP))
    if way in ("hand", "no holes"):
        monkeypatch.setattr(os, "copy_file_range", refuse(errno.EXDEV))
    if way == "no holes":
        monkeypatch.setattr(os, "lseek", refuse(errno.EINVAL))
    if way == "nothing copied":  # as of a file system in the kernel's memory
        monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    if way == "parts":
        real = os.copy_file_range
        monkeypatch.setattr(
            os, "copy_file_range", lambda s, t, n, *at: real(s, t, min(n, 100_001), *at)
        )
    for nbytes in SIZES:
        found, calls = copy(nbytes)
        assert found == CONTENT[:nbytes]
        assert sum(calls) == nbytes


def test_clone_is_cut_to_the_first_bytes(copy, monkeypatch):
    def cloned(target: int, request: int, source: int) -> None:
        assert request == 0x40049409
        os.write(target, os.pread(source, len(CONTENT), 0))

    monkeypatch.setattr(fcntl, "ioctl", cloned)
    monkeypatch.setattr(os, "copy_file_range", refuse(errno.EIO))
    for nbytes in SIZES[1:]:
        assert copy(nbytes) == (CONTENT[:nbytes], [nbytes])


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["ioctl", "copy_file_range"])
def test_failures_of_the_device_are_not_tried_again(copy, number, call, monkeypatch):
    monkeypatch.setattr(fcntl, "ioctl", refuse(errno.ENOTTY))
    monkeypatch.setattr(fcntl if call == "ioctl" else os, call, refuse(number))
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        copy(100)
    assert raised.value.errno == number


def test_holes_stay_holes(copy, tmp_path):
    size, at = 1 << 30, 512 << 20
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(size)
        os.pwrite(file.fileno(), b"x" * 8192, at)
    with open(tmp_path / "sparse", "rb") as one, open(tmp_path / "copy", "wb") as other:
        calls: list[int] = []
        copying.copy_start(one.fileno(), other.fileno(), size - 5, calls.append)
        status = os.fstat(other.fileno())
    assert sum(calls) == status.st_size == size - 5
    assert status.st_blocks * 512 < 1 << 20
    with open(tmp_path / "copy", "rb") as file:
        assert os.pread(file.fileno(), 8194, at - 1) == b"\0" + b"x" * 8192 + b"\0"


def test_source_that_is_too_short_is_an_error(copy, monkeypatch):
    monkeypatch.setattr(fcntl, "ioctl", refuse(errno.EOPNOTSUPP))
    monkeypatch.setattr(os, "lseek", refuse(errno.EINVAL))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        copy(len(CONTENT) + 1)
