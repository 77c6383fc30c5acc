from collections.abc import Callable, Mapping
from typing import Any

from ..state import Entry

def read_entries(
    arrays: Mapping[str, Any],
    token: str,
    next_id: int,
    otherwise: Callable[[str, Any], Entry],
) -> dict[str, Entry]: ...
