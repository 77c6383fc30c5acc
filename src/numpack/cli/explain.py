"""``numpack explain``: whether an array of a file reaches a framework without a copy."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NotFoundError
from ._errors import UsageError
from ._protocol import FOUND, OK
from ._stores import add_options, address, is_url, key_value, reading
from ._text import escaped

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

    from .._core.policy import Route, Step
    from ._output import Output
    from ._stores import Address

HELP = "explain whether an array of a file reaches a framework without a copy, and why"
DESCRIPTION = (
    "SOURCE is FILE:NAME: an array of a store, a tensor of a .safetensors file, a column of "
    "a .parquet file, and so on; without a name, the only one that the file has. Stores, "
    ".npy and .safetensors files are mapped; the others are decoded into memory first."
)
EXAMPLES = """
numpack explain features.npk:x torch
numpack explain --exit-code features.npk:flag arrow numpy
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", metavar="SOURCE", help="FILE:NAME")
    parser.add_argument(
        "targets", nargs="+", metavar="TARGET", help="framework: torch, jax, arrow, polars, …"
    )
    parser.add_argument(
        "--exit-code", action="store_true", help="exit with 1 if memory is not shared with all"
    )
    parser.add_argument(
        "--read-option",
        action="append",
        default=[],
        type=key_value,
        metavar="KEY=VALUE",
        help="of the file's format, such as dtype=uint16 of .bin; may be repeated",
    )
    add_options(parser)


def run(options: argparse.Namespace, output: Output) -> int:
    """Explain the conversion to each framework."""
    with _array(address(options.source), options, output) as (array, steps):
        routes = [_route(array, steps, target) for target in options.targets]
    if output.as_json:
        output.json([_as_json(route) for route in routes])
    else:
        for route in routes:
            _write(route, output)
    shared = all(route.shares_memory for route in routes)
    return FOUND if options.exit_code and not shared else OK


def _route(array: Any, steps: tuple[Step, ...], target: Any) -> Route:
    from .._core.policy import Route  # noqa: PLC0415
    from ..io import explain  # noqa: PLC0415

    found = explain(array, target)
    return Route.of(found.source, found.target, (*steps, *found.steps))


def _write(route: Route, output: Output) -> None:
    output.heading(f"{route.source} -> {route.target}: {route.verdict}")
    for step in route.steps:
        output.pairs([("  ", escaped(str(step)))])


def _as_json(route: Route) -> dict[str, Any]:
    return {
        "source": route.source,
        "target": route.target,
        "shares_memory": route.shares_memory,
        "supported": route.supported,
        "nbytes": route.nbytes,
        "reason": route.reason,
        "fix": route.fix,
        "steps": [
            {name: getattr(step, name) for name in type(step).__dataclass_fields__}
            for step in route.steps
        ],
    }


@contextlib.contextmanager
def _array(
    source: Address, options: argparse.Namespace, output: Output
) -> Iterator[tuple[Any, tuple[Step, ...]]]:
    """Yield an array of a file, mapped if its format can be, and how it was read."""
    from ..formats import of_path  # noqa: PLC0415 -- imports the store

    kind = "npk" if is_url(source.store) else of_path(Path(source.store)).name
    if kind == "npk":
        with reading(source.store, options) as store:
            yield store.load(_only(source, store), lazy=True), ()
    elif kind == "npy":
        _only(source, [Path(source.store).stem])
        yield _mapped_npy(source), ()
    elif kind == "safetensors":
        from ..io import SafetensorsFile  # noqa: PLC0415

        with SafetensorsFile(source.store) as file:
            yield file[_only(source, file)], ()
    else:
        with output.progress(f"read {source.store}") as bar:
            found = _decoded(source, dict(options.read_option), bar.update)
        yield found


def _mapped_npy(source: Address) -> Any:
    import numpy as np  # noqa: PLC0415

    from ..errors import InvalidValueError  # noqa: PLC0415

    try:
        return np.load(source.store, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise InvalidValueError(f"{source.store} cannot be mapped: {error}") from error


def _decoded(
    source: Address,
    given: dict[str, Any],
    progress: Callable[[int, int | None], object] | None,
) -> tuple[Any, tuple[Step, ...]]:
    """Return an array like one that has to be decoded, and the step that does it.

    The array has its dtype and shape, and no values. Some formats tell the number of rows only
    when all of them were read.
    """
    import numpy as np  # noqa: PLC0415

    from .._core.policy import Step  # noqa: PLC0415
    from ..formats import of_path  # noqa: PLC0415

    path = Path(source.store)
    module = of_path(path).module()
    with contextlib.closing(module.open_source(path, **given)) as opened:
        name = _only(source, opened.arrays)
        info = opened.arrays[name]
        rows, nbytes = 0, 0
        for part in () if None not in info.shape else opened.parts([name], together=False):
            rows, nbytes = rows + len(part[name]), nbytes + part[name].nbytes
            if progress is not None:
                progress(nbytes, None)
        shape = tuple(rows if extent is None else extent for extent in info.shape)
        array = np.zeros(shape, info.dtype)  # whose pages are not touched
    reason = f"{module.LABEL} is decoded into memory"
    fix = f"map a store instead: numpack convert {source.store} {path.stem}.npk"
    return array, (Step(f"from {module.LABEL}", "copied", array.nbytes, reason, fix),)


def _only(source: Address, names: Iterable[str]) -> str:
    """Return the name that was given, or that of the only array."""
    known = list(names)
    if source.name in known or (not source.name and len(known) == 1):
        return source.name or known[0]
    listed = ", ".join(map(repr, known[:20])) or "none"
    if source.name:
        msg = f"{source.store} has no array {source.name!r}; its arrays are: {listed}"
        raise NotFoundError(msg)
    msg = f"{source.store} has several arrays; write {source.store}:NAME, of: {listed}"
    raise UsageError(msg)
