"""The log of a package, which is a header line and one snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..format.dtype_codes import InvalidRecordError
from ..format.folder import HEADER, read_header
from ..format.log.lines import decode
from ..format.log.log import closed_error
from ..format.log.ordinary.lines import read_header_line, read_snapshot
from ..format.log.reader import HEADER_LINE_LENGTH
from ..format.log.reader import NAME as LOG
from ..format.log.records import commit_count, snapshot

if TYPE_CHECKING:
    from ..format.log.state import Catalog
    from .archive import Archive

_HEADER_LIMIT = 1 << 16
_LOG_LIMIT = 1 << 30


class PackageLog:
    """The log of a package, with the interface of a read-only `Log`.

    Parameters
    ----------
    archive : Archive

    Raises
    ------
    CorruptStoreError, NewerFormatError, NotAStoreError
        It cannot be read.
    """

    openings = 1

    def __init__(self, archive: Archive) -> None:
        self._path = archive.path
        self._catalog: Catalog | None = catalog_of(archive)

    def refresh(self) -> Catalog:
        """Return the catalog, which does not change; raise if the log is closed."""
        if self._catalog is None:
            raise closed_error(self._path)
        return self._catalog

    def after_fork(self) -> None:
        """Do nothing: there is no lock."""

    def damage(self) -> list[str]:
        """Return no damage: all lines were checked when the package was opened."""
        return []

    def close(self) -> None:
        """Close the log."""
        self._catalog = None


def catalog_of(archive: Archive) -> Catalog:
    """Read the header and the log of a package."""
    read_header(archive.content(HEADER, _HEADER_LIMIT), archive.path)
    log = archive.content(LOG, _LOG_LIMIT)
    try:
        found = parse_log(log)
    except (ValueError, RecursionError, MemoryError) as error:
        archive.damaged(f"its log cannot be read ({error})")
    if found.journal is not None or any(
        each.dropped or each.writable or each.extents is not None
        for each in found.arrays.values()
    ):
        archive.damaged("its log has what only a store has that is being written")
    return found


def parse_log(log: bytes) -> Catalog:
    """Return the catalog that a package's log describes; raise ValueError if it is none."""
    line, at = log[:HEADER_LINE_LENGTH], HEADER_LINE_LENGTH
    if not line.endswith(b"\n") or log.find(b"\n", at) != len(log) - 1:
        raise InvalidRecordError("it is not a header line and one snapshot")
    count = read_header_line(line)
    if count < 0:
        count = commit_count(decode(line))
    found = read_snapshot(log, at, len(log))
    if found is None:
        found = snapshot(decode(log[at:]))
    if found.commit < count:
        raise InvalidRecordError(f"it lacks the commit {count}")
    return found
