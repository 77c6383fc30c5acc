"""SciPy and PyData sparse matrices, which store only some of their elements.

Every conversion is refused, with a fix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from .._core.policy import describe, refuse, wrong_type

if TYPE_CHECKING:
    from .._core.memory import Array

LABEL = "SciPy"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS: frozenset[str] = frozenset()

# Public attributes of the sparse formats that hold elements and their positions.
_PARTS = ("data", "coords", "indices", "indptr", "offsets")


def to_numpy(obj: Any) -> NoReturn:
    """Refuse the conversion: the zeros of a sparse matrix are not stored."""
    dense = next((name for name in ("toarray", "todense") if hasattr(obj, name)), None)
    if dense is None:
        wrong_type("share", "an array", obj, "pass np.asarray(x) if it holds one")
    parts = [f"x.{name}" for name in _PARTS if _is_array(getattr(obj, name, None))]
    fix = f"pass x.{dense}()"
    if parts:
        fix += f", or share its parts: {', '.join(parts)}"
    given = f"{type(obj).__name__} of shape {obj.shape}"
    refuse("from SciPy", given, "it is sparse, and its zeros are not stored", fix)


def from_numpy(array: Array) -> NoReturn:
    """Refuse the conversion: a sparse matrix has to be built from the nonzero elements."""
    why = "a sparse matrix has another memory layout than an array"
    refuse("to SciPy", describe(array), why, "make one: scipy.sparse.csr_array(array)")


def _is_array(part: object) -> bool:
    if isinstance(part, tuple):
        return bool(part) and all(_is_array(each) for each in part)
    return hasattr(part, "dtype") and part.dtype != object
