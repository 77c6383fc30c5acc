"""The contents of a folder on disk."""

from __future__ import annotations

from pathlib import Path


def contents(folder: str = "s.npk") -> dict[str, bytes]:
    """Return the bytes of all files below a folder, by their relative path."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
