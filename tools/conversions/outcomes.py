"""What happens to one array on its way to one framework, explained and run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from numpack._core.mapped_files import COPY_ON_WRITE
from numpack.doctor import probe as probes
from numpack.io import explain

if TYPE_CHECKING:
    from numpack._core.policy import Route
    from numpack.io import Target

SHARED, MAPPED_AGAIN, COPIED, REFUSED = "shared", COPY_ON_WRITE, probes.COPIED, probes.REFUSED
_DESCRIPTION = re.compile(r"^.* of shape \([\d, ]*\), and ")
VERDICTS = (SHARED, MAPPED_AGAIN, COPIED, REFUSED)


class Outcome(NamedTuple):
    """The outcome of a conversion.

    Attributes
    ----------
    verdict : str
        One of `VERDICTS`.
    nbytes : int
        Number of bytes copied.
    obstacles : tuple of (str, str)
        The reason and the fix of each step that does not share memory.
    caution : str
        The warning although memory is shared, without the array's dtype and shape.
    """

    verdict: str
    nbytes: int
    obstacles: tuple[tuple[str, str], ...]
    caution: str


def outcome_of(route: Route) -> Outcome:
    """Summarize a route."""
    if not route.supported:
        verdict = REFUSED
    elif not route.shares_memory:
        verdict = COPIED
    elif any(step.action == COPY_ON_WRITE for step in route.steps):
        verdict = MAPPED_AGAIN
    else:
        verdict = SHARED
    obstacles = tuple((step.reason, step.fix) for step in route.steps if step.reason)
    return Outcome(verdict, route.nbytes, obstacles, _caution(route))


def outcome(x: Any, target: str) -> Outcome:
    """Return the outcome of a conversion as `explain` predicts it."""
    return outcome_of(explain(x, cast("Target", target)))


def contradiction(x: Any, source: str, target: str, predicted: Outcome) -> str:
    """Convert, and describe how the result differs from the prediction, or return ``""``."""
    found = probes.probe(x, source, cast("Target", target), timed=False)
    shares = SHARED if predicted.verdict == MAPPED_AGAIN else predicted.verdict
    if found.confirmed is not False and found.verdict == shares:
        return ""
    return f"{source} to {target}: {predicted}, but it was {found}"


def _caution(route: Route) -> str:
    """Return the text of a caution after the description of the array."""
    return _DESCRIPTION.sub("", route.cautions[0]) if route.cautions else ""
