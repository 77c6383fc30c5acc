"""Each exported tensor holds one reference to its array, which its deleter releases."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest
from support.exchange.dlpack import LEGACY, VERSIONED, Tensor
from support.native import delete, join, managed_over, name_of, start_deleter, take

from numpack.io import from_dlpack


@pytest.mark.parametrize("on", ["this thread", "this thread with the GIL", "another thread"])
def test_deleter_releases_one_reference(exporter, version, on):
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    managed = managed_over(a, exporter, version)
    assert sys.getrefcount(a) == before + 1
    if on == "another thread":
        join(start_deleter(managed))
    else:
        delete(managed, keep_gil=on == "this thread with the GIL")
    assert sys.getrefcount(a) == before


def test_managed_tensor_keeps_the_array_alive(exporter, version):
    a = np.arange(3.0)
    end = weakref.ref(a)
    managed = managed_over(a, exporter, version)
    del a
    gc.collect()
    assert end() is not None
    assert np.ctypeslib.as_array(end()).tolist() == [0, 1, 2]
    join(start_deleter(managed))
    assert end() is None


def test_unconsumed_capsule_releases_the_array(exporter, version):
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    capsule = exporter(a).__dlpack__(max_version=version)
    assert name_of(capsule) == (LEGACY if version is None else VERSIONED)
    assert sys.getrefcount(a) == before + 1
    del capsule
    assert sys.getrefcount(a) == before


def test_unconsumed_capsule_releases_the_array_during_an_exception(exporter, version):
    a = np.arange(3.0)
    before = sys.getrefcount(a)

    def fail():
        capsule = exporter(a).__dlpack__(max_version=version)
        raise LookupError(name_of(capsule))

    with pytest.raises(LookupError, match="dltensor") as caught:
        fail()
    del caught
    gc.collect()
    assert sys.getrefcount(a) == before


def test_consumed_capsule_does_not_release_the_array(exporter, version):
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    capsule = exporter(a).__dlpack__(max_version=version)
    managed = take(capsule)
    del capsule
    gc.collect()
    assert sys.getrefcount(a) == before + 1
    delete(managed)
    assert sys.getrefcount(a) == before


def test_each_capsule_holds_its_own_reference(exporter, version):
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    buffer = exporter(a)
    held = sys.getrefcount(a)
    taken = [take(buffer.__dlpack__(max_version=version)) for _ in range(20)]
    assert sys.getrefcount(a) == held + 20
    for managed in taken:
        delete(managed)
    assert sys.getrefcount(a) == held
    del buffer
    assert sys.getrefcount(a) == before


def test_deleter_frees_the_copy_of_the_consumer(exporter):
    a = np.arange(3.0)
    before = sys.getrefcount(a)

    def growth() -> int:
        gc.collect()
        blocks = sys.getallocatedblocks()
        for _ in range(500):
            delete(take(exporter(a).__dlpack__(max_version=(1, 0), copy=True)))
        gc.collect()
        return sys.getallocatedblocks() - blocks

    assert min(growth() for _ in range(3)) < 100  # the first round fills Python's own caches
    assert sys.getrefcount(a) == before


def test_deleter_of_a_reexported_tensor_runs_the_first_one_once(exporter, version):
    """Import a foreign tensor and export it again: the last deleter triggers the first."""
    tensor = Tensor(np.arange(3.0))
    managed = managed_over(from_dlpack(tensor.capsule()), exporter, version)
    gc.collect()
    assert tensor.deleted == 0
    join(start_deleter(managed))
    assert tensor.deleted == 1
