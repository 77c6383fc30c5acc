"""How much is sent of a store of which little has changed, and what becomes of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.store.objects import BLOCK, arrays_of, catalog_of, extents_of, needed_by, same

from numpack.store.publishing import plan as planning

WIDTH = 4096
COUNT = 100 * BLOCK // WIDTH
SIZE = 20 * BLOCK
MEDIUM = SIZE // WIDTH
RANDOM = np.random.default_rng(9)


def bytes_of(count: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, WIDTH), np.uint8)


@pytest.fixture
def large(store, send):
    """A published store of 100 MiB in one array."""
    store.save({"x": bytes_of(COUNT)})
    send()
    return store


def read(objects, store):
    assert same(arrays_of(objects.contents), {name: store.load(name) for name in store})


@pytest.fixture
def medium(store, send):
    """A published store of 20 MiB in one array."""
    store.save({"x": bytes_of(MEDIUM)})
    send()
    return store


def append_few(store):
    store.append({"x": bytes_of(70)})


# One percent of the store changed: at most three percent is sent ------------------------------


def append_rows(store):
    store.append({"x": bytes_of(COUNT // 100)})


def append_rows_within_a_block(store):
    store.append({"x": bytes_of(7)})
    store.append({"x": bytes_of(COUNT // 100 - 7)})


def replace_rows(store):
    store.replace({"x": bytes_of(COUNT // 100)}, slice(5000, 5000 + COUNT // 100))


def drop_rows(store):
    store.drop("x", np.arange(0, store.get_shape("x")[0], 100))


@pytest.mark.parametrize(
    "change", [append_rows, append_rows_within_a_block, replace_rows, drop_rows]
)
def test_one_percent_of_an_array(large, objects, send, change):
    before = sum(map(len, objects.contents.values()))
    for _ in range(3):
        change(large)
        report = send()
        assert report.bytes_sent == objects.bytes_written <= 0.03 * before
        assert report.arrays == ("x",)
    read(objects, large)


def test_one_array_of_a_hundred(store, objects, send):
    store.save({f"n{number}": bytes_of(BLOCK // WIDTH) for number in range(100)})
    before = send().bytes_sent
    for number in (50, 0, 99):
        store.save({f"n{number}": bytes_of(BLOCK // WIDTH)})
        report = send()
        assert report.bytes_sent == objects.bytes_written <= 0.03 * before
        assert report.arrays == (f"n{number}",)
    store.drop("n5")
    assert send().bytes_sent <= 0.03 * before
    read(objects, store)


def test_array_that_is_saved_again_with_few_changes(medium, objects, send):
    changed = medium.load("x")
    changed[100] += 1
    medium.save({"x": changed})
    report = send()
    assert BLOCK < report.bytes_sent < BLOCK + 2000
    read(objects, medium)


def test_array_that_is_saved_again_unchanged_is_not_sent(medium, objects, send):
    medium.save({"x": medium.load("x")})
    report = send()
    assert (report.objects_sent, report.arrays) == (1, ())
    read(objects, medium)


def test_array_under_another_name_is_sent(medium, objects, send):
    medium.clone("x", "y")
    medium.drop("x")
    assert send().arrays == ("y",)
    read(objects, medium)


# What is sent as a whole ---------------------------------------------------------------------


def test_array_of_which_much_changed_is_sent_as_a_whole(medium, objects, send):
    medium.replace({"x": bytes_of(MEDIUM * 6 // 10)}, slice(0, MEDIUM * 6 // 10))
    assert send().bytes_sent > SIZE
    assert catalog_of(objects.contents).arrays["x"].extents is None
    read(objects, medium)


def test_rows_everywhere_are_sent_as_a_whole(medium, objects, send):
    medium.replace({"x": bytes_of(MEDIUM // 64)}, slice(0, None, 64))
    assert send().bytes_sent > SIZE
    assert catalog_of(objects.contents).arrays["x"].extents is None


def test_array_of_another_dtype_or_width_is_sent_as_a_whole(medium, objects, send):
    rows = medium.load("x")
    for other in (rows.view("<i2"), rows.reshape(-1, WIDTH // 2), rows.reshape(-1), rows[0, 0]):
        medium.save({"x": other})
        send()
        assert catalog_of(objects.contents).arrays["x"].extents is None
        read(objects, medium)


def test_objects_do_not_keep_more_than_the_size_of_the_array(medium, objects, send):
    kinds = set()
    for _ in range(40):
        start = RANDOM.integers(MEDIUM * 2 // 3)
        medium.replace({"x": bytes_of(MEDIUM // 3)}, slice(start, start + MEDIUM // 3))
        send()
        entry = catalog_of(objects.contents).arrays["x"]
        names = extents_of(objects.contents, entry).object_names()
        assert sum(len(objects.contents[name]) for name in names) <= 2 * entry.nbytes
        kinds.add(entry.extents is None)
    assert kinds == {False, True}
    read(objects, medium)


def test_array_with_too_many_extents_is_sent_as_a_whole(medium, objects, send, monkeypatch):
    monkeypatch.setattr(planning, "MAX_EXTENTS", 5)
    counts = []
    for step in range(5):
        medium.replace({"x": bytes_of(1)}, [(4 * step + 1) * BLOCK // WIDTH])
        send()
        extents = catalog_of(objects.contents).arrays["x"].extents
        counts.append(None if extents is None else extents[0])
    assert counts == [3, 5, None, 3, 5]
    read(objects, medium)


def test_rows_that_were_deleted_and_removed(medium, objects, send):
    drop_rows(medium)
    send()
    medium.update("x")
    assert send().bytes_sent > 9 * SIZE // 10
    entry = catalog_of(objects.contents).arrays["x"]
    assert (entry.dropped, entry.extents) == (0, None)
    read(objects, medium)


def test_array_that_became_shorter(medium, objects, send):
    medium.save({"x": medium.load("x")[: MEDIUM // 2 + 3]})
    assert send().bytes_sent < 2 * BLOCK
    medium.save({"x": medium.load("x")[:0]})
    send()
    read(objects, medium)


# Objects that are not as they should be ------------------------------------------------------


@pytest.mark.parametrize("damage", ["missing", "short"])
@pytest.mark.parametrize("kind", ["bin", "sum", "del", "ext"])
def test_missing_objects_are_not_used_again(medium, objects, send, kind, damage):
    medium.append({"x": bytes_of(3)})
    medium.drop("x", [5])
    send()
    for name in [each for each in objects.contents if each.endswith(f".{kind}")]:
        if damage == "missing":
            objects._drop(name)
        else:
            objects._put(name, objects.contents[name][:-1], None, False)
    medium.append({"x": bytes_of(3)})
    assert send().bytes_sent > SIZE
    assert catalog_of(objects.contents).arrays["x"].extents is None
    read(objects, medium)
    medium.append({"x": bytes_of(3)})
    assert send().bytes_sent < 2 * BLOCK


def test_damaged_extents_are_not_used_again(medium, objects, send):
    append_few(medium)
    send()
    (name,) = [each for each in objects.contents if each.endswith(".ext")]
    objects._put(name, bytes(len(objects.contents[name])), None, False)
    append_few(medium)
    assert send().bytes_sent > SIZE
    read(objects, medium)


def test_objects_of_others_stay(medium, objects, send):
    token = catalog_of(objects.contents).token
    others = [
        "data/notes.txt",
        "data/00000001-00c0ffee.bin",
        f"data/00000001-{token}.tmp",
        f"data/x00000001-{token}.bin",
        f"data/folder/00000001-{token}.bin",
    ]
    kinds = "bin", "sum", "del", "ext"
    orphans = [
        f"data/{number}-{token}.{kind}" for number in (2**33, 12345678) for kind in kinds
    ]
    for name in [*others, *orphans]:
        objects._put(name, b"x", None, False)
    append_few(medium)
    send()
    assert set(others) | set(orphans) < set(objects.contents), "they are newer than the log"
    append_few(medium)
    send()
    append_few(medium)
    send()
    assert set(others) < set(objects.contents)
    assert not set(orphans) & set(objects.contents)
    previous = needed_by(objects.contents)
    append_few(medium)
    send()
    assert set(objects.contents) == needed_by(objects.contents) | previous | set(others)


def copy_folder(objects):
    """Copy the files of the store, as another tool does: the log has commits."""
    folder = Path("s.npk")
    for path in folder.rglob("*"):
        if path.is_file():
            objects._put(str(path.relative_to(folder)), path.read_bytes(), None, False)


def test_folder_that_was_copied_is_published_on(store, objects, send):
    store.save({"x": bytes_of(4 * BLOCK // WIDTH), "y": np.arange(5)})
    store.append({"y": np.arange(3)})
    copy_folder(objects)
    assert send().objects_sent == 0
    store.append({"x": bytes_of(1)})
    report = send()
    assert report.arrays == ("x",)
    assert report.bytes_sent < BLOCK
    read(objects, store)


def test_copied_folder_with_a_journal_is_sent_as_a_whole(store, objects, send):
    store.save({"x": bytes_of(4 * BLOCK // WIDTH)})
    store.replace({"x": bytes_of(1)}, [0])
    copy_folder(objects)
    store.append({"x": bytes_of(1)})
    assert send().bytes_sent > 4 * BLOCK
    read(objects, store)
