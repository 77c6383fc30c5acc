"""`Loader`: batches for training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.policy import wrong_type
from ..io import share
from .arguments import (
    as_integer,
    as_rank,
    as_window,
    check_combination,
    names_with_offsets,
    thread_count_of,
)
from .epoch.fetching import FetchAhead
from .epoch.order import Order, Sharding
from .epoch.passes import Pass
from .epoch.samples import RaggedSamples, RowSamples
from .output import make_output
from .ranks import current_rank, current_worker, register_iterable
from .source import Source, checked_names, common_length
from .state import ORDER, VERSION, check_state, describe_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from ..io import Target
    from ..store import NumPack
    from .kernels.batches import Batch
    from .source import Arrays


class Loader:
    """Iterable over batches of rows, shuffled anew in every epoch.

    The order of an epoch is a function of `seed`, the number of the epoch and the number of
    samples, the same on every machine; it is computed one index at a time and takes no memory.
    Rows are gathered by background threads into memory that becomes the tensors, and that is
    used again when a batch and everything that shares its memory are gone. In order
    (``shuffle=False``), batches of a store's arrays are views of their files where `share`
    can view them.

    Parameters
    ----------
    source : str, os.PathLike, NumPack or mapping of str to array
        The store, or arrays of equal length: lazy arrays, ndarrays, `np.memmap`, or objects
        that `numpack.share` views as NumPy arrays without a copy.
    names : str or list of str, optional
        One name makes batches that are arrays, a list makes dicts. By default all arrays.
    batch_size : int, default 256
        Samples of a batch.
    shuffle : bool, default True
    seed : int, default 0
    drop_last : bool, default False
        Leave out the samples at the end of an epoch that do not fill a batch on every rank.
        Otherwise the last batch is smaller, and if it cannot be divided evenly among the
        ranks, `padding` samples from the beginning of the epoch's order come a second time, as
        in torch's `DistributedSampler`.
    rows : slice, list, integer array or boolean mask, optional
        The samples to use, as of a training split.
    window : int, optional
        Samples are windows of so many consecutive rows, so that batches have the shape
        ``(batch, window, …)``; `rows` then has to be a slice.
    stride : int, optional
        Rows from the start of a window to that of the next; by default `window`.
    offsets : str, optional
        Name of an array of n + 1 ascending row numbers: sample i has the rows from
        ``offsets[i]`` to ``offsets[i + 1]``. Batches are dicts: the rows of all samples end to
        end, and ``"cu_seqlens"``, where each of them begins (int32, one more than samples), as
        attention of variable length takes them. Arrays with n rows give one for each sample.
    pad : scalar, optional
        With `offsets`: fill samples up to the longest one of the batch, so that batches have
        the shape ``(batch, longest, …)``.
    rank, world_size : int, optional
        The part of each batch that this process gets. By default those of `torch.distributed`
        or JAX, if initialized when a pass begins, else 0 and 1.
    target : str, default "torch"
        The framework of the batches, as of `numpack.share`.
    device : str or device, optional
        For torch and JAX. Batches for a CUDA device of torch are gathered into pinned memory
        and copied asynchronously on a stream of their own.
    transform : callable, optional
        Called with every batch, in the thread that iterates; what it returns is the batch.
    prefetch : int, default 2
        Batches that are prepared ahead; 0 starts no threads.
    threads : int, optional
        Background threads of a pass. By default one less than the CPU cores, from 1 to 4.

    Attributes
    ----------
    epoch : int
        The number of the next pass.
    batch_size : int
    drop_last : bool

    Raises
    ------
    WrongTypeError, InvalidValueError, NotFoundError, IndexRangeError
        An argument has the wrong type or value, or names no array.
    UnsupportedError
        The target cannot hold the values of an array.
    StoreError
        The store cannot be opened.

    See Also
    --------
    numpack.data.Dataset : the same arrays for a torch `DataLoader` with its own samplers.

    Notes
    -----
    An epoch reads the store as of its beginning, whatever is committed meanwhile; rows that
    are appended come with the next epoch. In the workers of a torch `DataLoader` made with
    ``batch_size=None``, each worker gives its share of the batches, all of the commit that
    the loader has read last in the main process; call `set_epoch` there before each pass.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import Loader, NumPack
    >>> with NumPack("features.npk") as npk:
    ...     npk.save({"x": np.arange(20.0).reshape(10, 2), "y": np.arange(10)})
    >>> loader = Loader("features.npk", ["x", "y"], batch_size=4, target="numpy")
    >>> [batch["x"].shape for batch in loader]
    [(4, 2), (4, 2), (2, 2)]
    >>> state = loader.state_dict()
    >>> state["epoch"], state["position"]
    (1, 0)
    """

    def __init__(  # noqa: PLR0913
        self,
        source: str | PathLike[str] | NumPack | Mapping[str, Any],
        names: str | Sequence[str] | None = None,
        *,
        batch_size: int = 256,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        rows: Any = None,
        window: int | None = None,
        stride: int | None = None,
        offsets: str | None = None,
        pad: Any = None,
        rank: int | None = None,
        world_size: int | None = None,
        target: Target = "torch",
        device: Any = None,
        transform: Callable[[Any], Any] | None = None,
        prefetch: int = 2,
        threads: int | None = None,
    ) -> None:
        self.batch_size = as_integer("batch_size", batch_size, 1)
        self.drop_last = bool(drop_last)
        self._shuffle, self._seed = bool(shuffle), as_integer("seed", seed, None)
        self._window, self._stride = as_window(window, stride)
        self._rows, self._offsets, self._pad = rows, offsets, pad
        self._rank = as_rank(rank, world_size)
        self._prefetch = as_integer("prefetch", prefetch, 0)
        self._threads = thread_count_of(threads)
        self._target, self._device, self._transform = target, device, transform
        if transform is not None and not callable(transform):
            wrong_type("Loader(transform=)", "a function", transform, "pass one, or None")
        check_combination(window=window, offsets=offsets, pad=pad)
        self._source = Source(source, names_with_offsets(names, offsets), what="Loader")
        self._arrays: Arrays = {}
        self._samples: RowSamples | RaggedSamples
        if offsets is not None:
            checked_names(offsets, list(self._source.names), "Loader")
        self._take_snapshot()
        if not (rows is None or isinstance(rows, slice)):  # these may select new rows later
            self._rows = self._samples.selected()
        self._single = names if isinstance(names, str) and offsets is None else None
        self._output = make_output(target, device, self._single, transform)
        self._check_target()
        self._next = (0, 0, 0)  # the epoch of the next pass, and how much of it is consumed
        self._consumed = self._next  # the same as of the last batch that was returned
        register_iterable(Loader)

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch, on each rank."""
        return self._sharding().count()

    def __iter__(self) -> Pass:
        """Begin the next pass over the arrays as of now.

        Returns
        -------
        iterator
            Its `close` ends the background threads before the last batch.
        """
        epoch, position, done = self._next
        if not position and not done:  # else a state was checked with the arrays
            self._take_snapshot()
        sharding, (worker, workers) = self._sharding(), current_worker()
        if position and not done and not sharding.count(position):  # the end of its epoch
            epoch, position = epoch + 1, 0
        self._next, self._consumed = (epoch + 1, 0, 0), (epoch, position, done)
        samples = self._samples

        def note(batch: Batch) -> None:
            nonlocal done
            done += 1
            if self._samples is not samples:  # a later pass has other samples, as the state
                return
            if workers > 1:  # others may have batches of this epoch left
                self._consumed = (epoch, position, done)
            else:
                self._consumed = (epoch + 1, 0, 0) if batch.is_last else (epoch, batch.end, 0)

        order = Order(samples.count, self._seed, epoch, shuffle=self._shuffle)
        batches: Any = sharding.batches(position, worker + done * workers, workers)
        samples.prepare()
        return Pass(
            samples,
            order,
            batches if samples.is_local else FetchAhead(batches, order, samples),
            self._output,
            hold=self._source.hold,
            prefetch=self._prefetch,
            threads=self._threads,
            note=note,
        )

    def __repr__(self) -> str:
        """Return the arrays, and how many samples and batches an epoch has."""
        names = ", ".join(self._samples.names)
        padding = f", {self.padding} of them twice" if self.padding else ""
        return (
            f"Loader({names}: {self._samples.count:,} samples{padding}, "
            f"{len(self):,} batches of {self.batch_size:,})"
        )

    def _repr_html_(self) -> str:
        from .._core.html import table  # noqa: PLC0415 -- needed in notebooks only

        chosen = [(name, self._arrays[name]) for name in self._samples.names]
        rows = [(name, str(array.dtype), str(array.shape)) for name, array in chosen]
        return table(repr(self), rows, ("array", "dtype", "shape"))

    @property
    def epoch(self) -> int:
        """Number of the next pass."""
        return self._next[0]

    @property
    def padding(self) -> int:
        """Samples of an epoch that come twice, so that all ranks have equally many.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import Loader
        >>> x = {"x": np.arange(10)}
        >>> Loader(x, batch_size=2, rank=0, world_size=4, target="numpy").padding
        2
        """
        return self._sharding().padding()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass, as of torch's `DistributedSampler`.

        Without it, each pass is the next epoch. The position of a loaded state is kept if it is
        in this epoch.

        Parameters
        ----------
        epoch : int

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import Loader
        >>> loader = Loader({"x": np.arange(6)}, "x", batch_size=6, target="numpy")
        >>> first = next(iter(loader))
        >>> loader.set_epoch(0)
        >>> bool((next(iter(loader)) == first).all())
        True
        """
        epoch = as_integer("epoch", epoch, 0)
        if epoch != self._next[0]:
            self._next = (epoch, 0, 0)
        self._consumed = self._next

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last batch that was returned, in types of JSON.

        Batches that were only prefetched do not count.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import Loader
        >>> def make():
        ...     return Loader({"x": np.arange(6)}, "x", batch_size=2, target="numpy")
        >>> loader = make()
        >>> batches = iter(loader)
        >>> first, state = next(batches), loader.state_dict()
        >>> resumed = make()
        >>> resumed.load_state_dict(state)
        >>> all((a == b).all() for a, b in zip(batches, resumed, strict=True))
        True
        """
        epoch, position, done = self._consumed
        return {**self._own_state(), "epoch": epoch, "position": position, "batches": done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin the next pass after the batch at which a state was taken.

        The state may come from a loader with another `batch_size` or number of ranks; the rest
        of the epoch is divided anew, and each sample still comes once. Nothing is read.

        Parameters
        ----------
        state : dict
            Made by `state_dict`; all ranks load that of any of them.

        Raises
        ------
        InvalidValueError
            The state does not fit: another seed, other arrays, another number of samples.
        """
        before = self._samples, self._arrays
        self._take_snapshot()
        try:
            epoch, position, done = check_state(state, self._own_state())
        except BaseException:
            self._samples, self._arrays = before  # of the pass that the own state is of
            raise
        if position and not done and not self._sharding().count(position):
            epoch, position = epoch + 1, 0
        self._next = self._consumed = (epoch, position, done)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the arguments and the last snapshot, stored arrays by reference."""
        state = self.__dict__.copy()
        state["_rank"] = self._rank or current_rank()
        del state["_samples"], state["_arrays"], state["_output"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled loader."""
        self.__dict__.update(state)
        self._arrays = {}
        self._take_snapshot()
        self._output = make_output(self._target, self._device, self._single, self._transform)
        register_iterable(Loader)

    def _own_state(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "order": ORDER,
            "shuffle": self._shuffle,
            "seed": self._seed,
            "samples": self._samples.count,
            "arrays": describe_arrays(self._arrays),
            **self._samples.to_state(),
            "worker": self._worker_state(),
        }

    def _worker_state(self) -> dict[str, int] | None:
        """Return on which arguments it depends which batches a worker gets."""
        worker, workers = current_worker()
        if workers == 1:
            return None
        sizes = {"batch_size": self.batch_size, "world_size": self._sharding().world_size}
        return {"number": worker, "workers": workers, **sizes}

    def _sharding(self) -> Sharding:
        rank, world_size = self._rank or current_rank() or (0, 1)
        return Sharding(self._samples.count, self.batch_size, rank, world_size, self.drop_last)

    def _take_snapshot(self) -> None:
        """Find the arrays as of now, and the samples in them."""
        arrays = self._source.snapshot()
        known = self._arrays
        if known and all(arrays[name] is known.get(name) for name in arrays):
            return
        self._samples = self._samples_of(arrays)
        self._arrays = arrays

    def _samples_of(self, arrays: Arrays) -> RowSamples | RaggedSamples:
        if self._offsets is not None:
            rest = {name: array for name, array in arrays.items() if name != self._offsets}
            return RaggedSamples(rest, arrays[self._offsets], self._rows, self._pad)
        common_length(arrays, "Loader")
        return RowSamples(arrays, self._rows, self._window, self._stride)

    def _check_target(self) -> None:
        """Refuse what the target cannot hold, before a batch is asked for."""
        for name, array in self._arrays.items():
            if name in self._samples.names:
                share(np.empty((0, *array.shape[1:]), array.dtype), self._target, copy=True)
