"""Layers import only lower layers, and importing numpack imports no framework."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest
from support.each import for_each

import numpack
from numpack.adapters import FRAMEWORKS as FRAMEWORKS_KNOWN

ROOT = Path(numpack.__file__).parent
FRAMEWORKS = ("torch", "pyarrow", "ml_dtypes", "jax", "pandas", "polars", "tensorflow", "cupy")
FRAMEWORKS += (
    "dask",
    "distributed",
    "ray",
    "duckdb",
    "nanoarrow",
    "arro3",
    "xarray",
    "safetensors",
    "onnxruntime",
    "scipy",
    "obstore",
    "fsspec",
)

# A layer may import itself and those listed before it.
LAYERS = [
    {"errors"},
    {"allocation"},
    {"_core"},
    {"_dlpack"},
    {"adapters"},
    {"io"},
    {"shared_memory"},
    {"object_store"},
    {"store"},
    {"data"},
    {"formats"},
    {"distributed"},
    {"doctor"},
    {"cli"},
    {"__main__"},
]


def test_imports_and_the_store_and_dlpack_import_no_framework(run_python):
    out = run_python(
        """
import sys, numpack, numpack.io, numpack.io.zero_copy, numpack.store
import numpy as np
from numpack.io import from_dlpack, to_dlpack
with numpack.NumPack("s.npk") as npk:
    npk.save({"x": np.arange(3)})
    from_dlpack(to_dlpack(npk.load("x")))
    numpack.explain(npk.load("x", lazy=True), "dlpack")
print(*sys.modules)
"""
    )
    assert not set(out.split()) & set(FRAMEWORKS)


def test_missing_framework_error_names_the_extra(run_python):
    run_python(
        """
import sys
sys.modules.update(torch=None, pyarrow=None, ml_dtypes=None)
import numpy as np, numpack, numpack.io as io
from numpack._core import dtypes
a = np.zeros(3)
for call, extra in (
    (lambda: io.numpy_to_torch_zero_copy(a), "torch"),
    (lambda: io.numpy_to_arrow_zero_copy(a), "arrow"),
    (lambda: numpack.share(a, "torch"), "torch"),
    (lambda: numpack.explain(a, "arrow"), "arrow"),
    (lambda: io.ZeroCopyArray(a).to_arrow(), "arrow"),
    (lambda: io.table_to_numpy_zero_copy(a), "arrow"),
    (lambda: dtypes.of_dlpack(4, 16).dtype, "lowprec"),
):
    try:
        call()
    except numpack.MissingDependencyError as error:
        assert isinstance(error, ImportError)
        assert f"pip install 'numpack[{extra}]'" in str(error), error
    else:
        raise AssertionError(extra)
"""
    )


def test_version_that_is_too_old_is_refused(tmp_path, run_python):
    (tmp_path / "polars.py").write_text("__version__ = '1.37.9'")
    (tmp_path / "duckdb.py").write_text("__version__ = '2.0.0.dev5'")
    run_python(
        """
import sys
sys.path.insert(0, ".")
sys.modules["pyarrow"] = None
import numpy as np, numpack
for name, why in (
    ("polars", "polars, of version 1.38 or newer, and 1.37.9 is installed; install it with: "
               "pip install 'numpack[polars]'"),
    ("duckdb", "pyarrow, which cannot be imported"),
):
    try:
        numpack.share(np.zeros(3), name)
    except numpack.MissingDependencyError as error:
        assert why in str(error), error
    else:
        raise AssertionError(name)
"""
    )


def test_registry_and_extras_require_the_same_versions():
    extras = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    extras = extras["project"]["optional-dependencies"]
    for framework in FRAMEWORKS_KNOWN:
        if framework.install.startswith("numpack["):
            (own, *_) = extras[framework.install[8:-1]]
            asked = own.replace("-", ".") if "-" in own.partition(">=")[0] else own
            assert framework.packages[0] == asked
        for needed in framework.packages[1:]:
            extra = {"pyarrow": "arrow", "ml_dtypes": "lowprec"}[needed.partition(">=")[0]]
            assert needed == extras[extra][0]


def test_every_adapter_is_typed():
    """Each adapter is in the type of `target` and in the list that mypy checks."""
    from typing import get_args

    from numpack.adapters._options import Target

    names = {framework.name for framework in FRAMEWORKS_KNOWN}
    assert set(get_args(Target)) == names
    checked = ast.parse(
        (Path(__file__).parents[2] / "typing" / "check_adapters.py").read_text()
    )
    (adapters,) = (
        node.value
        for node in checked.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "ADAPTERS"
    )
    assert {each.id for each in adapters.elts} == names


def layer_of(module: str) -> int:
    top = module.split(".", maxsplit=1)[0]
    return next(i for i, names in enumerate(LAYERS) if top in names)


def imports_of(path: Path) -> list[str]:
    """Return the modules of this package that a file imports at run time."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[:-1]
    found = []
    tree = ast.parse(path.read_text())
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in guarded:
            base = package[: len(package) - node.level + 1]
            if node.module:
                found.append(".".join((*base, node.module)))
            else:
                found += [".".join((*base, alias.name)) for alias in node.names]
    return found


FILES = sorted(
    path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem != "__init__"
)


@for_each("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_only_lower_layers(path):
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for imported in imports_of(path):
        assert layer_of(imported) <= layer_of(own), f"{own} imports {imported}"


def test_store_uses_frameworks_only_through_io():
    for path in (ROOT / "store").rglob("*.py"):
        text = path.read_text()
        assert "adapters" not in text, path
        for imported in imports_of(path):
            if imported.startswith("io"):
                assert imported == "io", f"{path} imports {imported}"


@for_each("folder", ["reading", "publishing", "lazy", "rows"])
def test_reading_modules_import_no_writing_modules(folder):
    writing = ("store.commits", "store.writer", "store.batches", "store.handle")
    for path in (ROOT / "store" / folder).glob("*.py"):
        for imported in imports_of(path):
            assert not imported.startswith(writing), f"{path} imports {imported}"


def test_registry_imports_no_framework():
    registry = (ROOT / "adapters" / "__init__.py").read_text()
    assert not any(f"import {name}" in registry for name in FRAMEWORKS)


def test_version_matches_the_distribution():
    from importlib.metadata import version

    assert numpack.__version__ == version("numpack")


def test_public_names_exist():
    for module in (numpack, numpack.io, numpack.io.zero_copy):
        for name in module.__all__:
            assert getattr(module, name) is not None
    for name in numpack.io.zero_copy.__all__:
        assert getattr(numpack.io, name) is getattr(numpack.io.zero_copy, name)


def test_top_level_lists_few_exceptions_and_provides_all():
    kinds = {
        name
        for name, kind in vars(numpack.errors).items()
        if isinstance(kind, type) and kind.__module__ == "numpack.errors"
    }
    assert kinds & set(numpack.__all__) == {
        *("NumpackError", "ZeroCopyError", "UnsupportedError", "StoreError"),
        *("CopyWarning", "ReadOnlyWarning"),
    }
    for name in kinds:
        assert getattr(numpack, name) is getattr(numpack.errors, name)
    with pytest.raises(AttributeError, match="has no attribute 'Callable'"):
        _ = numpack.Callable
