"""Lines of a log, each ending with the checksum of the text before it."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

_TAIL = re.compile(rb',"crc32":"([0-9a-f]{8})"\}\n\Z')


def body(line: bytes) -> bytes | None:
    """Return the text of a line before its checksum."""
    found = _TAIL.search(line)
    return line[: found.start()] if found else None


def sealed(text: bytes) -> bytes:
    return text + b',"crc32":"%08x"}\n' % zlib.crc32(text)


def parsed(line: bytes) -> Any:
    text = body(line)
    if text is None:
        return None
    try:
        return json.loads((text + b"}").decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
