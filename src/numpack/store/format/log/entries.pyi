from collections.abc import Callable, Mapping
from typing import Any

from .log import Log
from .state import CatalogUpdate, Entry, LogCursor

def read_entries(
    arrays: Mapping[str, Any],
    token: str,
    next_id: int,
    otherwise: Callable[[str, Any], Entry],
) -> dict[str, Entry]: ...
def apply_update(update: CatalogUpdate) -> None: ...
def apply_and_install(log: Log, cursor: LogCursor, update: CatalogUpdate) -> None: ...
