"""ZIP archives that are made by hand, to lie about any of their numbers."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

LOCAL = "<4s5H3L2H"
RECORD = "<4s6H3L5H2L"


class Member(NamedTuple):
    """A file, and what its headers claim of it; ``None`` is the truth."""

    name: bytes
    data: bytes
    size: int | None = None
    packed: int | None = None
    crc: int | None = None
    method: int = 0
    flags: int = 0
    offset: int | None = None
    made_by: int = 3 << 8
    attributes: int = 0o100644 << 16
    disk: int = 0
    local_name: bytes | None = None
    local_method: int | None = None
    align: int = 4096
    gap: int = 0
    comment: bytes = b""
    extra: bytes = b""


def archive(*members: Member, count: int | None = None, tail: bytes = b"") -> bytes:
    """Return an archive of members, which are aligned by extra fields if they are rows."""
    body, records = b"", b""
    for each in members:
        body += bytes(each.gap)
        crc = zlib.crc32(each.data) if each.crc is None else each.crc
        size = len(each.data) if each.size is None else each.size
        packed = len(each.data) if each.packed is None else each.packed
        offset = len(body) if each.offset is None else each.offset
        name = each.name if each.local_name is None else each.local_name
        extra = b""
        if name.endswith(b".bin") and each.align > 1:
            length = -(len(body) + 30 + len(name) + 4) % each.align
            extra = struct.pack("<2H", 0xD935, length) + bytes(length)
        method = each.method if each.local_method is None else each.local_method
        numbers = method, 0, 33, crc, packed, size
        lengths = len(name), len(extra)
        body += struct.pack(LOCAL, b"PK\3\4", 20, each.flags, *numbers, *lengths) + name + extra
        body += each.data
        numbers = each.method, 0, 33, crc, packed, size
        lengths = len(each.name), len(each.extra), len(each.comment)
        records += struct.pack(
            RECORD,
            b"PK\1\2",
            each.made_by | 20,
            20,
            each.flags,
            *numbers,
            *lengths,
            each.disk,
            0,
            each.attributes,
            offset,
        )
        records += each.name + each.extra + each.comment
    number = len(members) if count is None else count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, number, number, len(records), len(body), 0)
    return body + tail + records + end


def members_of(path: str) -> list[Member]:
    """Return the members of a package that is not compressed."""
    import zipfile

    with zipfile.ZipFile(path) as package:
        return [
            Member(info.filename.encode(), package.read(info)) for info in package.infolist()
        ]


def rewrite(path: str, target: str, **changes: dict) -> None:
    """Write an archive again with changes of the members whose names end so."""
    found = []
    for each in members_of(path):
        for end, fields in changes.items():
            if each.name.decode().endswith(end):
                each = each._replace(**fields)
        found.append(each)
    Path(target).write_bytes(archive(*found))
