"""Conversions of random Arrow columns to every framework, in a child process.

    python -m support.arrow.walk TARGETS FIRST LAST START

prints a line before each conversion, so that the parent can name the one that crashed, and a
line for each wrong conversion. TARGETS are separated by commas, and START is the number of the
first conversion.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pyarrow as pa

from support.arrow.reference import reference
from support.arrow.trees import Spec, make_column, random_spec

TARGETS = ("numpy", "polars", "duckdb", "arro3", "nanoarrow", "pandas", "arrow", "ArrowDtype")
_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1, "D": 86400 * 10**9}


def column_of(seed: int) -> tuple[Spec, Any]:
    """Make the column, or the table of one column, of a seed."""
    rng = random.Random(seed)
    spec = random_spec(rng, rng.choice([1, 2, 2, 3, 3]))
    column = make_column(spec, rng)
    if rng.random() < 0.2:
        table = pa.table({"v": column})
        return spec, table.slice(rng.choice([0, 1])) if rng.random() < 0.5 else table
    return spec, column


def named(spec: Spec) -> str:
    """Write a specification as ``list(struct(int8,string))``."""
    name, children = spec
    return f"{name}({','.join(map(named, children))})" if children else name


def run(targets: tuple[str, ...], first: int, last: int) -> list[str]:
    """Run the conversions in child processes; a crash skips one conversion."""
    found: list[str] = []
    steps = _steps(targets, first, last)
    start = 0
    while start < len(steps):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "support.arrow.walk", ",".join(targets)),
                *(str(first), str(last), str(start)),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RUST_BACKTRACE": "0"},
        )
        lines = done.stdout.splitlines()
        found += [line for line in lines if not line.startswith("at ")]
        if done.returncode == 0:
            return found
        places = [line for line in lines if line.startswith("at ")]
        start = int(places[-1].split()[1]) if places else start
        target, seed = steps[start]
        tail = done.stderr.strip().splitlines()[-1:]
        found.append(
            f"{target} {seed}: exit {done.returncode} {named(column_of(seed)[0])} {tail}"
        )
        start += 1
    return found


def _steps(targets: tuple[str, ...], first: int, last: int) -> list[tuple[str, int]]:
    return [(target, seed) for target in targets for seed in range(first, last)]


def walk(targets: tuple[str, ...], first: int, last: int, start: int) -> None:
    """Convert the columns of some seeds and print the errors."""
    warnings.simplefilter("error")
    for number, (target, seed) in enumerate(_steps(targets, first, last)[start:], start):
        _say(f"at {number}")
        spec, column = column_of(seed)
        for wrong in check(column, target):
            _say(f"{target} {seed}: {named(spec)}: {wrong}".replace("\n", " "))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def check(column: Any, target: str) -> list[str]:
    """Compare values, verdict and the effect of `copy=`; describe each difference."""
    from numpack import CopyWarning, UnsupportedError, ZeroCopyError, explain, share

    options: dict[str, Any] = {}
    if isinstance(column, pa.Table) and target == "numpy":
        options["column"] = "v"
    if target == "ArrowDtype":
        target, options["dtype_backend"] = "pandas", "pyarrow"
    whole = column.column(0) if isinstance(column, pa.Table) else column
    want = reference(whole)
    wrong = []
    route = explain(column, target, **options)
    for copy in (None, False, True):
        copied = False
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                result = share(column, target, copy=copy, **options)
            copied = any(each.category is CopyWarning for each in caught)
            others = [str(e.message) for e in caught if e.category is not CopyWarning]
            wrong += [f"copy={copy}: warns {each}" for each in others]
        except UnsupportedError as error:
            if route.supported:
                wrong.append(f"copy={copy}: refused, unlike the route: {error}")
            continue
        except ZeroCopyError:
            if route.shares_memory or copy is not False:
                wrong.append(f"copy={copy}: ZeroCopyError, unlike the route: {route.verdict}")
            continue
        if not route.supported or (copy is False and not route.shares_memory):
            wrong.append(f"copy={copy}: converted, but the route is: {route.verdict}")
        if copy is None and copied == route.shares_memory:
            wrong.append(f"copied={copied}, but the route is: {route.verdict}")
        if copy is not True and route.shares_memory and not _shares(column, result, target):
            wrong.append(f"copy={copy}: memory is not shared, unlike the route")
        if target == "numpy" or (target == "pandas" and not _is_arrow(result)):
            got = [canonical(value) for value in np.asarray(result)]
            expected = plain(want, whole.type)
        else:
            got = reference(arrow_of(result, target, isinstance(column, pa.Table)))
            expected = want
        if got != expected:
            wrong.append(f"copy={copy}: {str(got)[:150]} for {str(expected)[:150]}")
    return wrong


def _is_arrow(result: Any) -> bool:
    series = result.iloc[:, 0] if hasattr(result, "columns") and result.shape[1] else result
    return hasattr(getattr(series, "array", None), "__arrow_array__")


def arrow_of(result: Any, target: str, is_table: bool) -> Any:
    """Convert a result to Arrow by its framework's own call."""
    if target == "duckdb":
        return result.to_arrow_table().column(0)
    if target == "pandas":
        series = result.iloc[:, 0] if hasattr(result, "columns") else result
        return series.array.__arrow_array__()
    if target == "polars":
        return pa.chunked_array(result.to_series() if is_table else result)
    if isinstance(result, pa.Array | pa.ChunkedArray):
        return result
    return pa.table(result).column(0) if is_table else pa.chunked_array(result)


def canonical(value: Any) -> Any:
    """Convert a NumPy or Python value to the form of `plain`."""
    if isinstance(value, np.ndarray):
        return [canonical(each) for each in value]
    if isinstance(value, list):
        return [canonical(each) for each in value]
    if isinstance(value, tuple) and type(value) is tuple and len(value) == 2:
        return (("key", canonical(value[0])), ("value", canonical(value[1])))
    if isinstance(value, dict):
        return tuple((name, canonical(each)) for name, each in value.items())
    if isinstance(value, np.datetime64 | np.timedelta64):
        unit, _ = np.datetime_data(value.dtype)
        return None if np.isnat(value) else int(value.astype("i8")) * _UNIT[unit]
    if isinstance(value, np.void):
        return value.tobytes()
    return _canonical_time(value)


def _canonical_time(value: Any) -> Any:
    import datetime as dt

    one = dt.timedelta(microseconds=1)
    if hasattr(value, "as_unit"):  # of pandas
        return None if value is None or value != value else value.as_unit("ns").value
    if isinstance(value, dt.datetime):
        zone = None if value.tzinfo is None else dt.UTC
        return (value - dt.datetime(1970, 1, 1, tzinfo=zone)) // one * 1000
    if isinstance(value, dt.date):
        return (value - dt.date(1970, 1, 1)) // one * 1000
    if isinstance(value, dt.time):
        seconds = (value.hour * 60 + value.minute) * 60 + value.second
        return (seconds * 10**6 + value.microsecond) * 1000
    if isinstance(value, dt.timedelta):
        return value // one * 1000
    if isinstance(value, pa.MonthDayNano):
        return tuple(value)
    if isinstance(value, float | np.floating):
        return None if value != value else float(value)
    return value.item() if isinstance(value, np.generic) else value


def plain(values: list[Any], kind: pa.DataType) -> list[Any]:
    """Convert reference values to NumPy's view: NaN is a null, tensors have shapes."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return [v if v is None else _shaped(_without_nan(v), kind) for v in values]
    if isinstance(kind, pa.BaseExtensionType):
        return plain(values, kind.storage_type)
    if pa.types.is_fixed_size_list(kind):
        return [v if v is None else plain(v, kind.value_type) for v in values]
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain(values, kind.value_type)
    return _without_nan(values)


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if value == "nan" else value


def _shaped(values: list[Any], kind: Any) -> Any:
    cell = np.array(values, object).reshape(kind.shape)
    return (cell if kind.permutation is None else cell.transpose(kind.permutation)).tolist()


def _shares(column: Any, result: Any, target: str) -> bool:
    """Check whether a result has a buffer of the column; without buffers it does."""
    if target == "duckdb" or not len(column):
        return True
    is_table = isinstance(column, pa.Table)
    given = _spans(column.column(0) if is_table else column)
    if target == "numpy" or (target == "pandas" and not _is_arrow(result)):
        memory = np.asarray(result)
        at = memory.__array_interface__["data"][0]
        got = [(at, at + memory.nbytes)] if memory.nbytes else []
    else:
        got = _spans(arrow_of(result, target, is_table))
    if not given or not got:
        return True
    return any(a < d and c < b for a, b in given for c, d in got)


def _spans(column: Any) -> list[tuple[int, int]]:
    chunks = [column] if isinstance(column, pa.Array) else column.chunks
    buffers = [b for chunk in chunks for array in _nodes(chunk) for b in array.buffers()]
    bitmaps = 2  # bytes: bitmaps of short columns are realigned for an offset
    found = [b for b in buffers if b is not None and b.size > bitmaps]
    return [(b.address, b.address + b.size) for b in found]


def _nodes(array: pa.Array) -> list[pa.Array]:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return [array, *_nodes(array.storage)]
    if pa.types.is_dictionary(kind):
        return [array, *_nodes(array.dictionary)]
    if pa.types.is_struct(kind):
        inner = [array.field(i) for i in range(kind.num_fields)]
        return [array, *(node for each in inner for node in _nodes(each))]
    return [array]


if __name__ == "__main__":
    walk(tuple(sys.argv[1].split(",")), *map(int, sys.argv[2:]))
