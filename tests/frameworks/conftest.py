"""These tests require the frameworks: a failed import is an error, not a skip."""

import gc

import ml_dtypes
import pyarrow
import pytest
import torch

INSTALLED = (ml_dtypes, pyarrow, torch)


@pytest.fixture(scope="module")
def fast_collection():
    """Freeze the objects of the frameworks' modules, to speed up `gc.collect`."""
    import jax
    import polars
    import tensorflow

    modules = (jax, polars, tensorflow)
    gc.collect()
    gc.freeze()
    yield modules
    gc.unfreeze()
