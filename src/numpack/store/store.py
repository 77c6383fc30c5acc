"""`NumPack`: an embedded store of arrays in a folder."""

from __future__ import annotations

import gc
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from .._core.policy import wrong_type
from ..errors import (
    ConflictError,
    InvalidValueError,
    MovedError,
    NotAStoreError,
    StoreClosedError,
    StoreError,
    StoreNotFoundError,
    StorePermissionError,
)
from .batches.buffered import Batch
from .batches.in_place import WritableBatch
from .format.flush import flush_store
from .fs.lock_errors import checked_timeout
from .handle import Handle
from .lazy.reference import path_of
from .writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal, TypeAlias

    from .format.catalog import Catalog
    from .session import Session

    Mode: TypeAlias = Literal["a", "r", "r+", "w", "x"]
    Durability: TypeAlias = Literal["process", "power"]

_STRICT = (
    "the store was made with strict_context_mode=True, and in strict context mode it can only "
    "be used in a with statement; outside of one it counts as not opened or has been closed"
)


class NumPack(Writer):
    """A store of named arrays in a folder, memory-mapped when they are loaded lazily.

    Every call that changes the store is one atomic commit, made when the call returns:
    nothing is lost if the process dies, and no `close` is needed for it. Any number of
    processes and threads read while one writes; writers queue. A call sees everything
    committed before it.

    Pickled, it is its path: unpickling opens the store that is there at its newest commit,
    to read it or to write to it, and raises `MovedError` if it is not the same one. No store
    is ever made by it.

    It is a mapping too: ``npk[name]`` loads, ``npk[name] = array`` saves and ``del npk[name]``
    drops an array.

    Parameters
    ----------
    filename : str or os.PathLike
        The folder. It is created when the store is opened. One of NumPack 0.x is read in
        place.
    drop_if_exists : bool, default False
        Drop all arrays of a store that is there when this object is first opened. What is
        no store is never touched. The same as ``mode="w"``.
    strict_context_mode : bool, default False
        Refuse every use outside of a ``with`` statement.
    warn_no_context : bool, optional
        Warn (`UserWarning`) when the store is opened outside of a ``with`` statement.
    force_gc_on_close : bool, default False
        Run Python's garbage collector on `close`.
    mode : {"a", "r", "r+", "w", "x"}, default "a"
        ``"a"``: create the store if there is none. ``"r"``: it must be there, and is only
        read, from read-only media too. ``"r+"``: it must be there. ``"w"``: start with none
        of the arrays that are there. ``"x"``: it must not be there.
    durability : {"process", "power"}, default "process"
        What a change has survived when the call returns: the death of the process, or also
        that of the machine, for which everything is flushed to the device.
    upgrade : bool, default False
        Make a store of a folder of NumPack 0.x, so that it can be written. Its rows are not
        written anew.
    lock_timeout : float, optional
        Seconds to wait for a lock that another process or thread holds; 0: do not wait.
        After them `LockTimeoutError` is raised, which names the process. By default a call
        waits until it gets the lock. Readers seldom wait.

    Raises
    ------
    StoreClosedError
        A `RuntimeError`, from every method but `open` and `close`, of a store that is
        not open.

    Notes
    -----
    Array names are any non-empty strings. Arrays are of every fixed-size dtype of NumPy
    but long double, and of those of ml_dtypes, in any layout; they are stored in C order,
    little-endian.

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
    ) -> None:
        self._given = _path_of(filename)
        if durability not in ("process", "power"):
            msg = f"durability must be 'process' or 'power', not {durability!r}"
            raise InvalidValueError(msg)
        if drop_if_exists and mode not in ("a", "w"):
            msg = f"drop_if_exists=True is mode='w', which mode={mode!r} contradicts; pass one"
            raise InvalidValueError(msg)
        self._handle = Handle(
            _absolute(self._given),
            mode="w" if drop_if_exists else mode,
            upgrade=upgrade,
            durable=durability == "power",
            lock_timeout=checked_timeout(lock_timeout),
        )
        self._options = {
            "strict_context_mode": strict_context_mode,
            "warn_no_context": warn_no_context,
            "force_gc_on_close": force_gc_on_close,
            "mode": "r" if mode == "r" else "r+",
            "durability": durability,
            "lock_timeout": lock_timeout,
        }
        self._strict = bool(strict_context_mode)
        self._warns = bool(warn_no_context)
        self._collects = bool(force_gc_on_close)
        self._contexts = 0
        self._batch = Batch(self._handle)
        self._in_place: list[WritableBatch] = []

    # Opening and closing

    def open(self) -> None:
        """Open the store; create it if there is none. Does nothing if it is open.

        Raises
        ------
        NotAStoreError
            The path is a file, or a folder that is not empty and no store; or the mode asks
            for a store and there is none, or for none and there is one.
        NewerFormatError, CorruptStoreError
            The store cannot be read by this version, or is damaged.
        """
        if self._warns and not self._contexts:
            msg = (
                f"the store {self._given} is opened outside of a with statement; "
                "with strict context mode (strict_context_mode=True) that is refused"
            )
            warnings.warn(msg, UserWarning, stacklevel=2)
        try:
            self._handle.open()
        except StoreError:
            raise
        except OSError as error:
            raise _cannot_open(self._given, error) from error

    def close(self, force_gc: bool | None = None) -> None:
        """Close the store. Arrays that were loaded from it, lazily too, stay valid.

        Parameters
        ----------
        force_gc : bool, optional
            Run Python's garbage collector; by default as `force_gc_on_close` says.
        """
        conflict = self._end_batch() if self.is_opened else None
        self._handle.close()
        if self._collects if force_gc is None else force_gc:
            gc.collect()
        if conflict is not None:
            raise conflict

    def sync(self) -> None:
        """Flush everything that was committed to the device.

        What a `batch_mode` could not write is tried again first.
        """
        session = self._session()
        self._batch.write()
        with self._handle.writing():
            flush_store(session, session.arrays().values())

    @property
    def is_opened(self) -> bool:
        """Whether the store is open."""
        return self._handle.session is not None

    @property
    def is_closed(self) -> bool:
        """Whether the store is not open."""
        return self._handle.session is None

    def __bool__(self) -> bool:
        """Return whether the store is open, as h5py's files do; `len` counts the arrays."""
        return self.is_opened

    def __enter__(self) -> Self:
        """Open the store."""
        self._contexts += 1
        try:
            self.open()
        except BaseException:
            self._contexts -= 1
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the store."""
        try:
            self.close()
        finally:
            self._contexts -= 1

    def __repr__(self) -> str:
        """Tell the path and what is in it."""
        session = self._handle.session
        what = "closed" if session is None else f"{len(session.arrays())} arrays"
        return f"NumPack({self._given!r}, {what})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path: the other process opens the store for itself, and never makes one.

        What a `batch_mode` has changed is written first.
        """
        path, seen, session = self._handle.path, ("", 0), self._handle.session
        if session is not None:
            if not session.read_only:
                self._batch.write()
            state = session.history.refresh()
            path, seen = path_of(session.folder), (state.token, state.commit)
        own = NumPack.__new__(NumPack)
        NumPack.__init__(own, path)
        more = {name: value for name, value in vars(self).items() if name not in vars(own)}
        what = type(self), path, self._options, session is not None, seen
        return (_opened_as, what, more) if more else (_opened_as, what)

    def _session(self) -> Session:
        if self._strict and not self._contexts:
            raise StoreClosedError(_STRICT)
        return self._handle.session or self._handle.opened()

    # Batches

    @contextmanager
    def batch_mode(self, memory_limit: int | None = None) -> Iterator[Self]:
        """Keep what is loaded and saved in memory until the block ends.

        In the block `load` gives the same array each time. What was saved, and arrays that
        were changed in place, are written in one commit when the block ends, also after an
        exception in it. If that fails, it raises, the store is as it was, and the arrays
        are kept: the next block, `sync` or `close` tries again. An array that others have
        changed since the batch loaded or saved it is never overwritten (`ConflictError`).
        `append`, `replace`, `update` and `drop` in the block write what was changed first;
        an array that was loaded before them is then the caller's own, and later changes to it
        are not written.

        Parameters
        ----------
        memory_limit : int, optional
            Bytes to keep; what exceeds them is written early.

        Yields
        ------
        NumPack
            The store itself.

        Raises
        ------
        ConflictError
            Others committed changes to arrays that the batch changed as well. Theirs stand;
            all other arrays were written; ``error.arrays`` holds those that were not.
        """
        self._session()
        if memory_limit is not None and memory_limit < 0:
            msg = f"memory_limit must not be negative, and is {memory_limit}"
            raise InvalidValueError(msg)
        outer = self._batch.memory_limit
        self._batch.memory_limit = memory_limit if memory_limit is not None else outer
        self._batch.depth += 1
        try:
            yield self
        finally:
            self._batch.depth -= 1
            self._batch.memory_limit = outer
            if not self._batch.depth and self.is_opened:
                conflict = self._end_batch()
                if conflict is not None:
                    raise conflict

    def _end_batch(self) -> ConflictError | None:
        """Write what a batch keeps, and keep nothing more unless that fails."""
        try:
            self._batch.write()
        except ConflictError as error:
            self._batch.forget()
            return error
        self._batch.forget()
        return None

    @contextmanager
    def writable_batch_mode(self) -> Iterator[WritableBatch]:
        """Write to arrays straight on their files.

        Yields
        ------
        WritableBatch
            Its `load` gives a writable array over the file; what is written to it is in the
            store at once, without a copy and without a commit: should the process die, some
            of it has happened. Checksums are brought up to date when the block ends; until
            then `verify` lists the array as unchecked, and `update` leaves its dropped rows
            in the file.

        Raises
        ------
        ConflictError
            When the block ends: an array was dropped or saved anew meanwhile, and what was
            written to its view since is not in the store. ``error.arrays`` holds the views.
        """
        self._session()
        batch = WritableBatch(self._handle, self.save, self._settle_batch)
        self._in_place.append(batch)
        try:
            yield batch
        finally:
            self._in_place.remove(batch)
            batch.end()


def _path_of(filename: Any) -> str:
    path = os.fspath(filename) if isinstance(filename, os.PathLike) else filename
    if not isinstance(path, str):
        fix = "pass os.fsdecode(path)" if isinstance(path, bytes) else "pass the folder's path"
        wrong_type("NumPack", "a str or os.PathLike", path, fix)
    path = str.__str__(path)
    if not path:
        msg = 'the path of a store must not be empty; "." is the current folder'
        raise InvalidValueError(msg)
    if "\0" in path:
        msg = f"the path {path!r} holds a NUL character, which no path can; remove it"
        raise InvalidValueError(msg)
    return path


def _cannot_open(path: str, error: OSError) -> StoreError:
    """Return the error for a folder that the operating system does not open."""
    kind = StorePermissionError if isinstance(error, PermissionError) else StoreError
    what = error.strerror or str(error)
    where = "" if error.filename in (None, path) else f" ({error.filename})"
    is_denied = kind is StorePermissionError
    fix = "get read and search permission on it" if is_denied else "choose another path"
    found = kind(f"the store {path} cannot be opened: {what}{where}; {fix}")
    found.errno = error.errno
    return found


def _absolute(path: str) -> str:
    """Return a path that stays valid when the working directory changes."""
    if path.startswith("/"):
        return path
    try:
        folder = os.getcwd()  # noqa: PTH109 -- quick
    except FileNotFoundError:
        msg = (
            f"{path!r} leads nowhere: the working directory was removed; pass an absolute path"
        )
        raise StoreNotFoundError(msg) from None
    return folder if path == "." else f"{folder}/{path}"


def _opened_as(
    kind: type[NumPack],
    path: str,
    options: dict[str, Any],
    opened: bool,
    seen: tuple[str, int],
) -> NumPack:
    """Make a handle that was pickled; of a subclass without calling its constructor."""
    store = kind.__new__(kind)
    NumPack.__init__(store, path, **options)
    if not opened:
        return store
    try:
        store.open()
    except StorePermissionError as error:
        raise _moved(path, "permission", str(error)) from error
    except NotAStoreError as error:
        raise _moved(path, "missing", str(error)) from error
    reason, why = _difference(store._handle.opened().history.refresh(), *seen)  # noqa: SLF001
    if reason:
        store.close()
        raise _moved(path, reason, why)
    return store


def _difference(state: Catalog, token: str, commit: int) -> tuple[str, str]:
    """Return why a store is not the one that a handle had open; nothing if it is."""
    if token and state.token != token:
        return "another store", "another store is there"
    if token and state.commit < commit:
        return "another copy", "an older copy of the store is there"
    return "", ""


def _moved(path: str, reason: str, why: str) -> MovedError:
    msg = f"the store {path}, which a pickled handle had open, has moved: {why}"
    return MovedError(msg, reason)
