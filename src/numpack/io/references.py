"""`pickle_by_reference`: pickles of views that name the memory instead of its bytes.

Pickling looks up the functions that reduce an object in tables of the process: that of
`copyreg`, and that of `multiprocessing`, into which torch registers its own. While a setting is
active, this module's functions are in them. They reduce the views that another process can map,
if the current context has the setting, and everything else as it was reduced before.
"""

from __future__ import annotations

import copy
import copyreg
import os
import pickle
import sys
import threading
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from .._core.file_mapping import reference_at
from .routes import share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

    from .._core.file_mapping import Reduced
    from .._core.memory import Array

    Table = MutableMapping[type, Callable[[Any], Any]]

_IS_ACTIVE = ContextVar("numpack_pickle_by_reference", default=False)
_OUT_OF_BAND = 5  # the protocol from which buffers may be pickled
_COPY = copy.copy.__code__


@contextmanager
def pickle_by_reference() -> Iterator[None]:
    """Pickle views of stored arrays and of shared memory as references, not as their bytes.

    An ndarray or a tensor of torch over the memory of a stored array (as `share` and indexing
    a `LazyArray` return it) or of a `SharedArray` is then pickled in at most 1,024 bytes: where
    the rows are, offset, shape and strides. Unpickling maps them. A view of a stored array
    comes back read-only, a tensor of one as `share` would make it: writes to it stay private.
    All other objects are pickled as before, and so are views whose private pages were written
    to by a framework, whose bytes are not those of the file.

    The setting belongs to the current context (`contextvars`): it holds for what the calling
    thread or asyncio task pickles in the block. The queues of `multiprocessing` and the pools
    of processes pickle on threads of their own: `use_pickle_by_reference` holds for these too.

    Notes
    -----
    Tensors are pickled so if torch was imported before. `copyreg.dispatch_table` and the table
    of `multiprocessing` have another function for ndarrays and tensors meanwhile, which
    `pickle`, cloudpickle, Dask and loky use.

    A process that pickled a view has to keep it until another one has unpickled it, if the
    array is dropped or saved again in between, or if the memory is that of a `SharedArray`.
    Otherwise `MovedError` is raised when it is unpickled.

    See Also
    --------
    use_pickle_by_reference : the same for all threads, without an end.

    Examples
    --------
    >>> import pickle
    >>> import numpy as np
    >>> import numpack
    >>> with numpack.NumPack("views.npk") as npk:
    ...     npk.save({"x": np.zeros((1000, 1000))})
    ...     view = npk.load("x", lazy=True)[10:900, 5]
    >>> with numpack.io.pickle_by_reference():
    ...     len(pickle.dumps(view)) < 1024
    True
    """
    _TABLES.install()
    token = _IS_ACTIVE.set(True)
    try:
        yield
    finally:
        with suppress(ValueError):  # a generator may be closed in another context, which stays
            _IS_ACTIVE.reset(token)
        _TABLES.remove()


def use_pickle_by_reference() -> None:
    """Pickle views of stored arrays and of shared memory as references from now on.

    See `pickle_by_reference`. The setting holds for all threads of the process, also for those
    on which queues and pools of processes pickle. Call it after importing torch.

    Examples
    --------
    >>> import multiprocessing
    >>> import numpy as np
    >>> import numpack
    >>> numpack.io.use_pickle_by_reference()
    >>> view = np.asarray(numpack.share_memory(np.ones((1000, 1000))))
    >>> with multiprocessing.get_context("fork").Pool(1) as pool:
    ...     float(pool.apply(np.sum, (view[:, :2],)))
    2000.0
    """
    _TABLES.install()  # also if it is called again, after torch was imported
    if _TABLES.is_for_all:
        _TABLES.remove()
    _TABLES.is_for_all = True


class _Tables:
    """The tables that reducers are registered in, and what was in them before."""

    def __init__(self) -> None:
        self.is_for_all = False
        self._lock = threading.Lock()
        self._users = 0
        self._replaced: list[tuple[Table, type, Any, Any]] = []

    def install(self) -> None:
        """Register the reducers, if they are not."""
        with self._lock:
            self._users += 1
            known = {(id(table), kind) for table, kind, *_ in self._replaced}
            for table, kind, make in _entries():
                if (id(table), kind) not in known:
                    before = table.get(kind)
                    table[kind] = own = make(before)
                    self._replaced.append((table, kind, before, own))

    def remove(self) -> None:
        """Restore the tables, except what others have registered meanwhile."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
            while self._replaced:
                table, kind, before, own = self._replaced.pop()
                if table.get(kind) is not own:
                    continue
                if before is None:
                    del table[kind]
                else:
                    table[kind] = before

    def reset(self) -> None:
        """Undo `use_pickle_by_reference`, for tests."""
        if self.is_for_all:
            self.is_for_all = False
            self.remove()

    def after_fork(self) -> None:
        """Replace the lock, which another thread of the parent may have held."""
        self._lock = threading.Lock()


def _entries() -> Iterator[tuple[Table, type, Callable[[Any], Callable[[Any], Any]]]]:
    """Iterate over the tables, types, and functions that make reducers."""
    yield copyreg.dispatch_table, np.ndarray, _array_reducer
    torch = sys.modules.get("torch")
    if torch is not None:
        yield copyreg.dispatch_table, torch.Tensor, _tensor_reducer
        yield ForkingPickler._extra_reducers, torch.Tensor, _tensor_reducer  # type: ignore[attr-defined]  # noqa: SLF001 -- a class has no other access to what torch registers


def _is_active() -> bool:
    if not (_TABLES.is_for_all or _IS_ACTIVE.get()):
        return False
    return sys._getframe(2).f_code is not _COPY  # noqa: SLF001 -- copy.copy uses the table too


def _array_reducer(before: Callable[[Array], Any] | None) -> Callable[[Array], Any]:
    def reduce_array(array: Array) -> Any:
        found = _reduced(array) if _is_active() else None
        if found is None:
            found = _by_value(array) if before is None else before(array)
        return found

    return reduce_array


def _tensor_reducer(before: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    def reduce_tensor(tensor: Any) -> Any:
        if _is_active() and _is_plain(tensor):
            found = _reduced(share(tensor, "numpy", copy=False))
            if found is not None:
                return _tensor_again, found
        return tensor.__reduce_ex__(2) if before is None else before(tensor)

    return reduce_tensor


def _reduced(array: Array) -> Reduced | None:
    """Reduce an array to a reference; return ``None`` if its memory has none."""
    if not array.nbytes:
        return None
    lowest, beyond = byte_bounds(array)
    found = reference_at(lowest, beyond)
    return None if found is None else found[1].reduce_view(array, found[0])


def _is_plain(tensor: Any) -> bool:
    """Check whether a tensor is nothing but dtype, shape and strides over memory."""
    torch = sys.modules["torch"]
    return bool(
        tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and not tensor.requires_grad
        and not (tensor.is_conj() or tensor.is_neg() or tensor.is_quantized)
        and not vars(tensor)
        and tensor.numel()
        and reference_at(tensor.data_ptr(), tensor.data_ptr() + 1) is not None
    )


def _tensor_again(function: Callable[..., Array], arguments: tuple[Any, ...]) -> Any:
    """Restore a tensor that was pickled by reference."""
    return share(function(*arguments), "torch", copy=False)


class _Buffer:
    """The bytes of a contiguous array, pickled out of band where the protocol can."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return a `PickleBuffer`, or a copy before protocol 5."""
        if protocol >= _OUT_OF_BAND:
            return memoryview, (pickle.PickleBuffer(self._array),)  # type: ignore[arg-type]  # arrays are buffers from 3.12 on
        return bytearray, (self._array.tobytes("A"),)


def _by_value(array: Array) -> Any:
    """Reduce an array as NumPy does; the protocol, which is not known here, is the buffer's."""
    reduced: Any = array.__reduce_ex__(_OUT_OF_BAND)
    function, arguments, *_ = reduced
    if arguments and isinstance(arguments[0], pickle.PickleBuffer):
        return function, (_Buffer(array), *arguments[1:])
    return reduced


_TABLES = _Tables()
os.register_at_fork(after_in_child=_TABLES.after_fork)
