"""`NumPack`: an embedded store of arrays in a folder."""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING, Any, Self

from ..errors import (
    InvalidValueError,
    StoreClosedError,
    StoreError,
)
from .batches.modes import BatchModes
from .checks import (
    absolute_path,
    check_no_remote_options,
    checked_commit,
    checked_path,
    is_package,
    is_remote,
    open_error,
)
from .format.flush import flush_store
from .fs.lock_errors import checked_timeout
from .handle import Handle
from .lazy.reference import path_of
from .publishing.publisher import Publisher
from .reading.reopening import reopened

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from typing import Literal, TypeAlias

    from .session import Session

    Mode: TypeAlias = Literal["a", "r", "r+", "w", "x"]
    Durability: TypeAlias = Literal["process", "power"]

_STRICT = (
    "the store was created with strict_context_mode=True, and in strict context mode it can "
    "only be used in a with statement; outside of one it is not opened or has been closed"
)


class NumPack(BatchModes, Publisher):
    """Store of named arrays in a folder, memory-mapped when they are loaded lazily.

    Every call that changes the store is one atomic commit, which is complete when the call
    returns: no data is lost if the process dies afterwards, and `close` is not needed for it.
    Any number of processes and threads can read while one writes; writers queue. A call sees
    everything that was committed before it.

    A `NumPack` is pickled as its path. Unpickling opens the store at that path, for reading and
    writing at its newest commit, or for reading alone (``mode="r"``) as of the commit that was
    seen when it was pickled; if the log does not have that any more, at the newest one, with a
    `CommitWarning`. It raises `MovedError` if it is not the same store, and never creates one.

    A `NumPack` is a mapping: ``npk[name]`` loads, ``npk[name] = array`` saves and
    ``del npk[name]`` drops an array.

    Parameters
    ----------
    filename : str or os.PathLike, or a store of obstore or fsspec
        The folder. It is created when the store is opened. A folder of NumPack 0.x is read in
        place. Or a package, the file ``name.npkz`` that `numpack.pack` makes of a store, which
        is read in place with ``mode="r"``. Or the URL of a store or a package in an object
        store (``s3://``, ``gs://``, ``az://``, ``https://`` and others), which is read with
        ``mode="r"``.
    drop_if_exists : bool, default False
        Drop all arrays of an existing store when this object is first opened. A folder that
        is not a store is never touched. The same as ``mode="w"``.
    strict_context_mode : bool, default False
        Refuse every use outside of a ``with`` statement.
    warn_no_context : bool, optional
        Warn (`UserWarning`) when the store is opened outside of a ``with`` statement.
    force_gc_on_close : bool, default False
        Run Python's garbage collector on `close`.
    mode : {"a", "r", "r+", "w", "x"}, default "a"
        ``"a"``: create the store if it does not exist. ``"r"``: open an existing store for
        reading only, also from read-only media. ``"r+"``: open an existing store. ``"w"``:
        drop all existing arrays. ``"x"``: create the store; it must not exist.
    durability : {"process", "power"}, default "process"
        What a change survives once the call has returned: the death of the process, or a loss
        of power as well, for which everything is flushed to the device.
    upgrade : bool, default False
        Upgrade a folder of NumPack 0.x to a store, so that it can be written. Its rows are
        not rewritten.
    lock_timeout : float, optional
        Seconds to wait for a lock that another process or thread holds; 0 does not wait.
        When they have passed, `LockTimeoutError` is raised, which names the process. By
        default a call waits indefinitely. Readers rarely wait.
    at : int, optional
        Open the store with ``mode="r"`` as of the commit of this number, see `commit`, whatever
        is committed later. The log has commits as far back as its last compaction;
        `CommitNotFoundError` names them. An array is as it was if its rows still stand,
        whatever rows were appended or deleted since. If it was dropped, saved again or
        rewritten (`update`) since, or rows were replaced in place, its use raises `MovedError`.
    storage_options : mapping, optional
        For a store in an object store: what the library that reaches it takes. Of obstore, the
        configuration of its store (``{"region": "eu-west-1", "skip_signature": True}``), and
        `client_options`, `retry_config` and `credential_provider`; of other filesystems, the
        arguments of fsspec. Credentials that are not passed are found in the environment.
    cache : str or os.PathLike, optional
        Folder in which blocks of an object store are kept, by default that of the environment
        variable ``NUMPACK_CACHE``, or ``numpack`` in ``$XDG_CACHE_HOME`` or ``~/.cache``. All
        processes share it.
    cache_bytes : int, optional
        Limit of the size of the cache, by default ``NUMPACK_CACHE_BYTES``, or half of the space
        that is free or taken by it. To make room, files that no process has open are removed,
        those used least recently first. 0: keep nothing.

    Raises
    ------
    StoreClosedError
        A `RuntimeError`, raised by every method except `open` and `close` while the store is
        not open.

    Notes
    -----
    A store in an object store is opened as of its newest commit, by two requests, and stays at
    it: close and open it again to see what was published since. If objects that it needs have
    been removed, reading raises `MovedError`. Arrays are fetched by blocks of 1 MiB, which are
    compared with their checksums before they are used, and kept in the cache, which is mapped:
    `load`, ``load(lazy=True)``, `Loader` and all that is made of them share its pages. A few
    random rows (`getitem`) are fetched by their ranges, which no checksum covers, until as much
    of a block has been fetched as it has bytes. A lazy array that does not fit in the cache is
    read by rows only; `load` reads it into memory. A folder that another tool has copied to an
    object store must not be changed while it is read; a store that is published may be. Pickles
    hold the URL and options without anything secret; unpickling takes credentials from the
    environment.

    Array names are arbitrary non-empty strings. Arrays may have every fixed-size dtype of
    NumPy except long double, every dtype of ml_dtypes, and any memory layout; they are stored
    in C order, little-endian.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack
    >>> with NumPack("features.npk", drop_if_exists=True) as npk:
    ...     npk.save({"x": np.zeros((2, 3), "f4")})
    ...     npk.append({"x": np.ones((1, 3), "f4")})
    ...     npk.load("x")
    array([[0., 0., 0.],
           [0., 0., 0.],
           [1., 1., 1.]], dtype=float32)
    """

    def __init__(  # noqa: PLR0913 -- options
        self,
        filename: str | os.PathLike[str],
        drop_if_exists: bool = False,
        strict_context_mode: bool = False,
        warn_no_context: bool | None = None,
        force_gc_on_close: bool = False,
        *,
        mode: Mode = "a",
        durability: Durability = "process",
        upgrade: bool = False,
        lock_timeout: float | None = None,
        at: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        at = checked_commit(at, mode, upgrade=upgrade)
        mode = mode if at is None else "r"
        if durability not in ("process", "power"):
            msg = f"durability must be 'process' or 'power', not {durability!r}"
            raise InvalidValueError(msg)
        if drop_if_exists and mode not in ("a", "w"):
            msg = f"drop_if_exists=True is mode='w', which mode={mode!r} contradicts; pass one"
            raise InvalidValueError(msg)
        timeout = checked_timeout(lock_timeout)
        handle: Handle
        if is_remote(filename):
            from .remote.handle import RemoteHandle, check_reading  # noqa: PLC0415 -- on demand

            check_reading(mode, at=at, drops=drop_if_exists, upgrade=upgrade)
            handle = RemoteHandle(filename, storage_options, cache, cache_bytes)
            self._filename = handle.path
        elif is_package(filename):
            from .packages import handle as packages  # noqa: PLC0415 -- on demand

            check_no_remote_options(storage_options, cache, cache_bytes)
            self._filename = checked_path(filename)
            path = absolute_path(self._filename)
            packages.check_reading(path, mode, at=at, drops=drop_if_exists, upgrade=upgrade)
            handle = packages.PackageHandle(path)
        else:
            check_no_remote_options(storage_options, cache, cache_bytes)
            self._filename = checked_path(filename)
            handle = Handle(
                absolute_path(self._filename),
                mode="w" if drop_if_exists else mode,
                upgrade=upgrade,
                durable=durability == "power",
                lock_timeout=timeout,
                at=at,
            )
        super().__init__(handle)
        self._options = {
            "strict_context_mode": strict_context_mode,
            "warn_no_context": warn_no_context,
            "force_gc_on_close": force_gc_on_close,
            "mode": "r" if mode == "r" else "r+",
            "durability": durability,
            "lock_timeout": lock_timeout,
            "at": at,
        }
        self._strict = bool(strict_context_mode)
        self._warn_no_context = bool(warn_no_context)
        self._force_gc = bool(force_gc_on_close)
        self._context_depth = 0

    # Opening and closing

    def open(self) -> None:
        """Open the store, creating it if it does not exist; do nothing if it is open.

        Raises
        ------
        NotAStoreError
            The path is a file, or a non-empty folder that is not a store; or the mode requires
            an existing store and there is none, or a new one and there is one.
        NewerFormatError, CorruptStoreError
            The store cannot be read by this version, or is damaged.

        Examples
        --------
        >>> from numpack import NumPack
        >>> npk = NumPack("features.npk")
        >>> npk.open()
        >>> npk.is_opened
        True
        >>> npk.close()
        """
        if self._warn_no_context and not self._context_depth:
            msg = (
                f"the store {self._filename} is opened outside of a with statement; "
                "strict context mode (strict_context_mode=True) refuses that"
            )
            warnings.warn(msg, UserWarning, stacklevel=2)
        try:
            self._handle.open()
        except StoreError:
            raise
        except OSError as error:
            raise open_error(self._filename, error) from error

    def close(self, force_gc: bool | None = None) -> None:
        """Close the store. Arrays that were loaded from it, also lazily, stay valid.

        Parameters
        ----------
        force_gc : bool, optional
            Whether to run Python's garbage collector; the default is `force_gc_on_close`.

        Raises
        ------
        ConflictError
            An unfinished `batch_mode` has changed arrays that others changed as well.

        Examples
        --------
        >>> from numpack import NumPack
        >>> npk = NumPack("features.npk")
        >>> npk.open()
        >>> npk.close()
        >>> npk.is_closed
        True
        """
        conflict = self._end_batch() if self.is_opened else None
        self._handle.close()
        if self._force_gc if force_gc is None else force_gc:
            gc.collect()
        if conflict is not None:
            raise conflict

    def sync(self) -> None:
        """Flush everything that was committed to the device.

        Changes that a `batch_mode` could not write are retried first.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("features.npk") as npk:
        ...     npk.save({"x": np.arange(3)})
        ...     npk.sync()
        """
        session = self._session()
        self._batch.write()
        with self._handle.write_transaction():
            flush_store(session, session.arrays().values())

    @property
    def is_opened(self) -> bool:
        """Whether the store is open."""
        return self._handle.session is not None

    @property
    def is_closed(self) -> bool:
        """Whether the store is not open."""
        return self._handle.session is None

    @property
    def commit(self) -> int:
        """Number of the newest commit, or of the one that the store is read as of.

        It grows by one with each commit; in a folder of NumPack 0.x it is 0.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("commits.npk") as npk:
        ...     npk.save({"x": np.zeros(2)})
        ...     seen = npk.commit
        ...     npk.append({"x": np.ones(3)})
        >>> with NumPack("commits.npk", at=seen) as past:
        ...     past["x"]
        array([0., 0.])
        """
        return self._session().history.refresh().commit

    def __bool__(self) -> bool:
        """Return whether the store is open, as h5py's files do; `len` counts the arrays."""
        return self.is_opened

    def __enter__(self) -> Self:
        """Open the store."""
        self._context_depth += 1
        try:
            self.open()
        except BaseException:
            self._context_depth -= 1
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the store."""
        try:
            self.close()
        finally:
            self._context_depth -= 1

    def __repr__(self) -> str:
        """Return the path and the number of arrays."""
        session = self._handle.session
        status = "closed" if session is None else f"{len(session.arrays())} arrays"
        return f"NumPack({self._filename!r}, {status})"

    def _repr_html_(self) -> str | None:
        from .reading.html import store_html  # noqa: PLC0415 -- needed in notebooks only

        session = self._handle.session  # notebooks show the other representation for None
        if session is None:
            return None
        return store_html(self._filename, session.arrays(), self.commit)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path; unpickling opens the store again and never creates one.

        Changes of a `batch_mode` are written first.
        """
        seen, session = ("", 0), self._handle.session
        path, options = self._handle.pickled(self._options)
        extra = self._extra()
        if session is not None:
            if not session.read_only:
                self._batch.write()
            catalog = session.history.refresh()
            seen = catalog.token, catalog.commit
            path = path if session.is_remote else path_of(session.folder)
        args = type(self), path, options, session is not None, seen
        return (_unpickle, args, extra) if extra else (_unpickle, args)

    def _extra(self) -> dict[str, Any]:
        """Return the attributes that a subclass or a user has added."""
        fresh = NumPack.__new__(NumPack)
        NumPack.__init__(fresh, ".")
        return {name: value for name, value in vars(self).items() if name not in vars(fresh)}

    def _session(self) -> Session:
        if self._strict and not self._context_depth:
            raise StoreClosedError(_STRICT)
        return self._handle.session or self._handle.require_session()


def _unpickle(
    kind: type[NumPack],
    path: str,
    options: dict[str, Any],
    is_open: bool,
    seen: tuple[str, int],
) -> NumPack:
    """Restore a pickled store; a subclass is created without calling its constructor."""
    store = kind.__new__(kind)

    def prepare(options: dict[str, Any]) -> NumPack:
        NumPack.__init__(store, path, **options)
        return store

    return reopened(prepare, path, options, is_open=is_open, seen=seen)
