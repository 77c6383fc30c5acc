"""SciPy and PyData sparse: matrices of which only some elements are in memory.

There is no array to share, on either side; only the way out is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from .._core.policy import describe, refuse, wrong_type

if TYPE_CHECKING:
    from .._core.memory import Array

LABEL = "SciPy"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS: frozenset[str] = frozenset()

# What holds the elements of a format, and where they belong, as its own users know it.
_PARTS = ("data", "coords", "indices", "indptr", "offsets")


def to_numpy(obj: Any) -> NoReturn:
    """Refuse: the zeros of a sparse matrix are nowhere in memory."""
    dense = next((name for name in ("toarray", "todense") if hasattr(obj, name)), None)
    if dense is None:
        wrong_type("share", "an array", obj, "pass np.asarray(x) if it holds one")
    parts = [f"x.{name}" for name in _PARTS if _is_array(getattr(obj, name, None))]
    fix = f"pass x.{dense}()"
    if parts:
        fix += f", or share its parts: {', '.join(parts)}"
    given = f"{type(obj).__name__} of shape {obj.shape}"
    refuse("from SciPy", given, "it is sparse, and its zeros are nowhere in memory", fix)


def from_numpy(array: Array) -> NoReturn:
    """Refuse: which elements are zero is to be found out by looking at all."""
    why = "a sparse matrix holds other memory than an array does"
    refuse("to SciPy", describe(array), why, "make one: scipy.sparse.csr_array(array)")


def _is_array(part: object) -> bool:
    if isinstance(part, tuple):
        return bool(part) and all(_is_array(each) for each in part)
    return hasattr(part, "dtype") and part.dtype != object
