"""The contents of files, and the errors of the system."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest


def contents(folder: str = "s.npk") -> dict[str, bytes]:
    """Return the bytes of all files below a folder, by their relative path."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def content(path="data.bin"):
    with open(path, "rb") as file:
        return file.read()


@contextlib.contextmanager
def raises(code):
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == code
    assert os.strerror(code) in str(caught.value)
