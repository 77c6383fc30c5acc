"""What a call returns or raises, to be compared with another one."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def outcome(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or the type and the text of its error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except Exception as error:
            return type(error), str(error)
