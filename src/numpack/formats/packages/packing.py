"""`pack`: a package of the committed state of a store."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.policy import wrong_type
from ...errors import CorruptStoreError, InvalidValueError, StoreError
from ...store import NumPack
from ...store.checks import PACKAGE, checked_path, entry_of, is_remote
from ...store.format import data_files
from ...store.format.folder import HEADER, header_text, new_catalog, version_of
from ...store.format.log.log import new_log
from ...store.format.log.reader import NAME as LOG
from ...store.format.log.state import Catalog
from ...store.format.naming import quoted
from ...store.fs.lock import SharedLock
from ...store.packages.layout import STORED, ZSTD
from ...store.reading.checked_rows import RunningChecksums
from ...store.reading.reader import ProgressCounter
from ...store.reading.streaming import CommittedRows
from ...store.reading.verify import require_intact
from ..common.new_files import NewFile
from .compression import checked_method, compressed
from .writer import ArchiveWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Literal

    from ..._core.memory import Array
    from ...store.format.log.state import Entry
    from ...store.session import Session

    ProgressCallback = Callable[[int, int], object]

_PART = 8 << 20  # bytes of rows that are read at a time
_MANY_OPEN = (errno.EMFILE, errno.ENFILE)


def pack(
    store: str | os.PathLike[str] | NumPack,
    package: str | os.PathLike[str] | None = None,
    *,
    compress: Literal["zstd"] | None = None,
    progress: ProgressCallback | None = None,
) -> str:
    """Write the committed state of a store to one file, which is read in place.

    The package is a ZIP archive of the files of a store, without deleted rows: any program
    that unpacks archives makes a store of it. It replaces a file of the same name once it is
    complete. Writers of the store go on meanwhile.

    Parameters
    ----------
    store : str, os.PathLike or NumPack
        A store, also at a URL, or a folder of NumPack 0.x.
    package : str or os.PathLike, optional
        The file, whose name ends in ``.npkz``. By default that of the store's folder, with
        this suffix, beside it.
    compress : {"zstd"}, optional
        Compress the rows, for transport. The package has to be unpacked to be read.
    progress : callable, optional
        Called with the number of bytes of rows written so far and the total. If it raises,
        nothing is changed.

    Returns
    -------
    str
        The path of the package.

    Raises
    ------
    CorruptStoreError
        An array is damaged: all rows that have checksums are compared with them.
    MissingDependencyError
        zstandard is not installed.
    OSError
        A file cannot be read or written.

    Examples
    --------
    >>> import numpy as np
    >>> import numpack
    >>> with numpack.NumPack("features.npk", mode="w") as npk:
    ...     npk.save({"x": np.arange(4)})
    >>> numpack.pack("features.npk", "features.npkz")
    'features.npkz'
    >>> with numpack.NumPack("features.npkz", mode="r") as npk:
    ...     npk["x"]
    array([0, 1, 2, 3])
    """
    is_compressed = checked_method(compress)
    with contextlib.ExitStack() as stack:
        npk = stack.enter_context(_opened(store))
        path = _target(npk, package)
        source = _Committed(npk._session(), stack)  # noqa: SLF001
        total = sum(each.live_nbytes for each in source.catalog.arrays.values())
        counter = ProgressCounter(progress, total)
        new = NewFile(Path(path))
        try:
            with new.path.open("xb") as file:
                _Packing(source, file.fileno(), counter, compresses=is_compressed).run()
            new.commit()
        except BaseException:
            new.abort()
            raise
    return path


@contextlib.contextmanager
def _opened(store: Any) -> Iterator[NumPack]:
    """Yield an open store; close it afterwards if it was not open before."""
    if isinstance(store, NumPack):
        if store._batch.depth:  # noqa: SLF001
            store._batch.write()  # noqa: SLF001
        yield store
        return
    if not is_remote(store) and not isinstance(store, str | os.PathLike):
        wrong_type("pack", "the path of a store, or a NumPack", store, "pass its path")
    with NumPack(store, mode="r") as npk:
        yield npk


def _target(npk: NumPack, package: Any) -> str:
    """Return the path of the package."""
    if package is not None:
        path = checked_path(package, "pack")
        if not path.endswith(PACKAGE):
            msg = (
                f"the name of a package ends in {PACKAGE}, and not as that of {path!r}: by it "
                "NumPack tells a package from the folder of a store"
            )
            raise InvalidValueError(msg)
    else:
        session = npk._session()  # noqa: SLF001
        if session.is_remote:
            msg = "pack needs the path of the package where the store is at a URL; pass it"
            raise InvalidValueError(msg)
        path = f"{npk._filename.rstrip('/').removesuffix('.npk')}{PACKAGE}"  # noqa: SLF001
        if path == npk._filename:  # noqa: SLF001
            raise InvalidValueError(f"{path} is a package already; pass another path")
    if Path(path).is_dir():
        raise InvalidValueError(f"{path} is a folder; pass the path of a file")
    return path


class _Rows(CommittedRows):
    """The rows of all arrays as of one commit, and their checksums where they have any."""

    def __init__(self, session: Session, names: Iterable[str] | None = None) -> None:
        self.checksums: dict[str, Array] = {}
        super().__init__(session, names)

    def _use(self, session: Session, name: str, entry: Entry) -> None:
        super()._use(session, name, entry)
        self.checksums.pop(name, None)
        is_checked = not (session.is_numpack0 or entry.writable or entry.dropped)
        if is_checked and session.pending_change(entry) is None:
            self.checksums[name] = data_files.read_checksums(session.folder, entry)

    def require_intact(self, name: str, entry: Entry) -> None:
        """Check the blocks of an array that has deleted rows, which have no own checksums."""
        if entry.dropped and not (self._session.is_numpack0 or entry.writable):
            require_intact(self._session, name)

    def parts(self, name: str, entry: Entry) -> Iterator[Array]:
        """Yield the bytes of the live rows, some MiB at a time."""
        if not entry.live_nbytes:
            return
        if not entry.shape:
            yield data_files.as_bytes(self.read(name))
            return
        step = max(1, _PART // entry.row_nbytes)
        for start in range(0, entry.shape[0], step):
            rows = self.read(name, start, min(start + step, entry.shape[0]))
            for chunk in data_files.chunks_of(rows, entry.dtype):
                yield data_files.as_bytes(chunk)


class _Committed:
    """The arrays of a store as of one commit, all held, or writers excluded meanwhile."""

    def __init__(self, session: Session, stack: contextlib.ExitStack) -> None:
        self._session = session
        self._held: _Rows | None = None
        try:
            self._held = stack.enter_context(_Rows(session))
            self.catalog = self._held.catalog
        except StoreError as error:
            if getattr(error, "errno", None) not in _MANY_OPEN:
                raise
            stack.enter_context(SharedLock(session.folder))
            arrays, catalog = dict(session.arrays()), session.history.refresh()
            self.catalog = catalog.with_arrays(
                {name: entry_of(arrays, name) for name in arrays}
            )

    @contextlib.contextmanager
    def rows(self, name: str) -> Iterator[_Rows]:
        """Yield the rows of an array."""
        if self._held is not None:
            yield self._held
            return
        with _Rows(self._session, [name]) as found:
            yield found


class _Packing:
    """A package that is being written."""

    def __init__(
        self,
        source: _Committed,
        descriptor: int,
        progress: ProgressCounter,
        *,
        compresses: bool,
    ) -> None:
        self._source, self._progress, self._compresses = source, progress, compresses
        self._writer = ArchiveWriter(descriptor)
        self._token = new_catalog().token

    def run(self) -> None:
        """Write the rows, their checksums, the log, the header and the directory."""
        catalog, made, sums = self._source.catalog, {}, {}
        for number, (name, entry) in enumerate(catalog.arrays.items(), start=1):
            packed = self._packed(entry, f"{number:08d}-{self._token}")
            with self._source.rows(name) as rows:
                made[name], sums[packed.checksum_file] = self._add(rows, name, entry, packed)
        for file, content in sums.items():
            if content:
                self._writer.add(file, content)
        found = Catalog(self._token, catalog.commit, len(made) + 1, made, attrs=catalog.attrs)
        self._writer.add(LOG, new_log(found))
        self._writer.add(HEADER, header_text(version_of(found)))
        self._writer.close()

    def _packed(self, entry: Entry, identifier: str) -> Entry:
        """Return the entry of an array in the package, without its checksum."""
        return entry.replace(
            id=identifier,
            stored=entry.shape,
            tail=0,
            dropped=0,
            dropped_crc=0,
            revision=0,
            writable=False,
            numpack0_file="",
            extents=None,
        )

    def _add(self, rows: _Rows, name: str, entry: Entry, packed: Entry) -> tuple[Entry, bytes]:
        """Write the rows of an array; return its entry and the checksums of whole blocks."""
        rows.require_intact(name, entry)
        checksums = RunningChecksums()
        chunks: Any = self._checked(rows, name, entry, checksums)
        if self._compresses:
            chunks = compressed(chunks, packed.nbytes)
        method = ZSTD if self._compresses else STORED
        self._writer.add_rows(
            packed.data_file, packed.nbytes, chunks, lambda: checksums.crc, method
        )
        return packed.replace(tail=checksums.tail), bytes(checksums.sums)

    def _checked(
        self, rows: _Rows, name: str, entry: Entry, checksums: RunningChecksums
    ) -> Iterator[Array]:
        """Yield the bytes of an array; raise at the end if they are not what was written."""
        for part in rows.parts(name, entry):
            checksums.add(part)
            yield part
            self._progress(len(part))
        expected = rows.checksums.get(name)
        if expected is None:
            return
        tail = entry.replace(tail=checksums.tail)
        found = data_files.checksums_from(bytes(checksums.sums), tail)
        if not np.array_equal(found, expected):
            msg = (
                f"the array {quoted(name)} is damaged, and is not packed: checksums of its "
                "blocks are wrong; verify() names them; restore it from a backup, or drop it"
            )
            raise CorruptStoreError(msg)
