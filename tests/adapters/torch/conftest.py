"""Fixtures of the tests of torch: the ways to convert, whose fast paths are registered."""

from __future__ import annotations

import pytest
import torch
from support.exchange.tensors import TO_NUMPY, TO_TORCH

from numpack.io import torch_to_numpy_zero_copy


@pytest.fixture(scope="module", autouse=True)
def registered_fast_paths():
    """Convert one tensor, which registers the fast paths, before all tests."""
    torch_to_numpy_zero_copy(torch.zeros(1))


@pytest.fixture(params=TO_NUMPY)
def to_numpy(request):
    return TO_NUMPY[request.param]


@pytest.fixture(params=TO_TORCH)
def to_torch(request):
    return TO_TORCH[request.param]
