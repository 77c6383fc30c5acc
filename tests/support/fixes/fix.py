"""A fix: an object that cannot be shared, and the code of the message."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Fix(NamedTuple):
    """An object, the target of its conversion, and the code that the message names.

    In `code`, arguments replace the ellipses and placeholders of the message.
    """

    make: Any
    target: str
    code: str
    want: Any = None
    options: Mapping[str, Any] = MappingProxyType({})
    then: Mapping[str, Any] = MappingProxyType({})
