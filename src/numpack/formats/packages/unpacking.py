"""`unpack`: the store that a package holds, in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import InvalidValueError, StoreExistsError
from ...store.checks import PACKAGE, absolute_path, checked_path
from ...store.format.folder import HEADER
from ...store.format.log.reader import NAME as LOG
from ...store.fs.directory import DATA, read_between, write_all
from ...store.kernels.checksums import BLOCK, crc32
from ...store.packages.archive import Archive
from ...store.packages.layout import STORED
from ...store.packages.log import catalog_of
from ...store.reading.reader import ProgressCounter
from ..common.new_files import NewFile
from .compression import decompressed, largest_size, zstandard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...store.packages.layout import Member

    ProgressCallback = Callable[[int, int], object]

_PART = 8 << 20  # bytes that are read at a time


class _File(NamedTuple):
    name: str
    member: Member


def unpack(
    package: str | os.PathLike[str],
    store: str | os.PathLike[str] | None = None,
    *,
    max_bytes: int | None = None,
    progress: ProgressCallback | None = None,
) -> str:
    """Make a store of a package.

    The package may be from anybody. It is validated before anything is written: its names are
    those of the files of a store, and their sizes those that its log states. The folder gets
    its name when all files are written and their checksums are right.

    Parameters
    ----------
    package : str or os.PathLike
        A file that `pack` has made.
    store : str or os.PathLike, optional
        The folder, which must not exist or be empty. By default that of the package, with the
        suffix ``.npk``, beside it.
    max_bytes : int, optional
        Refuse a package whose files have more bytes in all. By default, as many as are free on
        the disk.
    progress : callable, optional
        Called with the number of bytes written so far and the total. If it raises, nothing is
        changed.

    Returns
    -------
    str
        The path of the store.

    Raises
    ------
    StoreNotFoundError
        There is no such file.
    CorruptStoreError
        It is not a package, or is damaged.
    StoreExistsError
        The folder is not empty.
    InvalidValueError
        The files have more than `max_bytes`, or do not fit on the disk.
    MissingDependencyError
        The package is compressed, and zstandard is not installed.
    OSError
        A file cannot be read or written.

    Examples
    --------
    >>> import numpy as np
    >>> import numpack
    >>> with numpack.NumPack("features.npk", mode="w") as npk:
    ...     npk.save({"x": np.arange(4)})
    >>> numpack.pack("features.npk", "features.npkz", compress="zstd")
    'features.npkz'
    >>> numpack.unpack("features.npkz", "copy.npk")
    'copy.npk'
    >>> with numpack.NumPack("copy.npk") as npk:
    ...     npk.append({"x": np.array([4])})
    ...     npk["x"]
    array([0, 1, 2, 3, 4])
    """
    source = checked_path(package, "unpack")
    path = _target(source, store)
    archive = Archive(absolute_path(source))
    files = _files(archive)
    total = sum(file.member.size for file in files)
    _check_sizes(archive, files, total, max_bytes, Path(path))
    if archive.directory.is_compressed:
        zstandard()  # raises if it is not installed
    counter = ProgressCounter(progress, total)
    new = NewFile(Path(path), is_folder=True)
    try:
        (new.path / DATA).mkdir(parents=True)
        for file in files:
            _extract(archive, file, new.path / file.name, counter)
        _check_empty(path)
        new.commit()
    except BaseException:
        new.abort()
        raise
    return path


def _target(source: str, store: Any) -> str:
    """Return the path of the folder, which is empty or does not exist."""
    if store is not None:
        path = checked_path(store, "unpack")
    elif source.endswith(PACKAGE):
        path = f"{source.removesuffix(PACKAGE)}.npk"
    else:
        msg = f"the name of {source} does not end in {PACKAGE}; pass the path of the store too"
        raise InvalidValueError(msg)
    _check_empty(path)
    return path


def _check_empty(path: str) -> None:
    found = Path(path)
    if os.path.lexists(path) and (not found.is_dir() or any(found.iterdir())):
        msg = f"there is something at {path} already; choose another path, or remove it"
        raise StoreExistsError(msg)


def _files(archive: Archive) -> list[_File]:
    """Return the members of a package, which are the files that its log names.

    Raises
    ------
    CorruptStoreError
        They are not, or have other sizes.
    """
    sizes: dict[str, int | None] = {LOG: None, HEADER: None}
    for entry in catalog_of(archive).arrays.values():
        if not entry.is_unusable:
            sizes[entry.data_file] = entry.nbytes
            if entry.nbytes >= BLOCK:
                sizes[entry.checksum_file] = 4 * (entry.nbytes // BLOCK)
    files = [_File(name, archive.member(name)) for name in archive.names()]
    for name, member in files:
        if name not in sizes:
            archive.damaged(f"its log names no file {name}")
        size = sizes.pop(name)
        if size not in (None, member.size):
            archive.damaged(f"{name} has {member.size:,} bytes, and the log says {size:,}")
        archive.check_header(name, member)
    if sizes:
        archive.damaged(f"{next(iter(sizes))} is missing")
    return files


def _check_sizes(
    archive: Archive, files: list[_File], total: int, limit: int | None, target: Path
) -> None:
    """Refuse files that do not fit, or that so few bytes cannot be decompressed to."""
    for name, member in files:
        if member.method != STORED and member.size > largest_size(member.packed):
            archive.damaged(
                f"{member.packed:,} bytes cannot be the {member.size:,} bytes of {name}"
            )
    if limit is not None and total > limit:
        msg = f"the files in {archive.path} have {total:,} bytes, more than max_bytes={limit:,}"
        raise InvalidValueError(msg)
    status = os.statvfs(next(each for each in target.absolute().parents if each.is_dir()))
    free = status.f_bavail * status.f_frsize
    if total > free:
        msg = (
            f"the files in {archive.path} have {total:,} bytes, and {free:,} are free on the "
            "disk; unpack it elsewhere"
        )
        raise InvalidValueError(msg)


def _extract(archive: Archive, file: _File, path: Path, progress: ProgressCounter) -> None:
    """Write a file, and compare its checksum."""
    crc, at = 0, 0
    with path.open("xb", buffering=0) as target:
        for part in _content(archive, file):
            at += write_all(target.fileno(), part, at)
            crc = crc32(part, crc)
            progress(len(part))
    if (at, crc) != (file.member.size, file.member.crc):
        archive.damaged(f"the checksum of {file.name} is wrong")


def _content(archive: Archive, file: _File) -> Iterator[bytes]:
    """Yield the content of a file."""
    member = file.member
    at, end = member.start, member.start + member.packed

    def read(size: int) -> bytes:
        nonlocal at
        part = read_between(archive.descriptor, at, min(at + size, end))
        at += len(part)
        return part

    if member.method == STORED:
        while part := read(_PART):
            yield part
        return
    try:
        yield from decompressed(read, member.size)
    except ValueError as error:
        archive.damaged(f"{file.name}: {error}")
