"""What becomes of the arrays of a batch: objects of a framework, on a device."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError
from ..io import share
from .kernels.buffers import BufferPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..io import Target


class Output:
    """Converts the arrays of a batch.

    Parameters
    ----------
    target : str
        As of `numpack.share`.
    single : str or None
        The name of the array that is a batch by itself; ``None`` if a batch is a dict.
    transform : callable or None
        Called with every batch.
    """

    def __init__(
        self, target: Target, single: str | None, transform: Callable[[Any], Any] | None
    ) -> None:
        self._target, self._single, self._transform = target, single, transform

    def pools(self, names: Iterable[str], most: int) -> dict[str, BufferPool]:
        """Return where the memory of each array comes from."""
        return {name: BufferPool(most) for name in names}

    def __call__(self, arrays: dict[str, Any]) -> Any:
        """Return the batch of some arrays, on whose memory nothing else depends."""
        if self._single is None:
            batch = {name: self._convert(array) for name, array in arrays.items()}
        else:
            batch = self._convert(arrays[self._single])
        return batch if self._transform is None else self._transform(batch)

    def _convert(self, array: Any) -> Any:
        return share(array, self._target)


class CudaOutput(Output):
    """Copies batches to a CUDA device, from pinned memory on a stream of its own.

    Parameters
    ----------
    device : torch.device
    single, transform
        As of `Output`.
    """

    def __init__(
        self, device: Any, single: str | None, transform: Callable[[Any], Any] | None
    ) -> None:
        super().__init__("torch", single, transform)
        import torch  # noqa: PLC0415 -- only for this device

        self._torch, self._device = torch, device
        self._stream = torch.cuda.Stream(device)
        self._lock = threading.Lock()  # several passes may run in several threads
        self._copying: list[tuple[Any, Any]] = []  # an event, and the pinned memory until then

    def pools(self, names: Iterable[str], most: int) -> dict[str, BufferPool]:
        """Return where the memory of each array comes from: pinned memory."""
        return {name: BufferPool(most, _pinned) for name in names}

    def _convert(self, array: Any) -> Any:
        """Copy an array asynchronously; the consumer's stream waits for it, not its thread."""
        torch = self._torch
        with self._lock:
            self._copying = [each for each in self._copying if not each[0].query()]
        with torch.cuda.stream(self._stream):
            pinned = share(array, "torch")
            tensor = pinned.to(self._device, non_blocking=True)
            done = self._stream.record_event()
        consumer = torch.cuda.current_stream(self._device)
        consumer.wait_event(done)
        tensor.record_stream(consumer)  # it was allocated on the other stream
        with self._lock:
            self._copying.append((done, pinned))
        return tensor


def _pinned(nbytes: int) -> tuple[Any, int]:
    """Return pinned memory and its address.

    A function, not a method: the garbage collector does not see what a pool refers to.
    """
    import torch  # noqa: PLC0415 -- only for this device

    tensor = torch.empty(max(nbytes, 1), dtype=torch.uint8, pin_memory=True)
    return tensor, tensor.data_ptr()


class DeviceOutput(Output):
    """Copies batches to a device by the framework's own call."""

    def __init__(
        self,
        target: Target,
        device: Any,
        single: str | None,
        transform: Callable[[Any], Any] | None,
    ) -> None:
        super().__init__(target, single, transform)
        self._device = device

    def _convert(self, array: Any) -> Any:
        converted: Any = share(array, self._target)
        if self._target == "torch":
            return converted.to(self._device)
        import jax  # noqa: PLC0415 -- only for this target

        return jax.device_put(converted, self._device)


def make_output(
    target: Target, device: Any, single: str | None, transform: Callable[[Any], Any] | None
) -> Output:
    """Return the output for a framework and a device.

    Raises
    ------
    InvalidValueError
        The framework has no devices that numpack knows, or torch has no such device.
    """
    if device is None:
        return Output(target, single, transform)
    if target == "jax":
        return DeviceOutput(target, device, single, transform)
    if target != "torch":
        msg = f"Loader(device=) needs target='torch' or 'jax', got {target!r}; leave it out"
        raise InvalidValueError(msg)
    import torch  # noqa: PLC0415 -- only for this target

    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        msg = f"Loader(device={device!r}): {error}"
        raise InvalidValueError(msg) from None
    if found.type == "cpu":
        return Output(target, single, transform)
    if found.type != "cuda":
        return DeviceOutput(target, found, single, transform)
    if not torch.cuda.is_available():
        msg = f"Loader(device={device!r}): torch finds no CUDA device; pass device='cpu'"
        raise InvalidValueError(msg)
    return CudaOutput(found, single, transform)
