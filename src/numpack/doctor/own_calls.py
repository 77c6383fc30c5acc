"""What users would call instead of `share`: the frameworks' own conversions.

The own call of a pair of frameworks is the public call for that pair, if there is one, and else
the conversion to NumPy followed by the one from NumPy, each of which may copy.
"""

from __future__ import annotations

import sys
from typing import Any

TO_NUMPY = {
    "numpy": "{}",
    "torch": "{}.numpy()",
    "jax": "np.asarray({})",
    "tensorflow": "{}.numpy()",
    "onnxruntime": "{}.numpy()",
    "xarray": "{}.values",
    "pandas": "{}.to_numpy()",
    "polars": "{}.to_numpy()",
    "arrow": "{}.to_numpy()",
    "nanoarrow": "np.asarray({}.buffer(1))",
    "arro3": "{}.to_numpy()",
    "buffer": "np.asarray({})",
    "array_interface": "np.asarray({})",
    "dlpack": "np.from_dlpack({})",
}
FROM_NUMPY = {
    "numpy": "{}",
    "torch": "torch.from_numpy({})",
    "jax": "jnp.from_dlpack({})",
    "tensorflow": "tf.convert_to_tensor({})",
    "onnxruntime": "onnxruntime.OrtValue.ortvalue_from_numpy({})",
    "xarray": "xr.DataArray({})",
    "pandas": "pd.Series({}, copy=False)",
    "polars": "pl.Series({})",
    "arrow": "pa.array({})",
    "nanoarrow": "nanoarrow.Array(pa.array({}))",
    "arro3": "arro3.Array.from_numpy({})",
    "buffer": "memoryview({})",
    "array_interface": "{}.__array_interface__",
    "dlpack": "{}.__dlpack__(max_version=(1, 0))",
}
DIRECT = {
    ("torch", "jax"): "jnp.from_dlpack({})",
    ("torch", "dlpack"): "{}.__dlpack__()",
    ("jax", "torch"): "torch.from_dlpack({})",
    ("jax", "dlpack"): "{}.__dlpack__()",
    ("dlpack", "torch"): "torch.from_dlpack({})",
    ("dlpack", "jax"): "jnp.from_dlpack({})",
    ("arrow", "dlpack"): "{}.__dlpack__()",
    ("arrow", "pandas"): "{}.to_pandas()",
    ("arrow", "polars"): "pl.from_arrow({})",
    ("arrow", "nanoarrow"): "nanoarrow.Array({})",
    ("arrow", "arro3"): "arro3.Array({})",
    ("polars", "arrow"): "{}.to_arrow()",
    ("polars", "torch"): "{}.to_torch()",
    ("polars", "pandas"): "{}.to_pandas()",
    ("polars", "nanoarrow"): "nanoarrow.Array({})",
    ("polars", "arro3"): "arro3.ChunkedArray.from_arrow({})",
    ("pandas", "polars"): "pl.from_pandas({})",
    ("pandas", "arrow"): "pa.array({})",
    ("nanoarrow", "arrow"): "pa.array({})",
    ("nanoarrow", "polars"): "pl.Series({})",
    ("nanoarrow", "arro3"): "arro3.ChunkedArray.from_arrow({})",
    ("arro3", "arrow"): "pa.array({})",
    ("arro3", "polars"): "pl.Series({})",
    ("arro3", "nanoarrow"): "nanoarrow.Array({})",
}
_IMMUTABLE = frozenset({"jax", "pandas", "polars", "arrow", "nanoarrow", "arro3"})
_READ_ONLY_TO_JAX = "jnp.asarray({})"  # `from_dlpack` refuses read-only arrays, and this copies

_MODULES = {
    "arro3": "arro3.core",
    "jnp": "jax.numpy",
    "nanoarrow": "nanoarrow",
    "np": "numpy",
    "onnxruntime": "onnxruntime",
    "pa": "pyarrow",
    "pd": "pandas",
    "pl": "polars",
    "tf": "tensorflow",
    "torch": "torch",
    "xr": "xarray",
}


def own_call(source: str, target: str) -> str | None:
    """Return the statement for an ``x`` of one framework; ``None`` for other frameworks."""
    if (source, target) in DIRECT:
        return DIRECT[source, target].format("x")
    if source not in TO_NUMPY or target not in FROM_NUMPY:
        return None
    make = FROM_NUMPY[target]
    if target == "jax" and source in _IMMUTABLE:
        make = _READ_ONLY_TO_JAX
    return make.format(TO_NUMPY[source].format("x"))


def namespace() -> dict[str, Any]:
    """Return the modules that the statements use, of those that have been imported."""
    return {
        name: sys.modules[module] for name, module in _MODULES.items() if module in sys.modules
    }
