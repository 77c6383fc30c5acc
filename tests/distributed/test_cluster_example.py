"""The example that computes on clusters, whose workers could not hold the array."""

from __future__ import annotations

import os
import re
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "cluster.py"


def test_columns_are_standardized_in_one_commit_each(run_python):
    out = run_python(
        f"import runpy, sys; sys.argv[:] = [{os.fspath(SCRIPT)!r}]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    found = re.findall(r"^by (\w+): 3,200,000 rows, .* in one commit$", out, re.MULTILINE)
    assert found == ["dask", "ray"]
