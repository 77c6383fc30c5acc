"""What bounds the routes that cannot become cheaper: the framework's own minimal call.

Each of these routes has to ask the framework for its memory, and torch whether the values are
negated and the storage can be resized. This alone is timed, beside the route and what a user
would call instead, all in turn in one process. Torch exports the tensor by the function of its
DLPack C exchange API, which is called in C, since Python is not needed for it.

    python benchmarks/bounds.py
"""

from __future__ import annotations

import ctypes
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from exchange import names, time_statements
from measure import as_table

CALLS = 1000
CHECKS = "t.is_neg(), t.untyped_storage().resizable()"  # and the export in C

SOURCE = r"""
#include <stdint.h>
#include <time.h>

/* The parts of DLPack 1.2's structs that are needed. */
typedef struct managed {
    uint32_t major, minor;
    void *context;
    void (*deleter)(struct managed *);
} managed;

typedef struct {
    struct { uint32_t major, minor; void *previous; } header;
    void *allocate;
    int (*from_object)(void *, managed **);
} exchange_api;

double export_tensor(const exchange_api *api, void *tensor, int64_t calls)
{
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int64_t i = 0; i < calls; i++) {
        managed *made = 0;
        if (api->from_object(tensor, &made))
            return -1;
        made->deleter(made);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / calls;
}
"""


class Bounded(NamedTuple):
    """A route, what a user would call instead, and the least that the framework has to do."""

    ours: str
    theirs: str
    bound: str


ROUTES = (
    Bounded("arrow_to_numpy_zero_copy(ar)", "ar.to_numpy()", "ar.__arrow_c_array__()"),
    Bounded(
        'table_to_numpy_zero_copy(tb, "v")',
        'tb.column("v").chunk(0).to_numpy()',
        'tb.column("v").chunk(0)',
    ),
    Bounded("from_dlpack(t)", "np.from_dlpack(t)", CHECKS),
    Bounded("torch_to_numpy_zero_copy(t)", "t.numpy()", CHECKS),
)


def exporter(folder: Path) -> Any:
    """Compile a function that exports a tensor some times; it returns nanoseconds per call."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("torch is asked in C: install a C compiler")
    source, library = folder / "bound.c", folder / "bound.so"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True)  # noqa: S603
    function = ctypes.PyDLL(str(library)).export_tensor
    function.restype = ctypes.c_double
    contents = ctypes.pythonapi.PyCapsule_GetPointer
    contents.restype, contents.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    api: Any = torch.Tensor.__dict__["__dlpack_c_exchange_api__"]
    address = ctypes.c_void_p(contents(api, b"dlpack_exchange_api"))
    return lambda tensor: function(address, ctypes.py_object(tensor), ctypes.c_int64(CALLS))


def main() -> None:
    """Print the table."""
    known = names(np.zeros((1000, 128), "f4"), np.zeros(100_000, "f4"))
    statements = list(dict.fromkeys(call for route in ROUTES for call in route))
    with tempfile.TemporaryDirectory() as folder:
        export = exporter(Path(folder))
        exports = [export(known["t"]) for _ in range(50)]
        medians = time_statements([(each, known) for each in statements], 101)
        exports += [export(known["t"]) for _ in range(50)]
    times = dict(zip(statements, medians, strict=True))
    times[CHECKS] += statistics.median(exports)
    rows = [
        (
            *(f"`{call}`" for call in route),
            *(f"{times[call]:,.0f}" for call in route),
            f"{times[route.ours] / times[route.theirs]:.2f}",
            f"{times[route.bound] / times[route.theirs]:.2f}",
        )
        for route in ROUTES
    ]
    head = ("numpack", "own call", "minimal call", "ns", "ns", "ns", "ratio", "its bound")
    print(as_table(head, rows, left=3))


if __name__ == "__main__":
    main()
