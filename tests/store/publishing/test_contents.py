"""What a published store holds, of arrays of every kind and after changes of every kind."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest
from support.crash.operations import wide
from support.store.objects import BLOCK, arrays_of, catalog_of, needed_by, same

from numpack import CorruptStoreError, NumPack

ROWS = np.arange(6.0).reshape(3, 2)
ALL = {
    "x": wide(1048),
    "y": wide(2100),
    "exact": np.zeros(1 << 20, "u1"),
    "long": np.random.default_rng(1).integers(0, 256, 19 * BLOCK + 5, np.uint8),
    "0d": np.array(2.5),
    "none": np.empty((0, 3)),
    "flat": np.empty((4, 0)),
    "struct": np.zeros(3, [("a", "<i4"), ("b", "S3")]),
    "a/\n\ud800": ROWS,
}


@pytest.fixture
def filled(store):
    """A store with arrays of every kind, changed in every way."""
    store.save({"gone": ROWS, **ALL})
    store.append({"x": wide(3)})
    store.drop("y", [0, 2000])
    store.replace({"y": wide(2, 9)}, [5, 2090])
    store.drop("gone")
    return store


def assert_published(objects, store):
    assert same(arrays_of(objects.contents), {name: store.load(name) for name in store})
    catalog, local = catalog_of(objects.contents), store._session().history.refresh()
    assert (catalog.token, catalog.commit) == (local.token, local.commit)
    assert catalog.attrs == local.attrs
    for name, entry in catalog.arrays.items():
        there, here = entry, local.arrays[name]
        for field in ("code", "stored", "modified", "dropped", "revision", "attrs"):
            assert getattr(there, field) == getattr(here, field)
    assert len({entry.id for entry in catalog.arrays.values()}) == len(catalog.arrays)


def test_arrays_of_every_kind(filled, objects, send):
    report = send()
    assert_published(objects, filled)
    assert report.arrays == tuple(filled)
    assert report.commit == filled._session().newest_commit()
    assert set(objects.contents) == needed_by(objects.contents)
    assert objects.contents["numpack.json"] == b'{"format": "numpack", "version": 1}\n'
    assert str(report).startswith(f"commit {report.commit}: {report.bytes_sent:,} bytes in ")


def test_empty_store(store, objects, send):
    assert send().objects_sent == 2
    assert_published(objects, store)
    store.save({"x": ROWS})
    send()
    store.drop("x")
    send()
    assert_published(objects, store)


def test_log_and_header_are_written_last(filled, objects, send):
    send()
    writes = [name for kind, name in objects.calls if kind == "write"]
    assert writes[-2:] == ["commits.log", "numpack.json"]
    filled.append({"long": np.ones(5, "u1")})
    send()  # the first extents: the header is of version 3 before the log has them
    writes = [name for kind, name in objects.calls if kind == "write"]
    assert writes[-2:] == ["numpack.json", "commits.log"]
    assert objects.contents["numpack.json"] == b'{"format": "numpack", "version": 3}\n'


def test_attributes(filled, objects, send):
    filled.attrs["x"].update(dims=["a", "b"])
    filled.attrs.store["title"] = "t"
    send()
    assert_published(objects, filled)
    assert objects.contents["numpack.json"] == b'{"format": "numpack", "version": 2}\n'
    filled.attrs["y"]["a"] = 1
    report = send()
    assert_published(objects, filled)
    assert (report.objects_sent, report.arrays) == (1, ())


def test_commit_that_was_published_before_is_not_sent(filled, objects, send):
    send()
    before = dict(objects.versions)
    report = send()
    assert (report.bytes_sent, report.objects_sent, report.arrays) == (0, 0, ())
    assert str(report) == f"commit {report.commit} was published before"
    assert objects.versions == before
    assert sorted(kind for kind, _ in objects.calls) == ["list", "read", "read"]


CHANGES = [
    lambda s, n: s.append({"x": wide(n % 40, n), "y": wide(1200 if n % 3 == 0 else 1, n)}),
    lambda s, n: s.replace({"x": wide(20, n), "y": wide(20, n)}, slice(0, 20)),
    lambda s, n: s.replace({"y": wide(1, n)}, [s.get_shape("y")[0] - 1]),
    lambda s, n: s.drop("x", [n % 20, n % 20 + 1]),
    lambda s, n: s.save({"x": wide(30 + n % 4500, n), f"n{n % 3}": wide(2, n)}),
    lambda s, n: s.drop(f"n{n % 3}") if s.has_array(f"n{n % 3}") else None,
    lambda s, n: s.save({"y": wide(2200, n)}),
    lambda s, n: s.update("x"),
    lambda s, n: s.attrs["y"].update(n=n),
    lambda s, n: s.attrs.store.update(n=n),
    lambda s, n: s.save({"long": np.roll(ALL["long"], n)[: (n % 19 + 1) * BLOCK]}),
    lambda s, n: s.append({"long": np.full(n * 50_000 % (2 * BLOCK), n, "u1")}),
    lambda s, n: s.replace({"long": np.full(BLOCK // 2, n, "u1")}, slice(0, BLOCK // 2)),
    lambda s, n: s.drop("long", slice(5, 900)),
]


def test_random_changes_between_calls(filled, objects, send):
    random = np.random.default_rng(7)
    previous = set()
    for step in range(40):
        for _ in range(random.integers(1, 4)):
            if filled.get_shape("x")[0] < 30:
                filled.save({"x": wide(40, step)})
            if filled.get_shape("long")[0] < BLOCK:
                filled.save({"long": ALL["long"]})
            CHANGES[random.integers(len(CHANGES))](filled, step)
        report = send()
        assert_published(objects, filled)
        needed = needed_by(objects.contents)
        if report.objects_sent:
            assert set(objects.contents) == needed | previous
            previous = needed


def test_rows_written_in_place_are_copied_with_checksums(filled, objects, send):
    with filled.writable_batch_mode() as batch:
        batch.load("y")[:] = 5
        batch.load("none")
        send()
        assert not catalog_of(objects.contents).arrays["y"].writable
        found = arrays_of(objects.contents)
        assert (found["y"] == 5).all()
        assert send().objects_sent == 0
    send()
    assert_published(objects, filled)


def test_replace_that_is_not_in_place_yet_is_published(store, objects, send):
    store.save({"x": wide(1300), "y": wide(1300)})
    send()
    files = [each for each in Path("s.npk/data").iterdir() if each.suffix in (".bin", ".sum")]
    before = {each: each.read_bytes() for each in files}
    store.replace({"x": wide(2, 9), "y": wide(2, 4)}, [1, 1049])
    expected = {name: store.load(name) for name in store}
    store.close()
    for path, content in before.items():  # as before the rows were put in place
        path.write_bytes(content)
    journal = Path("s.npk/journal").read_bytes()
    Path("s.npk/journal").write_bytes(b"{" + journal[1:])
    with NumPack("s.npk", mode="r") as reader:
        report = send(reader)
    assert report.arrays == ("x", "y")
    assert same(arrays_of(objects.contents), expected)


def test_earlier_commit_is_published(filled, objects, send):
    commit = filled._session().newest_commit()
    expected = {name: filled.load(name) for name in filled}
    filled.append({"x": wide(3000), "long": np.ones(BLOCK, "u1")})
    filled.drop("y", [7])
    with NumPack("s.npk", at=commit) as past:
        send(past)
    assert same(arrays_of(objects.contents), expected)
    send()
    assert_published(objects, filled)


def test_read_only_store_and_batch(filled, objects, send):
    with NumPack("s.npk", mode="r") as reader:
        send(reader)
        assert_published(objects, filled)


def test_more_arrays_than_descriptors(store, objects, send):
    store.save({f"n{number}": np.full(3, number) for number in range(100)})
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 40, before[1]))
    try:
        send()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert_published(objects, store)


def test_without_locks_of_open_files_writers_are_excluded(filled, objects, send, monkeypatch):
    from numpack.store.reading import snapshot as module

    monkeypatch.setattr(module, "hold", lambda _: False)
    with filled.writable_batch_mode() as batch:
        batch.load("y")[:] = 5
        send()
    assert (arrays_of(objects.contents)["y"] == 5).all()


def test_changes_made_meanwhile_are_not_published(filled, objects, send):
    expected = {name: filled.load(name) for name in filled}
    commit = filled._session().newest_commit()
    with NumPack("s.npk") as writer:

        def change(kind, name):
            if kind == "write" and not name.endswith((".log", ".json")):
                number = len(objects.calls)
                writer.replace({"y": wide(3, number), "x": wide(3, number)}, slice(0, 3))
                writer.append({"x": wide(3, number), "long": np.ones(3, "u1")})
                writer.save({"exact": np.full(4, number)})

        objects.before = change
        report = send()
    assert report.commit == commit
    assert same(arrays_of(objects.contents), expected)
    objects.before = lambda kind, name: None
    send()
    assert_published(objects, filled)


def test_progress_counts_the_bytes_that_are_sent(filled, objects, send):
    for change in (lambda: None, lambda: filled.append({"x": wide(2000)})):
        change()
        calls = []
        send(callback=lambda *args, calls=calls: calls.append(args))
        sizes = {name: size for name, size in objects.written.items() if "data/" in name}
        assert len(calls) >= len(sizes)
        assert [count for count, _ in calls] == sorted(count for count, _ in calls)
        assert calls[-1] == (sum(sizes.values()),) * 2


# Damage --------------------------------------------------------------------------------------


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def file_of(store, name, kind):
    return Path("s.npk", getattr(store._session().arrays()[name], f"{kind}_file"))


@pytest.mark.parametrize(
    ("name", "kind", "at", "what"),
    [
        ("long", "data", 0, "block 0"),
        ("long", "data", 11 * BLOCK, "block 11"),
        ("long", "data", 19 * BLOCK + 4, "block 19"),
        ("x", "data", 77, "block 0"),
        ("long", "checksum", 5, "block 1"),
        ("y", "dropped", 3, "deleted rows"),
    ],
)
def test_damaged_block_is_not_published(filled, objects, send, name, kind, at, what):
    path = file_of(filled, name, kind)
    flip(path, at)
    with pytest.raises(CorruptStoreError, match=what) as raised:
        send()
    assert f"array {name!r}" in str(raised.value)
    assert objects.contents == {}, "nothing is left"
    flip(path, at)
    send()
    before = dict(objects.contents)
    filled.save({"long": ALL["long"][::-1], "x": wide(1048, 3), "y": wide(5000, 1)})
    filled.drop("y", [4])
    flip(file_of(filled, name, kind), at)
    with pytest.raises(CorruptStoreError, match=what):
        send()
    assert objects.contents == before


@pytest.mark.parametrize("kind", ["data", "checksum", "dropped"])
def test_missing_and_short_files_are_damage(filled, objects, send, kind):
    path = file_of(filled, "y", kind)
    content = path.read_bytes()
    for damage in (lambda: path.write_bytes(content[:3]), path.unlink):
        damage()
        with pytest.raises(CorruptStoreError, match="restore it|missing"):
            send()
        assert objects.contents == {}
    path.write_bytes(content)
    send()
    assert_published(objects, filled)
