from collections.abc import Callable, Mapping
from typing import Any

from .state import Catalog, CatalogUpdate, Entry

def read_header_line(line: bytes) -> int: ...
def read_snapshot(data: bytes, start: int, stop: int) -> Catalog | None: ...
def read_commits(
    catalog: Catalog, data: bytes, start: int, stop: int
) -> tuple[CatalogUpdate, int, int] | None: ...
def read_entries(
    arrays: Mapping[str, Any],
    token: str,
    next_id: int,
    otherwise: Callable[[str, Any], Entry],
) -> dict[str, Entry]: ...
