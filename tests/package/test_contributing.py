"""Add the framework of CONTRIBUTING.md to a copy of the package and convert arrays with it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpack

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
BLOCKS = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
FIRST_LINE = "FRAMEWORKS: tuple[Framework, ...] = ("


def test_documented_framework_can_be_added(tmp_path, run_with_torch):
    package, module, line, use = BLOCKS
    copy = shutil.copytree(Path(numpack.__file__).parent, tmp_path / "numpack")
    (tmp_path / "grids.py").write_text(package)
    (copy / "adapters" / "grids.py").write_text(module)
    registry = copy / "adapters" / "__init__.py"
    text = registry.read_text()
    assert text.count(FIRST_LINE) == 1
    registry.write_text(text.replace(FIRST_LINE, f"{FIRST_LINE}\n    {line}"))
    run_with_torch(
        f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
{use}
import pytest
assert numpack.__file__.startswith({str(tmp_path)!r})
assert [each.name for each in numpack.frameworks() if each.name == "grids"] == ["grids"]
with pytest.warns(numpack.CopyWarning, match="to grids failed: .*not C-contiguous"):
    numpack.share(image.T, "grids")
with pytest.raises(numpack.ZeroCopyError):
    numpack.share(image.T, "grids", copy=False)
with pytest.raises(numpack.UnsupportedError, match="a grid holds floats"):
    numpack.share(np.zeros((2, 2), int), "grids")
with pytest.raises(numpack.UnsupportedError, match="has no masks"):
    numpack.share(np.ma.MaskedArray(image, mask=image == 0), "grids")
own = numpack.share(grid, "numpy", copy=True)
assert own.flags.writeable and not np.shares_memory(own, image)
assert numpack.share(tensor, "grids", copy=False).cells.shape == (480, 640)
from numpack.doctor.probe import probe
found = probe(grid, "grids", "arrow", timed=False)
assert found.verdict == "shared" and found.confirmed
"""
    )


def test_documented_framework_is_short():
    assert len(BLOCKS[1].splitlines()) < 60
    assert len(BLOCKS[2].splitlines()) == 1
