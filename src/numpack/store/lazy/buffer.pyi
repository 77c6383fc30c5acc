from typing import Any

from ...errors import ZeroCopyError

UNLINKED_REASON: str

class NotSharedError(ZeroCopyError, AttributeError): ...

class BufferExporter:
    def __buffer__(self, flags: int, /) -> memoryview: ...
    @property
    def __array_interface__(self) -> dict[str, Any]: ...
