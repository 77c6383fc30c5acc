"""What cannot be published, and where nothing can be published to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.store import numpack0_store
from support.store.hostile import entry, snapshot, write

from numpack import NumPack
from numpack.errors import InvalidValueError, StoreClosedError, StoreError, WrongTypeError

ROWS = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize("target", ["out.npk", "/tmp/out.npk", Path("out.npk")])
def test_paths_are_refused(store, target):
    with pytest.raises(InvalidValueError, match=r"is a path.*as_uri\(\)"):
        store.publish(target)
    assert not Path("out.npk").exists()


@pytest.mark.parametrize("target", [None, 5, b"s3://bucket", {}])
def test_targets_of_other_types_are_refused(store, target):
    with pytest.raises(WrongTypeError, match="a URL or an object store"):
        store.publish(target)


def test_overwrite_must_be_a_bool(store):
    with pytest.raises(WrongTypeError, match="a bool as overwrite"):
        store.publish("memory://a", overwrite=1)


def test_closed_store_is_refused(store):
    store.close()
    with pytest.raises(StoreClosedError):
        store.publish("memory://a")


def test_folder_of_numpack_0_is_refused(objects, send):
    numpack0_store.write({"x": ROWS})
    name = next(path.parent for path in Path().rglob("metadata.npkm"))
    fix = r"upgrade it with NumPack\(path, upgrade=True\)"
    with NumPack(name, mode="r") as old, pytest.raises(StoreError, match=fix):
        send(old)
    assert objects.calls == []
    with NumPack(name, upgrade=True) as upgraded:
        assert send(upgraded).arrays == ("x",)


def test_array_that_cannot_be_read_is_refused(store, objects, send):
    store.close()
    write("s.npk", snapshot({"x": entry(shape=[-1])}))
    with NumPack("s.npk", mode="r") as reader, pytest.raises(StoreError, match="drop the"):
        send(reader)
    assert objects.contents == {}
