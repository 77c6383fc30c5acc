"""What stores are read and written with, as programs ask NumPack 0.7."""

from __future__ import annotations

import json
import platform

import numpy as np

import numpack


def test_backend_and_versions_are_strings():
    info = numpack.get_backend_info()
    assert info["backend"] == "native"
    assert info["version"] == numpack.__version__
    assert (info["numpy"], info["python"]) == (np.__version__, platform.python_version())
    assert int(info["format"]) >= 3
    assert all(type(each) is str for each in json.loads(json.dumps(info)).values())
