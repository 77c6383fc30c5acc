"""The metadata files of a Zarr hierarchy, in a folder or in a ZIP file.

Source: the Zarr specifications, versions 2 and 3, and the zarr documentation of storage.
"""

from __future__ import annotations

import json
import os
import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from zarr.storage import LocalStore, ZipStore

from ...errors import InvalidValueError
from ..common.trees import MAX_ARRAYS, MAX_DEPTH, check_name_read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer, BufferPrototype

METADATA = _V3, _V2_ARRAY, _V2_GROUP, _V2_ATTRS = "zarr.json", ".zarray", ".zgroup", ".zattrs"
_METADATA_LIMIT = 64 << 20  # bytes of a file
_MEMBER_LIMIT = 1 << 30  # bytes of a decompressed member of a ZIP file
LABEL = "Zarr"


class Node(NamedTuple):
    """A group or an array.

    Attributes
    ----------
    name : str
        Its path; empty for the root.
    is_array : bool
    version : int
        Of the Zarr format.
    metadata, attrs : mapping
        As JSON has them.
    """

    name: str
    is_array: bool
    version: int
    metadata: dict[str, Any]
    attrs: dict[str, Any]


class Files(Protocol):
    """Where a hierarchy is."""

    store: Store

    def read(self, key: str) -> bytes | None:
        """Return a file of metadata, or ``None`` if there is none."""

    def folders(self, prefix: str) -> Iterable[str]:
        """Return the names of the folders in a folder."""


class Folder:
    """A hierarchy in a folder, whose symbolic links are not followed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.store: Store = _InsideStore(path, read_only=True)

    def read(self, key: str) -> bytes | None:
        """Return a file of metadata."""
        path = self._path / key
        if not os.path.lexists(path):
            return None
        _require_inside(self._path, path)
        if path.stat().st_size > _METADATA_LIMIT:
            raise _too_large(path)
        return path.read_bytes()

    def folders(self, prefix: str) -> Iterable[str]:
        """Return the names of the folders in a folder."""
        with os.scandir(self._path / prefix) as entries:
            return sorted(each.name for each in entries if each.is_dir())


class Archive:
    """A hierarchy in a ZIP file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            msg = f"{path} is neither a folder nor a complete ZIP file of Zarr: {error}"
            raise InvalidValueError(msg) from error
        with self._zip:
            self._members = {info.filename: info for info in self._zip.infolist()}
            for info in self._members.values():
                if info.file_size > max(_MEMBER_LIMIT, info.compress_size):
                    raise _too_large(path)
        self.store: Store = ZipStore(path, mode="r", read_only=True)
        self._folders: dict[str, set[str]] = {}
        for member in self._members:
            parts = member.split("/")
            for count in range(len(parts) - 1):
                self._folders.setdefault("/".join(parts[:count]), set()).add(parts[count])

    def read(self, key: str) -> bytes | None:
        """Return a member of metadata."""
        info = self._members.get(key)
        if info is None:
            return None
        if info.file_size > _METADATA_LIMIT:
            raise _too_large(self._path)
        with zipfile.ZipFile(self._path) as archive:
            return archive.read(info)

    def folders(self, prefix: str) -> Iterable[str]:
        """Return the names of the folders in a folder."""
        return sorted(self._folders.get(prefix.rstrip("/"), ()))


class _InsideStore(LocalStore):  # type: ignore[misc]  # whose package has no types
    """A folder of chunks, none of which is a link out of it, a pipe or a device."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read a file, or a part of it."""
        _require_inside(self.root, self.root / key)
        return await super().get(key, prototype, byte_range)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Read parts of files."""
        key_ranges = list(key_ranges)
        for key, _ in key_ranges:
            _require_inside(self.root, self.root / key)
        found: list[Buffer | None] = await super().get_partial_values(prototype, key_ranges)
        return found


def _require_inside(root: Path, path: Path) -> None:
    """Check that a path is that of a regular file in a folder, or of none."""
    real = os.path.realpath(path)
    try:
        mode = Path(real).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG
    is_inside = real.startswith(f"{os.path.realpath(root)}{os.sep}")
    if not is_inside or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        msg = (
            f"{path} leads out of the Zarr folder, or is not a file; it is not opened: copy "
            "the folder with the files that its links refer to (cp -rL)"
        )
        raise InvalidValueError(msg)


def _too_large(path: Path) -> InvalidValueError:
    msg = (
        f"{path} holds a file that is too large: metadata takes up to {_METADATA_LIMIT:,} "
        f"bytes, a decompressed member of a ZIP file up to {_MEMBER_LIMIT:,}; use zarr itself"
    )
    return InvalidValueError(msg)


def walk(files: Files, path: Path) -> Iterator[Node]:
    """Yield the groups and arrays of a hierarchy, the root first.

    Raises
    ------
    InvalidValueError
        It is not one; its metadata is damaged; or it has too many members.
    """
    root = _node(files, "", path)
    if root is None:
        msg = (
            f"{path} is not a Zarr hierarchy: it has none of {_V3}, {_V2_GROUP} and "
            f"{_V2_ARRAY}; check the path"
        )
        raise InvalidValueError(msg)
    stack, count = [root], 0
    while stack:
        node = stack.pop()
        yield node
        if node.is_array:
            continue
        prefix = f"{node.name}/" if node.name else ""
        children = []
        for key in files.folders(prefix):
            check_name_read(key, LABEL, path)
            child = _node(files, f"{prefix}{key}", path)
            children += [] if child is None else [child]
        count += len(children)
        if count > MAX_ARRAYS or prefix.count("/") > MAX_DEPTH:
            what = f"{MAX_ARRAYS:,} members or {MAX_DEPTH} levels of groups"
            msg = f"{path} has more than {what}; choose a part of it with zarr"
            raise InvalidValueError(msg)
        stack += reversed(children)


def _node(files: Files, name: str, path: Path) -> Node | None:
    prefix = f"{name}/" if name else ""
    found = _json(files, prefix + _V3, path)
    if found is not None:
        kind = found.get("node_type")
        if kind not in ("array", "group"):
            msg = f"{path}: {prefix}{_V3} describes a {kind!r:.80}, not an array or a group"
            raise InvalidValueError(msg)
        return Node(name, kind == "array", 3, found, _object(found.get("attributes")))
    for member, is_array in ((_V2_ARRAY, True), (_V2_GROUP, False)):
        found = _json(files, prefix + member, path)
        if found is not None:
            attrs = _json(files, prefix + _V2_ATTRS, path)
            return Node(name, is_array, 2, found, _object(attrs))
    return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _json(files: Files, key: str, path: Path) -> dict[str, Any] | None:
    """Return an object of JSON; ``None`` if there is no such file."""
    text = files.read(key)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        msg = f"{path} is damaged: {key} is not JSON ({str(error)[:200]}); restore it"
        raise InvalidValueError(msg) from error
    if not isinstance(found, dict):
        msg = f"{path} is damaged: {key} is not a JSON object; restore it"
        raise InvalidValueError(msg)
    return found


def uses_pickle(metadata: Any) -> bool:
    """Return whether a codec of an array would unpickle what it reads."""
    stack = [metadata.get(key) for key in ("filters", "compressor", "codecs", "dtype")]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack += value.values()
        elif isinstance(value, list):
            stack += value
        elif isinstance(value, str) and "pickle" in value.lower():
            return True
    return False
