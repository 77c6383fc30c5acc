"""The frameworks of all pairs, loaded once."""

import gc

import pytest
from support.oracles import NAMES, oracle


@pytest.fixture(scope="session", autouse=True)
def _frozen_modules():
    """Freeze the objects of the frameworks' modules, which every `gc.collect` would visit."""
    for name in NAMES:
        oracle(name)
    gc.collect()
    gc.freeze()
