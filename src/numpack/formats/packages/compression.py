"""Compression of packages for transport, by zstandard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._core.requirements import require
from ...errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..._core.memory import Array

_PART = 1 << 20  # bytes that are decompressed at a time
_RATIO = (1 << 17) // 4  # of a frame whose blocks, of up to 128 KiB, are each one repeated byte


def checked_method(compress: Any) -> bool:
    """Return whether to compress; raise if it is not known how."""
    if compress not in (None, "zstd"):
        msg = f"compress must be None or 'zstd', not {compress!r}"
        raise InvalidValueError(msg)
    return compress is not None


def zstandard() -> Any:
    """Return the library.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    require("compress='zstd'", "zstandard>=0.22", "numpack[zstd]")
    import zstandard  # noqa: PLC0415 -- on demand

    return zstandard


def compressed(chunks: Iterable[Array], nbytes: int) -> Iterator[bytes]:
    """Yield one frame of the bytes of all chunks."""
    compressor = zstandard().ZstdCompressor(write_checksum=False).compressobj(size=nbytes)
    for chunk in chunks:
        yield compressor.compress(chunk)
    yield compressor.flush()


def decompressed(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    """Yield the content of a frame, no more than its size.

    Parameters
    ----------
    read : callable
        Returns up to so many of the next bytes of the frame.
    size : int

    Raises
    ------
    ValueError
        It is damaged, or has another size.
    """
    library = zstandard()
    reader = library.ZstdDecompressor().stream_reader(_Input(read), read_size=_PART)
    left = size
    try:
        while part := reader.read(_PART):
            left -= len(part)
            if left < 0:
                break
            yield part
    except library.ZstdError as error:
        raise ValueError(f"it cannot be decompressed ({error})") from None
    if left:
        raise ValueError(f"it does not have the {size:,} bytes that its record says")


def largest_size(packed: int) -> int:
    """Return a bound for what so many bytes may be decompressed to."""
    return packed * _RATIO


class _Input:
    """What zstandard reads from."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read = read
