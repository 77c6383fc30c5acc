"""The fix of a conversion as code, which has been run.

A fix is a sentence with code in it. Each rule takes lines of code from sentences of a form; the
lines count only if the conversion shares memory after them, or is supported where it was
refused.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from numpack.errors import CopyWarning, NumpackError
from numpack.io import explain, share

from .outcomes import COPIED, REFUSED, SHARED, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpack.io import Target

TARGET = "%T"  # the name of the target in code, which is the same for several targets
SHARE = f'y = numpack.share(x, "{TARGET}", copy=False{{options}})'
COPY = f'y = numpack.share(x, "{TARGET}", copy=True)  # one copy; keep y'
_TO_NUMPY = 'x = numpack.share(x, "numpy", copy=False)'


class Rule(NamedTuple):
    """How the code of a fix is written.

    Attributes
    ----------
    pattern : str
        A regular expression that is searched for in the fix.
    lines : str
        Lines that change `x`, a template for `re.Match.expand`.
    options : str
        Options of `share`.
    is_complete : bool
        Whether the lines make `y`, in place of `share`.
    """

    pattern: str
    lines: str
    options: str = ""
    is_complete: bool = False


_ALIGNED = ("jax", "tensorflow", "onnxruntime")  # which share memory at multiples of 64 bytes
_ALIGN = "x = numpack.ZeroCopyArray(x, copy=True)"
_X64 = 'jax.config.update("jax_enable_x64", True)'
RULES = (
    Rule(r"type=pa\.bool8\(\)", "", ", type=pa.bool8()"),
    Rule(r"order='K'", "", ', order="K"'),
    Rule(r"nulls='mask'", "", ', nulls="mask"'),
    Rule(r"as array\.view\('i8'\), after jax", f'{_X64}\nx = x.view("i8")'),
    Rule(r"jax_enable_x64", _X64),
    Rule(r"newbyteorder", 'x = x.astype(x.dtype.newbyteorder("="))'),
    Rule(r"np\.ascontiguousarray\(array\)", "x = np.ascontiguousarray(x)"),
    Rule(r"numpack\.ZeroCopyArray\(array", _ALIGN),
    Rule(r"array\.copy\(\)", "x = x.copy()"),
    Rule(r"keep it as (\w+)\[(\w+)\]", r'x = x.astype("\1[\2]")'),
    Rule(r"keep it as (pl\.\w+\('\w+'\))", r"x = x.cast(\1)"),
    Rule(r"keep the dates as pa\.date64", "x = x.cast(pa.timestamp('ms'))"),
    Rule(r"keep them as pa\.bool8", "x = x.cast(pa.int8()).cast(pa.bool8())"),
    Rule(r"keep it as (float32|int8) or wider", r"x = x.astype(np.\1)"),
    Rule(r"array\.filled\((np\.\w+\('NaT'\))\)", r"x = x.filled(\1)"),
    Rule(r"array\.filled\(value\)", "x = x.filled(0)  # or another value"),
    Rule(r"array\['a'\]", 'x = x["a"]'),
    Rule(r"array\.view\('u1'\)\.reshape", 'x = x.view("u1").reshape(len(x), -1)'),
    Rule(r"array\.(view|reshape)\(('\w+'|1)\)", r"x = x.\1(\2)"),
    Rule(r"array\.astype\((np\.\w+|object)\)", r"x = x.astype(\1)"),
    Rule(r"np\.array\(array\.tolist\(\)\)", "x = np.array(x.tolist())"),
    Rule(r"numpy\.array\(x\)", "x = np.array(x)"),
    Rule(r"np\.stack\(array\)", "x = np.stack(x)"),
    Rule(r"np\.stack\(\[x\.real, x\.imag\], -1\)", "x = np.stack([x.real, x.imag], -1)"),
    Rule(r"np\.frombuffer\(array\.tobytes", 'x = np.frombuffer(x.tobytes(), "u1")'),
    Rule(r"cast it to pl\.UInt8", "x = x.cast(pl.UInt8)"),
    Rule(r"Arrow type that Polars uses: (\w+)$", r"x = x.cast(pa.\1())"),
    Rule(r"Arrow type that Polars uses: (\w+)\[(\w+)\]$", r'x = x.cast(pa.\1("\2"))'),
    Rule(r"column\.cast\(pa\.int64\(\)\)", "x = x.cast(pa.int64())"),
    Rule(r"tensor\.(to_dense\(\))", r"x = x.\1"),
    Rule(r"tensor\.(resolve_conj\(\)\.resolve_neg\(\))", r"x = x.\1"),
    Rule(r"array\.storage", "x = x.storage"),
    Rule(r"series\.rechunk\(\)", "x = x.rechunk()"),
    Rule(r"relation\.to_arrow_table\(\)", "x = x.to_arrow_table().column(0).chunk(0)"),
    Rule(r"scipy\.sparse\.csr_array", "y = scipy.sparse.csr_array(x)", is_complete=True),
    Rule(
        r"safetensors\.numpy\.save_file",
        'safetensors.numpy.save_file({"x": np.asarray(x, order="C")}, "x.safetensors")',
        is_complete=True,
    ),
    Rule(r"tf\.constant\(array", "y = tf.constant(x.tolist())", is_complete=True),
    Rule(
        r"array\.chunk\(i\)",
        f'ys = [numpack.share(each, "{TARGET}", copy=False) for each in x.chunks]',
        is_complete=True,
    ),
)
MODULES = {
    "jax": "jax",
    "np": "numpy",
    "numpack": "numpack",
    "pa": "pyarrow",
    "pl": "polars",
    "safetensors": "safetensors.numpy",
    "scipy": "scipy.sparse",
    "tf": "tensorflow",
}


class _Candidate(NamedTuple):
    """Code that may be a fix: lines that change `x`, and the options of `share` after them."""

    lines: tuple[str, ...]
    options: str = ""
    is_complete: bool = False

    def code(self, last: str = SHARE) -> str:
        """Return the whole code."""
        end = () if self.is_complete else (last.format(options=self.options),)
        return "\n".join([*self.lines, *end])

    def after(self, *lines: str) -> _Candidate:
        """Return the candidate with lines before its own."""
        return self._replace(lines=(*lines, *self.lines))

    def and_then(self, *lines: str) -> _Candidate:
        """Return the candidate with lines after its own."""
        return self._replace(lines=(*self.lines, *lines))


def code_of(x: Any, source: str, target: str, outcome: Outcome) -> str:
    """Return the code that converts an array without a copy, or after its fix.

    It is empty if there is no such code: a refusal that only other data avoids.
    """
    if outcome.verdict not in (COPIED, REFUSED):
        return SHARE.format(options="")
    supported = ""
    for each in _candidates(outcome, source, target):
        verdict = _try(each, x, target)
        if verdict == SHARED:
            return each.code()
        if verdict == COPIED and not each.options:
            supported = supported or each.code(COPY)
    if outcome.verdict == COPIED:
        return COPY
    return supported


def works(code: str, x: Any, target: str) -> bool:
    """Return whether code that `code_of` returned converts an array without a silent copy."""
    with warnings.catch_warnings(), _restored(code):
        warnings.simplefilter("error", CopyWarning)
        try:
            exec(code.replace(TARGET, target), {"x": x, **_modules(code)})  # noqa: S102
        except Exception:  # noqa: BLE001 -- whatever a framework raises
            return False
    return True


def _candidates(outcome: Outcome, source: str, target: str) -> Iterator[_Candidate]:
    """Iterate over the code of each fix alone, and then of the fixes of both steps.

    An aligned copy comes first where the target needs one anyway: it is C-contiguous too.
    """
    if outcome.verdict == COPIED and target in _ALIGNED:
        yield _Candidate((_ALIGN,))
        yield _Candidate((_TO_NUMPY, _ALIGN))
    fixes = [list(_of_fix(fix)) for _, fix in outcome.obstacles]
    found = [each for fix in fixes for each in fix]
    for each in found:
        yield from _aligned(each, target)
        if source != "numpy" and each.lines:
            yield from _aligned(each.after(_TO_NUMPY), target)
    if len(fixes) == 2:
        for first in fixes[0]:
            to_numpy = _TO_NUMPY.replace(")", f"{first.options})")
            lines = (*first.lines, to_numpy) if first.options else first.lines
            for second in fixes[1]:
                yield from _aligned(second.after(*lines), target)


def _aligned(each: _Candidate, target: str) -> Iterator[_Candidate]:
    """Iterate over a candidate, also with its result aligned if the target needs that.

    JAX may refuse types of 64 bits only once the other obstacles are removed.
    """
    yield each
    if not each.lines or each.is_complete or target not in _ALIGNED:
        return
    yield each.and_then(_ALIGN)
    yield each.and_then(_TO_NUMPY, _ALIGN)
    if target == "jax" and _X64 not in each.lines:
        yield from _aligned(each.after(_X64), target)


def _of_fix(fix: str) -> Iterator[_Candidate]:
    for rule in RULES:
        found = re.search(rule.pattern, fix)
        if found:
            lines = tuple(found.expand(rule.lines).splitlines())
            yield _Candidate(lines, rule.options, rule.is_complete)


def _try(each: _Candidate, x: Any, target: str) -> str:
    """Run code; return `SHARED`, `COPIED`, or `REFUSED` if it raises.

    Memory that the code allocates may be aligned by chance, which does not count.
    """
    code = each.code()
    with warnings.catch_warnings(), _restored(code):
        warnings.simplefilter("ignore")
        names = {"x": x, **_modules(code)}
        try:
            if each.is_complete:
                exec(code.replace(TARGET, target), names)  # noqa: S102 -- the rules above
                return SHARED
            exec("\n".join(each.lines), names)  # noqa: S102
            changed = names["x"]
            keywords = eval(f"dict({each.options.lstrip(', ')})", names)  # noqa: S307
            route = explain(changed, cast("Target", target), **keywords)
        except Exception:  # noqa: BLE001 -- a rule does not fit every array
            return REFUSED
    if not route.supported:
        return REFUSED
    by_chance = target in _ALIGNED and not (_is_view(changed, x) or _ALIGN in each.lines)
    return SHARED if route.shares_memory and not by_chance else COPIED


def _is_view(x: Any, of: Any) -> bool:
    """Return whether an array uses memory of another."""
    if x is of:
        return True
    try:
        view, base = share(x, "numpy", copy=False), share(of, "numpy", copy=False)
    except NumpackError:
        return False
    return np.may_share_memory(view, base)


def _modules(code: str) -> dict[str, Any]:
    """Import what code names; a dotted module is bound by its first part."""
    found = {}
    for name, module in MODULES.items():
        if re.search(rf"\b{name}\.", code):
            imported = importlib.import_module(module)
            found[name] = sys.modules[module.partition(".")[0]] if "." in module else imported
    return found


@contextlib.contextmanager
def _restored(code: str) -> Iterator[None]:
    """Undo what code changes of JAX's configuration."""
    if _X64 not in code:
        yield
        return
    config = importlib.import_module("jax").config
    try:
        yield
    finally:
        config.update("jax_enable_x64", False)
