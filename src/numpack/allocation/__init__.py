"""Memory for NumPy's arrays that every framework can share: a data allocator of NumPy (NEP 49).

Imports nothing of the package. The native module is imported on first use.
"""

from __future__ import annotations

import functools
import warnings
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextvars import ContextVar

__all__ = ["aligned_allocation", "use_aligned_allocation"]


@contextmanager
def aligned_allocation() -> Iterator[None]:
    """Allocate the memory of new NumPy arrays at multiples of 64 bytes.

    JAX and TensorFlow share only such memory, and NumPy aligns to 16 bytes.
    Arrays of 2 MiB and more also use huge pages where the system has them. Arrays outlive the
    block, and can be resized and freed anywhere. May be used as a decorator.

    The setting belongs to the current context (`contextvars`), as NumPy specifies: it holds for
    the calling thread or asyncio task, and for tasks that are started in the block. Threads
    that are started in the block have a context of their own. Memory that NumPy does not
    allocate is not affected, nor are arrays that exist already.

    See Also
    --------
    use_aligned_allocation : the same for all threads, without an end.

    Notes
    -----
    Source: NEP 49, "Data allocation strategies"; ``PyDataMem_SetHandler``.

    Examples
    --------
    >>> import numpack
    >>> import numpy as np
    >>> with numpack.aligned_allocation():
    ...     a = np.random.default_rng(0).random(1000)
    >>> a.ctypes.data % 64
    0
    """
    variable, handler = _setting_of_numpy()
    token = variable.set(handler)
    try:
        yield
    finally:
        with suppress(ValueError):  # a generator may be closed in another context, which stays
            variable.reset(token)


def use_aligned_allocation() -> None:
    """Allocate the memory of new NumPy arrays at multiples of 64 bytes from now on.

    See `aligned_allocation`. The setting holds for the whole process: for the current context,
    and for all threads, present and future, that have not set an allocator of their own.

    Warns
    -----
    RuntimeWarning
        This Python does not allow it for other threads; call the function in each of them,
        for example as the ``initializer`` of a ``ThreadPoolExecutor``.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> import numpack
    >>> import numpy as np
    >>> numpack.use_aligned_allocation()
    >>> with ThreadPoolExecutor(1) as pool:
    ...     pool.submit(np.ones, 5).result().ctypes.data % 64
    0
    """
    from .allocator import replace_default  # noqa: PLC0415

    variable, handler = _setting_of_numpy()
    variable.set(handler)
    default = Context().run(variable.get)
    if default is not handler and not replace_default(variable, default, handler):
        warnings.warn(
            "numpack.use_aligned_allocation() holds for the current context only, since this "
            "Python keeps the default of a ContextVar elsewhere; call it in each thread",
            RuntimeWarning,
            stacklevel=2,
        )


@functools.cache
def _setting_of_numpy() -> tuple[ContextVar[object], object]:
    """Return the variable that holds NumPy's allocator, and its value for this allocator."""
    from .allocator import HANDLER, set_handler  # noqa: PLC0415

    context = Context()
    context.run(set_handler, HANDLER)
    (variable,) = context
    return variable, HANDLER
