from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# Whatever has a C-contiguous buffer; buffers are typed from Python 3.12 on.
Buffer: TypeAlias = bytes | bytearray | memoryview | NDArray[np.generic]
Writable: TypeAlias = bytearray | memoryview | NDArray[np.generic]

BLOCK: int

def crc32(data: Buffer, start: int = 0) -> int: ...
def combine_crc32(first: int, second: int, length: int) -> int: ...
def checksum_blocks(data: Buffer, threads: int) -> tuple[bytes, int]: ...
def write_checksummed(
    descriptor: int, data: Buffer, offset: int, tail: int
) -> tuple[bytes, int]: ...
def read_into(descriptor: int, buffer: Writable, offset: int, threads: int) -> int: ...
