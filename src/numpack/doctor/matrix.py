"""The page that tells, for the versions installed here, what is shared: dtype × layout.

Every cell was done: the array was handed over, and where its memory can be looked at from
both sides it was compared with what `explain` had said.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._core import dtypes
from .._core.memory import aligned_copy, aligned_empty
from ..errors import NumpackError
from ..io import frameworks, share
from .probe import COPIED, REFUSED, SHARED, Probe, import_failure, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._core.memory import Array
    from ..io import Target

MARKS = {SHARED: "●", COPIED: "○", REFUSED: "×"}
SHAPE = (4, 6)
DTYPES = (
    *(row.numpy for row in dtypes.DTYPES),
    *("datetime64[D]", "datetime64[s]", "datetime64[ms]", "datetime64[us]", "datetime64[ns]"),
    *("timedelta64[s]", "timedelta64[ms]", "timedelta64[us]", "timedelta64[ns]"),
    *("longdouble", "S5", "U5", "V3", "struct", "object", "string"),
)
_PAIRS = ("float32", "float64", "bool", "bfloat16", "datetime64[ns]")
_STRUCT = np.dtype([("a", "<i4"), ("b", "<f8")])


class Layout(NamedTuple):
    """A way in which an array can lie: a short name, and what it means."""

    name: str
    meaning: str


LAYOUTS = (
    Layout("C", "contiguous in C order, on a 64-byte boundary"),
    Layout("1-D", "of one axis"),
    Layout("0-D", "of none"),
    Layout("empty", "without elements"),
    Layout("F", "contiguous in Fortran order: a transposed array"),
    Layout("step", "every second element"),
    Layout("neg", "backwards: negative strides"),
    Layout("bcast", "broadcast: a stride of 0"),
    Layout("swap", "not in native byte order"),
    Layout("off", "aligned to its items, not to 64 bytes"),
    Layout("odd", "not aligned to its items"),
    Layout("ro", "read-only"),
    Layout("map", "a file mapped read-only"),
    Layout("mask", "a masked array"),
)


def page() -> str:
    """Give the page in Markdown."""
    usable = [each for each in frameworks() if each.installed and not import_failure(each.name)]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arrays = {
            name: {layout.name: lain(name, layout.name, Path(folder)) for layout in LAYOUTS}
            for name in DTYPES
        }
        sections = [_section(each.name, arrays) for each in usable if each.name != "numpy"]
        pairs = [_pairs(name, [each.name for each in usable]) for name in _PAIRS]
    versions = ", ".join(f"{each.name} {each.version}" for each in usable if each.version)
    legend = "\n".join(f"- `{layout.name}`: {layout.meaning}" for layout in LAYOUTS)
    return (
        "\n\n".join([_HEAD.format(versions=versions, legend=legend), *pairs, *sections]) + "\n"
    )


_HEAD = """# What is shared, and what is not

Made by `numpack matrix`, which did every hand-over of this page and compared the memory with
what `explain` had said, with {versions}.

● shares memory · ○ copies, with `CopyWarning` · × is refused. The layouts:

{legend}"""


def values(name: str) -> Array:
    """Give an array of a dtype, in C order on a 64-byte boundary, whose values are easy."""
    if name == "struct":
        return aligned_copy(np.ones(SHAPE, _STRUCT))
    dtype = np.dtypes.StringDType() if name == "string" else dtypes.of_extension(name)
    return aligned_copy(np.ones(SHAPE, "i8").astype(dtype or np.dtype(name)))


def _read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


_PLAIN_VIEWS: dict[str, Callable[[Array], Array]] = {
    "C": lambda array: array,
    "1-D": lambda array: array.reshape(-1),
    "0-D": lambda array: aligned_copy(array[0, 0, ...]),
    "empty": lambda array: array[:0],
    "F": lambda array: array.T,
    "step": lambda array: array[:, ::2],
    "neg": lambda array: array[::-1],
    "bcast": lambda array: np.broadcast_to(array[0], SHAPE),
    "ro": _read_only,
    "mask": lambda array: np.ma.MaskedArray(array, mask=np.eye(*SHAPE, dtype=bool)),
}


def lain(name: str, layout: str, folder: Path) -> Array | None:
    """Lay an array of a dtype out; ``None`` where NumPy has no such array."""
    array = values(name)
    if layout in _PLAIN_VIEWS:
        return _PLAIN_VIEWS[layout](array)
    if array.dtype.hasobject:
        return None  # its elements are no plain bytes
    if layout == "map":
        return _mapped(array, folder / name)
    if layout == "swap":
        swapped = array.astype(array.dtype.newbyteorder("S"))
        return None if swapped.dtype.isnative or array.itemsize == 1 else swapped
    return _shifted(array, 1 if layout == "odd" else array.dtype.alignment)


def _mapped(array: Array, path: Path) -> Array:
    path.write_bytes(array.tobytes())
    return np.memmap(path, array.dtype, "r", shape=SHAPE)


def _shifted(array: Array, shift: int) -> Array:
    raw = aligned_empty((array.nbytes + shift,), np.dtype("u1"))
    moved = raw[shift:].view(array.dtype).reshape(SHAPE)
    moved[...] = array
    return moved


def _section(framework: Target, arrays: dict[str, dict[str, Array | None]]) -> str:
    """Tell what goes to a framework, dtype × layout, and what comes back as it went."""
    rows: dict[tuple[str, ...], list[str]] = {}
    reasons: dict[str, None] = {}
    for name, lying in arrays.items():
        found = [_probed(array, framework) for array in lying.values()]
        found.append(_back(lying["1-D"], framework))
        rows.setdefault(tuple(map(_mark, found)), []).append(name)
        reasons |= {_sentence(each): None for each in found if each is not None and each.reason}
    table: list[str] = []
    if len(reasons) > 1:  # it takes something
        named = ([", ".join(names), *cells] for cells, names in rows.items())
        table = _table(["dtype", *(layout.name for layout in LAYOUTS), "back"], named)
    return "\n".join([f"## {framework}\n", *table, *(f"- {each}" for each in reasons)])


def _probed(array: Array | None, framework: Target) -> Probe | None:
    return None if array is None else probe(array, "numpy", framework, timed=False)


def _back(array: Array | None, framework: Target) -> Probe | None:
    try:
        return probe(share(array, framework), framework, "numpy", timed=False)
    except NumpackError:
        return None


def _pairs(name: str, usable: list[Target]) -> str:
    """Tell what goes from each framework to each other, for one dtype."""
    array = values(name).reshape(-1)
    rows: dict[str, list[Probe]] = {}
    for source in usable:
        try:
            held = share(array, source)
        except NumpackError:
            continue
        rows[source] = [probe(held, source, target, timed=False) for target in usable]
    taken = {p.target for probes in rows.values() for p in probes if p.verdict != REFUSED}
    cells = (
        [source, *(_mark(each) for each in probes if each.target in taken)]
        for source, probes in rows.items()
    )
    table = _table(["from / to", *(target for target in usable if target in taken)], cells)
    return "\n".join([f"## {name}, of one axis, from any to any\n", *table]).rstrip()


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [*map(_row, (head, ["---"] * len(head), *rows)), ""]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mark(probe: Probe | None) -> str:
    """Give a cell: empty where there is no such array, and loud where `explain` was wrong."""
    if probe is None:
        return " "
    return "**!!**" if probe.confirmed is False else MARKS[probe.verdict]


def _sentence(probe: Probe) -> str:
    what = "copied" if probe.verdict == COPIED else "refused"
    return f"{what}: {probe.reason}; {probe.fix}" if probe.fix else f"{what}: {probe.reason}"
