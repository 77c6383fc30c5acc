"""Fixes that messages name, each with an object that provokes the message."""

from __future__ import annotations

from support.fixes import arrays, columns, objects
from support.fixes.fix import Fix

FIXES = {**objects.FIXES, **arrays.FIXES, **columns.FIXES}
assert len(FIXES) == sum(len(each.FIXES) for each in (objects, arrays, columns))

__all__ = ["FIXES", "Fix"]
