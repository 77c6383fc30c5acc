"""These tests need the frameworks: that one cannot be imported is a failure, not a skip."""

import gc

import ml_dtypes
import pyarrow
import pytest
import torch

INSTALLED = (ml_dtypes, pyarrow, torch)


@pytest.fixture(scope="module")
def fast_collection():
    """Freeze what the frameworks' modules hold, so that a collection takes no second."""
    import jax
    import polars
    import tensorflow

    modules = (jax, polars, tensorflow)
    gc.collect()
    gc.freeze()
    yield modules
    gc.unfreeze()
