from collections.abc import Callable, Mapping
from typing import Any

from ..format.catalog import CatalogUpdate, Entry
from ..format.log import Log
from ..format.log_reader import LogCursor

def read_entries(
    arrays: Mapping[str, Any],
    token: str,
    next_id: int,
    entry_class: type[Entry],
    otherwise: Callable[[str, Any], Entry],
) -> dict[str, Entry]: ...
def apply_update(update: CatalogUpdate) -> None: ...
def apply_and_install(log: Log, cursor: LogCursor, update: CatalogUpdate) -> None: ...
