"""Tests of packages that are optional are collected where these are installed."""

import sys
from importlib.util import find_spec

_NEEDS = {"lightning": "lightning", "accelerate": "accelerate", "trainer": "transformers"}

# Sizes of processes are read from the kernel's files, which exist on Linux only.
collect_ignore = [] if sys.platform == "linux" else ["test_memory.py"]
collect_ignore += [
    f"test_{name}.py" for name, needed in _NEEDS.items() if not find_spec(needed)
]
