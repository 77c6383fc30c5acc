"""`ArrayProtocols`: the protocols by which libraries receive the memory of a lazy array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UnsupportedError, ZeroCopyError
from ...io import share
from .buffer import BufferExporter
from .methods import ArrayMethods

if TYPE_CHECKING:
    from ...io import Layout


class ArrayProtocols(ArrayMethods, BufferExporter):
    """Exports of the mapping, which all are read-only, without a copy where it is possible.

    A consumer that ignores the read-only flag writes to private pages.
    """

    __slots__ = ()

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return DLPack's device: the CPU, ``(1, 0)``."""
        return (1, 0)

    def __dlpack__(self, **options: Any) -> object:
        """Export the pages, mapped copy-on-write for the consumer; see `DLPackBuffer`."""
        copy = None if self.obstacle() is None else options.get("copy")
        return share(self, "dlpack", copy=copy).__dlpack__(**options)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export the array as one chunk; further axes become fixed-size lists. Needs pyarrow.

        Consumers of the Arrow PyCapsule interface, such as Polars, call this. Memory is shared
        where Arrow's layout of the values is the same, and copied where Arrow packs them
        (bool) or where rows are deleted.
        """
        import pyarrow as pa  # noqa: PLC0415

        chunks = pa.chunked_array([self._to_arrow()])
        capsule: object = chunks.__arrow_c_stream__(requested_schema)
        return capsule

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """Export the array as the capsules of its schema and of its values; needs pyarrow.

        Memory is shared as by `__arrow_c_stream__`.
        """
        capsules: tuple[object, object] = self._to_arrow().__arrow_c_array__(requested_schema)
        return capsules

    def _to_arrow(self) -> Any:
        if not self.shape:
            reason, fix = "Arrow has no 0-d arrays", "pass lazy.reshape(1)"
            raise UnsupportedError(f"{reason}; {fix}", reason=reason, fix=fix)
        layout: Layout = "flat" if self.ndim == 1 else "list"
        try:
            return share(self, "arrow", copy=False, layout=layout)
        except ZeroCopyError:
            return share(self, "arrow", copy=True, layout=layout)

    def __jax_array__(self) -> Any:
        """Return the elements as an array of JAX."""
        import jax.numpy as jnp  # noqa: PLC0415

        return jnp.asarray(np.asarray(self))
