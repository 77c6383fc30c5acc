"""Lists and tuples of arrays: stack into one array, which is a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.memory import aligned_empty, preview
from .._core.policy import Obstacle, Plan, refuse, wrong_type
from . import fix_for, of_object

if TYPE_CHECKING:
    from .._core.memory import Array

LABEL = "sequence"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS: frozenset[str] = frozenset()


def to_numpy(obj: Any) -> Plan[Array]:
    """Plan the conversion from a list of arrays of one shape and dtype to a NumPy array."""
    plans = [_plan(each) for each in obj]
    previews = [preview(plan) for plan in plans]
    specs = list(dict.fromkeys((each.dtype, each.shape) for each in previews))
    given = f"{type(obj).__name__} of {len(plans):,} arrays"
    if len(specs) > 1:
        (one, first), (other, second), *_ = specs
        why = f"they differ: {one} of shape {first} and {other} of shape {second}"
        fix = "share them one by one, or bring them to one shape and dtype first"
        refuse("from sequence", given, why, fix)
    dtype, shape = specs[0]
    masked = any(isinstance(each, np.ma.MaskedArray) for each in previews)

    def stack() -> Array:
        fresh = aligned_empty((len(plans), *shape), dtype)
        arrays = [plan.result() for plan in plans]
        for row, array in enumerate(arrays):
            fresh[row] = np.ma.getdata(array)
        if not masked:
            return fresh
        return np.ma.MaskedArray(fresh, mask=np.stack(list(map(np.ma.getmaskarray, arrays))))

    return Plan(
        direction="from sequence",
        describe=lambda: given,
        nbytes=sum(each.nbytes for each in previews),
        result=stack,
        independent=stack,
        obstacle=Obstacle(
            "each of its arrays has memory of its own",
            "keep them as one array: numpack.share(x, 'numpy', copy=True)",
        ),
        result_spec=None if masked else ((len(plans), *shape), dtype),
    )


def _plan(array: Any) -> Plan[Array]:
    owner = of_object(array)
    if owner is None:  # the list changed since it was checked
        wrong_type("share", "a list or tuple of arrays", array, fix_for(array))
    plan: Plan[Array] = owner.module().to_numpy(array)
    return plan
