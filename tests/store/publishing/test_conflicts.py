"""What is there already: other stores, later commits, copies that have diverged, damage."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support.store.objects import arrays_of, catalog_of, same

from numpack import NumPack
from numpack.errors import (
    ConflictError,
    CorruptStoreError,
    NewerFormatError,
    NotAStoreError,
    RemoteError,
    StorePermissionError,
)

ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def saved(store):
    store.save({"x": ROWS})
    store.append({"x": ROWS})
    return store


@pytest.fixture
def copy(saved):
    """A copy of the folder, with the same token."""
    saved.close()
    shutil.copytree("s.npk", "c.npk")
    saved.open()
    with NumPack("c.npk") as opened:
        yield opened


def refused(objects, send, source, why):
    """Check that publishing is refused and nothing changes, and that overwrite= helps."""
    before = dict(objects.versions)
    with pytest.raises(ConflictError, match=why) as raised:
        send(source)
    assert "overwrite=True" in str(raised.value)
    assert objects.versions == before
    assert not [kind for kind, _ in objects.calls if kind in ("write", "remove")]
    send(source, overwrite=True)
    assert same(arrays_of(objects.contents), {name: source.load(name) for name in source})
    assert send(source).objects_sent == 0


def test_another_store_is_not_replaced(saved, objects, send):
    send()
    saved.backup("b.npk")
    names = set(objects.contents)
    with NumPack("b.npk") as other:
        refused(objects, send, other, "it is another store, with the token")
    assert names < set(objects.contents), "objects of the other token stay"


def test_later_commit_is_not_replaced(saved, copy, objects, send):
    saved.append({"x": ROWS})
    send()
    refused(objects, send, copy, "it has commit 3, and this store commit 2")


def test_copies_that_have_diverged(saved, copy, objects, send):
    saved.append({"x": ROWS})
    send()
    copy.append({"x": ROWS})
    refused(objects, send, copy, "another array 'x' as of commit 3: two copies")
    copy.save({"y": ROWS})
    send(copy)
    saved.save({"z": ROWS}), saved.drop("z"), saved.save({"z": ROWS})
    refused(objects, send, saved, "another array '[xy]' as of commit 4: two copies")


def test_copies_whose_arrays_differ_inside(saved, copy, objects, send):
    for opened, value in ((saved, 1.0), (copy, 2.0)):
        opened.save({"long": np.zeros(300_000)})
        opened.replace({"long": np.full(1, value)}, [5])
    send()
    refused(objects, send, copy, "another array 'long' as of commit 4")


def test_copies_are_interchangeable_until_they_diverge(saved, copy, objects, send):
    send()
    copy.append({"x": ROWS})
    assert send(copy).arrays == ("x",)
    with pytest.raises(ConflictError, match="it has commit 3"):
        send()


def test_history_that_was_compacted_is_not_compared(saved, copy, objects, send):
    send(copy)
    saved.append({"x": ROWS})
    saved.save({f"n{number}": np.zeros(1) for number in range(200)})
    for number in range(9000):
        saved.append({"x": ROWS[:1]})
        if number % 500 == 0 and saved._session().log.openings > 1:
            break
    session = saved._session()
    session.log.refresh_exactly()
    with pytest.raises(LookupError):
        session.log.catalog_at(2)
    send()
    assert same(arrays_of(objects.contents), {name: saved.load(name) for name in saved})


def test_overwrite_uses_what_is_there(saved, objects, send):
    saved.save({"long": np.arange(500_000)})
    send()
    before = dict(objects.versions)
    assert send(overwrite=True).objects_sent == 0
    assert objects.versions == before
    for name in [each for each in objects.contents if "data/" in each]:
        objects._drop(name)
    assert send().objects_sent == 0
    assert send(overwrite=True).arrays == ("x", "long")
    assert same(arrays_of(objects.contents), {name: saved.load(name) for name in saved})


def test_damaged_log_is_replaced_by_overwrite_alone(saved, objects, send):
    send()
    log = objects.contents["commits.log"]
    for wrong in (b"", log[:-3], log.replace(b'"x"', b'"y"')):
        objects._put("commits.log", wrong, None, False)
        before = dict(objects.versions)
        with pytest.raises(CorruptStoreError, match=r"commits\.log is damaged.*overwrite=True"):
            send()
        assert objects.versions == before
        send(overwrite=True)
        assert same(arrays_of(objects.contents), {"x": saved.load("x")})
        saved.append({"x": ROWS})
        send()


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (b"{", CorruptStoreError),
        (b'{"format": "numpack", "version": 4}', NewerFormatError),
        (b'{"format": "other", "version": 1}', NotAStoreError),
    ],
)
def test_foreign_headers_are_refused(saved, objects, send, header, error):
    objects._put("numpack.json", header, None, False)
    for overwrite in (False, True):
        with pytest.raises(error, match=r"memory://objects"):
            send(overwrite=overwrite)
    assert set(objects.contents) == {"numpack.json"}


def test_header_is_never_of_a_lower_version(saved, objects, send):
    text = b'{"format": "numpack", "version": 3, "more": 1}'
    objects._put("numpack.json", text, None, False)
    send()
    saved.attrs["x"]["a"] = 1
    send()
    assert objects.contents["numpack.json"] == text
    assert catalog_of(objects.contents).arrays["x"].attrs == b'{"a":1}'


@pytest.mark.parametrize("error", [RemoteError("no"), StorePermissionError("no")])
def test_objects_that_cannot_be_removed_stay_until_the_next_call(saved, objects, send, error):
    def refuse(kind, name):
        if kind == "remove":
            raise error

    send()
    for _ in range(3):
        saved.append({"x": ROWS})
        objects.before = refuse
        send()
    count = len(objects.contents)
    objects.before = lambda kind, name: None
    saved.append({"x": ROWS})
    send()
    assert len(objects.contents) < count


@pytest.mark.parametrize("name", ["commits.log", "data/"])
def test_nothing_is_left_where_writing_is_denied(saved, objects, send, name):
    def deny(kind, found):
        if kind == "write" and found.startswith(name):
            raise StorePermissionError("no")

    objects.before = deny
    with pytest.raises(StorePermissionError):
        send()
    assert objects.contents == {}
