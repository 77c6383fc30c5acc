"""These tests need the frameworks: that one cannot be imported is a failure, not a skip."""

import gc

import ml_dtypes
import pyarrow
import pytest
import torch

INSTALLED = (ml_dtypes, pyarrow, torch)


@pytest.fixture(scope="module")
def fast_collection():
    """Leave the objects of the frameworks' modules out of collections, which take seconds else."""
    import jax
    import polars
    import tensorflow

    modules = (jax, polars, tensorflow)
    gc.collect()
    gc.freeze()
    yield modules
    gc.unfreeze()
