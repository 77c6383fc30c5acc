"""A store, an object store in memory, and publishing from one to the other."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
from support.store.objects import MemoryObjects

from numpack import NumPack
from numpack.store.publishing.publish import publish
from numpack.store.publishing.report import PublishReport

# Where the engine is not installed, an object store in memory is published to.
collect_ignore = (
    ["test_servers.py", "test_urls.py"] if importlib.util.find_spec("obstore") is None else []
)


@pytest.fixture
def objects() -> MemoryObjects:
    """Return an empty object store."""
    return MemoryObjects()


@pytest.fixture
def send(store: NumPack, objects: MemoryObjects) -> Callable[..., PublishReport]:
    """Return a function that publishes `store`, or another one, to `objects`."""

    def publish_to(
        source: NumPack = store, target: MemoryObjects = objects, **options: Any
    ) -> PublishReport:
        target.calls.clear()
        target.written.clear()
        options = {"overwrite": False, "callback": None, **options}
        report = publish(source._session(), target, **options)
        assert report.bytes_sent == target.bytes_written
        assert report.objects_sent == sum(kind == "write" for kind, _ in target.calls)
        return report

    return publish_to
