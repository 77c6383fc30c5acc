"""These tests require the frameworks: a failed import is an error, not a skip."""

import gc

import pytest

pytest.register_assert_rewrite("adapters.conformance")


@pytest.fixture(scope="session", autouse=True)
def _frozen_modules():
    """Freeze the objects of the modules that the tests import, to speed up `gc.collect`."""
    gc.collect()
    gc.freeze()
