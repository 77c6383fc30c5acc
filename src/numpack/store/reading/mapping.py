"""`ArrayMapping`: the names and metadata of the arrays in a store."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from ..checks import entry_of
from ..format.naming import exact_name
from .inspection import inspect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..._core.memory import Array
    from ..batches.buffered import Batch
    from ..format.log.state import Entry
    from ..handle import Handle
    from ..session import Session
    from .inspection import StoreInfo


class ArrayMapping(Mapping[str, "Array"]):
    """Mapping interface and metadata of `NumPack`; `Reader` adds loading."""

    _handle: Handle
    _batch: Batch
    _filename: str

    def _session(self) -> Session:
        """Return the session of the open store, or raise why it cannot be used."""
        return self._handle.require_session()

    def _arrays(self) -> dict[str, Entry]:
        """Return the current entries, including arrays that a batch has saved."""
        session = self._session()
        if self._batch.depth:
            self._batch.write_saved()
        return session.arrays()

    def __contains__(self, array_name: object) -> bool:
        """Return whether there is an array of this name."""
        if isinstance(array_name, str):
            return str.__str__(array_name) in self._arrays()
        if isinstance(array_name, Hashable):
            return False
        exact_name(array_name, "in")
        raise AssertionError

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the arrays."""
        return iter(self.get_member_list())

    def __len__(self) -> int:
        """Return the number of arrays."""
        return len(self._arrays())

    def __eq__(self, other: object) -> bool:
        """Compare by identity."""
        return self is other

    def __hash__(self) -> int:
        """Hash by identity."""
        return id(self)

    def has_array(self, array_name: str) -> bool:
        """Return whether there is an array of this name.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("mapping.npk") as npk:
        ...     npk.save({"x": np.zeros((2, 3))})
        ...     npk.has_array("x"), "y" in npk
        (True, False)
        """
        return exact_name(array_name, "has_array") in self._arrays()

    def get_member_list(self) -> list[str]:
        """Return the names of the arrays, in the order in which they were created.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("members.npk") as npk:
        ...     npk.save({"x": np.zeros(2), "a": np.ones(3)})
        ...     npk.get_member_list()
        ['x', 'a']
        """
        return list(self._arrays())

    def get_shape(self, array_name: str) -> tuple[int, ...]:
        """Return the shape of an array.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the existing arrays.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("mapping.npk") as npk:
        ...     npk.save({"x": np.zeros((2, 3))})
        ...     npk.get_shape("x")
        (2, 3)
        """
        shape: tuple[int, ...] = entry_of(
            self._arrays(), exact_name(array_name, "get_shape")
        ).shape
        return shape

    def get_modify_time(self, array_name: str) -> int | None:
        """Return the time of an array's last change, in µs since 1970; None if it is absent.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("mapping.npk") as npk:
        ...     npk.save({"x": np.zeros((2, 3))})
        ...     npk.get_modify_time("x") > 1_600_000_000_000_000, npk.get_modify_time("y")
        (True, None)
        """
        entry = self._arrays().get(exact_name(array_name, "get_modify_time"))
        return None if entry is None else entry.modified

    def get_metadata(self) -> dict[str, Any]:
        """Return a description of all arrays.

        Returns
        -------
        dict
            ``arrays``: for each name ``shape``, a list, ``dtype``, ``size_bytes``,
            ``last_modified`` (µs since 1970) and ``data_file``; ``base_dir``;
            ``total_arrays``. JSON can hold all of it.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("mapping.npk") as npk:
        ...     npk.save({"x": np.zeros((2, 3))})
        ...     x = npk.get_metadata()["arrays"]["x"]
        >>> x["shape"], x["dtype"], x["size_bytes"]
        ([2, 3], 'float64', 48)
        """
        arrays = dict(self._arrays())
        return {
            "arrays": {
                name: {
                    "shape": list(entry.shape),
                    "dtype": entry.dtype_name,
                    "size_bytes": entry.live_nbytes,
                    "last_modified": entry.modified,
                    "data_file": entry.data_file,
                }
                for name, entry in arrays.items()
            },
            "base_dir": self._filename,
            "total_arrays": len(arrays),
        }

    def info(self) -> StoreInfo:
        """Return a description of the store: its format, sizes, and who holds its lock.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("info.npk") as npk:
        ...     npk.save({"x": np.arange(4)})
        ...     npk.drop("x", 0)
        ...     found = npk.info()
        >>> found.commit, found.live_bytes, found.deleted_bytes, found.lock_holders
        (2, 24, 8, ())
        """
        return inspect(self._session())

    def get_io_stats(self) -> dict[str, int]:
        """Return counts of what this object has done since it was created.

        Returns
        -------
        dict
            ``commits``; ``bytes_read`` into newly allocated arrays; ``bytes_written``, of
            rows, journals and the log; ``mappings`` of files.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("mapping.npk") as npk:
        ...     npk.save({"x": np.zeros((2, 3))})
        ...     npk.get_io_stats()["commits"]
        1
        """
        self._session()
        return dict(self._handle.counts)
