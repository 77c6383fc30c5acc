"""Ids of parameters."""

from __future__ import annotations

import re


def stable_repr(value: object) -> str:
    """Return the `repr` of a value without addresses, which differ between test processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
