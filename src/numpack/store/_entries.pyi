from collections.abc import Callable, Mapping
from typing import Any

from .state import Entry

def entries_of(
    arrays: Mapping[str, Any],
    token: str,
    next_id: int,
    entry_class: type[Entry],
    otherwise: Callable[[str, Any], Entry],
) -> dict[str, Entry]: ...
