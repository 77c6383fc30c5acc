from typing import Any

from .._core.memory import Array

def view_arrow(exported: tuple[Any, Any]) -> Array | None: ...
