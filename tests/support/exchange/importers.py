"""The ways in which DLPack capsules and producers are imported and explained."""

from __future__ import annotations

from numpack import ZeroCopyArray, explain, share
from numpack._dlpack import importing
from numpack.io import from_dlpack

IMPORTERS = {
    "from_dlpack": lambda x: from_dlpack(x),
    "copy=False": lambda x: from_dlpack(x, copy=False),
    "copy=True": lambda x: from_dlpack(x, copy=True),
    "wrapper": lambda x: ZeroCopyArray.from_dlpack(x, order="K").array,
    "share": lambda x: share(x, "numpy"),
    "share to dlpack": lambda x: share(x, "dlpack", order="K").array,
    "consume": importing.consume_capsule,
    "view": importing.view_capsule,
}


EXPLAINERS = {
    "explain": lambda x: explain(x, "numpy"),
    "to dlpack": lambda x: explain(x, "dlpack"),
}


BY_PROTOCOL = {
    name: IMPORTERS[name] for name in IMPORTERS if name not in ("consume", "view")
} | EXPLAINERS
