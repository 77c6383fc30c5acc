"""Checksums: `verify` locates every damage, and every change keeps them right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.each import for_each

from numpack import CorruptStoreError, NotFoundError, NumPack, StoreError

BLOCK = 1 << 20
WIDTH = 24  # bytes per row, so that blocks end within rows
ARRAY = np.random.default_rng(1).random((7 * BLOCK // 2 // WIDTH, 3))  # 3.5 MiB
BLOCKS = range(4)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"small": np.arange(5), "x": ARRAY})
        yield opened


def file_of(store: NumPack, suffix: str = "bin", name: str = "x") -> Path:
    data_file = Path("s.npk") / store.get_metadata()["arrays"][name]["data_file"]
    return data_file.with_suffix(f".{suffix}")


def flip(path: Path, at: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def damaged(report) -> list[tuple[str, int, range]]:
    return [(each.array, each.block, each.rows) for each in report]


def touched(block: int, rows: int = len(ARRAY)) -> range:
    """Return the rows that have bytes in a block."""
    return range(block * BLOCK // WIDTH, min(rows, -(-(block + 1) * BLOCK // WIDTH)))


def reports(store: NumPack) -> list:
    """Return the reports of this handle, of another, and of a read-only one, which agree."""
    found = [store.verify()]
    for mode in ("a", "r"):
        with NumPack("s.npk", mode=mode) as other:
            found.append(other.verify())
    assert found[0] == found[1] == found[2]
    return found


def test_report_without_damage(store):
    for report in reports(store):
        assert report.ok
        assert bool(report) is True
        assert list(report) == report.damaged == report.unchecked == []
        assert (report.blocks, report.nbytes) == (5, ARRAY.nbytes + 40)
        assert str(report) == f"5 blocks, {ARRAY.nbytes + 40:,} bytes: all as written"


def test_report_of_an_empty_store():
    with NumPack("e.npk") as store:
        assert str(store.verify()) == "0 blocks, 0 bytes: all as written"
        store.save({"x": np.zeros((0, 3)), "y": np.zeros(2, "V0"), "z": np.array(1)})
        assert store.verify().ok
        assert store.verify().blocks == 1


def test_report_of_damage(store):
    flip(file_of(store), 0)
    flip(file_of(store, name="small"), 39)
    report = store.verify()
    assert not report.ok
    assert not report
    assert len(list(report)) == 2
    lines = str(report).splitlines()
    assert lines[0].endswith("2 damaged")
    assert lines[1] == "  'small', block 0 (rows 0 to 4): its checksum is wrong"
    assert lines[2] == "  'x', block 0 (rows 0 to 43,690): its checksum is wrong"


def test_progress_increases_to_the_total(store):
    calls: list[tuple[int, int]] = []
    assert store.verify(progress=lambda done, total: calls.append((done, total))).ok
    assert calls[-1] == (ARRAY.nbytes + 40,) * 2
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert {total for _, total in calls} == {ARRAY.nbytes + 40}


@for_each("bit", [0, 7])
@for_each("where", ["first", "middle", "last"])
@for_each("block", BLOCKS)
def test_flipped_bit_is_located(store, block, where, bit):
    end = min((block + 1) * BLOCK, ARRAY.nbytes)
    at = {"first": block * BLOCK, "middle": (block * BLOCK + end) // 2, "last": end - 1}[where]
    flip(file_of(store), at, bit)
    for report in reports(store):
        assert damaged(report) == [("x", block, touched(block))]
        assert at // WIDTH in report.damaged[0].rows
    flip(file_of(store), at, bit)
    assert store.verify().ok


@pytest.mark.parametrize("block", BLOCKS)
def test_damage_is_reported_in_live_row_numbers(store, block):
    dropped = np.arange(0, len(ARRAY), 2)
    store.drop("x", dropped)
    flip(file_of(store), block * BLOCK + 100)
    before = touched(block)
    rows = range(before.start // 2, before.stop // 2)
    for report in reports(store):
        assert damaged(report) == [("x", block, rows)]


def test_block_of_dropped_rows_only_is_checked(store):
    store.drop("x", slice(0, 100_000))
    flip(file_of(store), 5)
    (found,) = store.verify()
    assert (found.block, len(found.rows)) == (0, 0)
    assert "no rows" in str(found)


def test_all_damaged_blocks_are_reported(store):
    for block in (3, 0, 2):
        flip(file_of(store), block * BLOCK)
    assert [each.block for each in store.verify()] == [0, 2, 3]


@pytest.mark.parametrize("size", [0, 1, BLOCK, 2 * BLOCK + 5, ARRAY.nbytes - 1])
def test_truncated_data_file_is_damage_from_the_truncated_block_on(store, size):
    cut(file_of(store), size)
    for report in reports(store):
        assert [each.block for each in report] == list(range(size // BLOCK, 4))
        assert all("truncated" in each.what or size % BLOCK for each in report)


@pytest.mark.parametrize("suffix", ["bin", "del"])
def test_missing_file_is_damage_of_all_rows(store, suffix):
    store.drop("x", [1])
    path = file_of(store, suffix)
    path.unlink()
    for report in reports(store):
        assert damaged(report) == [("x", -1, range(len(ARRAY) - 1))]
        assert path.name in str(report)


def test_bytes_after_the_rows_are_not_checked(store):
    with file_of(store).open("ab") as file:
        file.write(b"more")
    assert all(reports(store))


@pytest.mark.parametrize("block", range(3))
def test_flipped_checksum_is_damage_of_its_block(store, block):
    flip(file_of(store, "sum"), 4 * block + 2)
    for report in reports(store):
        assert damaged(report) == [("x", block, touched(block))]


def test_missing_checksums_are_damage_of_their_blocks(store):
    file_of(store, "sum").unlink()
    for report in reports(store):
        assert [each.block for each in report][:3] == [0, 1, 2]
        assert "checksum is missing" in str(report)
    with pytest.raises(CorruptStoreError, match="checksum"):
        store.load("x", verify=True)


@pytest.mark.parametrize("size", [0, 3, 4, 11])
def test_truncated_checksums_are_damage_of_their_blocks(store, size):
    cut(file_of(store, "sum"), size)
    for report in reports(store):
        assert [each.block for each in report if each.block < 3] == list(range(size // 4, 3))


@pytest.mark.parametrize("at", [0, 8, 23])
def test_flipped_bit_in_the_deleted_row_list_is_damage(store, at):
    store.drop("x", [1, 5, 7])
    path = file_of(store, "del")
    flip(path, at)
    for report in reports(store):
        assert damaged(report) == [("x", -1, range(len(ARRAY) - 3))]
        assert "deleted-row list" in str(report)
    with NumPack("s.npk") as other, pytest.raises(CorruptStoreError, match="deleted-row list"):
        other.load("x")


@pytest.mark.parametrize("size", [0, 8, 23])
def test_truncated_deleted_row_list_is_damage(store, size):
    store.drop("x", [1, 5, 7])
    cut(file_of(store, "del"), size)
    for report in reports(store):
        assert damaged(report) == [("x", -1, range(len(ARRAY) - 3))]


def test_damage_in_an_unused_line_of_the_log_is_reported(store):
    for _ in range(2000):
        store.append({"small": np.arange(1)})
    log = Path("s.npk/commits.log")
    at = log.read_bytes().index(b'"set"')
    flip(log, at)
    with NumPack("s.npk", mode="r") as other:
        report = other.verify()
        assert other.get_shape("small") == (2005,)
    assert damaged(report) == [("", -1, range(0))]
    assert "commits.log is damaged" in str(report)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dropped", [[], [5], slice(None, None, 2)], ids=repr)
def test_load_verifies_all_blocks(store, dropped, lazy):
    store.drop("x", dropped)
    left = np.delete(ARRAY, dropped, 0)
    assert np.array_equal(store.load("x", lazy=lazy, verify=True), left)
    flip(file_of(store), ARRAY.nbytes - 1)
    with pytest.raises(CorruptStoreError, match=r"'x', block 3 .*checksum is wrong.*backup"):
        store.load("x", lazy=lazy, verify=True)
    assert store.load("x", lazy=lazy).shape == left.shape
    assert store.load("small", lazy=lazy, verify=True)[4] == 4
    with pytest.raises(NotFoundError, match="'nope'"):
        store.load("nope", lazy=lazy, verify=True)


def test_array_open_for_writing_in_place_is_unchecked(store):
    with NumPack("s.npk", mode="r") as other, store.writable_batch_mode() as batch:
        batch.load("x")[0] = 0
        for handle in (store, other):
            report = handle.verify()
            assert report.ok
            assert report.unchecked == ["x"]
            assert report.blocks == 1
            assert "not checked, because they have no checksums: 'x'" in str(report)
            with pytest.raises(StoreError, match="no checksums"):
                handle.load("x", verify=True)
    assert [report.unchecked for report in reports(store)] == [[], [], []]
    assert store.load("x", verify=True)[0].tolist() == [0, 0, 0]


def test_replace_does_not_hide_damage_in_its_block(store):
    flip(file_of(store), 100 * WIDTH)
    store.replace({"x": ARRAY[:1]}, 7)
    assert [each.block for each in store.verify()] == [0]


def test_replace_with_missing_checksums_is_refused(store):
    file_of(store, "sum").unlink()
    with pytest.raises(CorruptStoreError, match="checksums"):
        store.replace({"x": ARRAY[:1]}, 7)
    assert np.array_equal(store.load("x"), ARRAY)


WIDTHS = [1, 7, 24, 4096, BLOCK // 3, BLOCK - 1, BLOCK, BLOCK + 1]
STEPS = st.tuples(
    st.sampled_from(["append", "replace", "drop", "update", "reopen", "writable", "clone"]),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=25)
@given(st.sampled_from(WIDTHS), st.lists(STEPS, min_size=1, max_size=12))
def test_checksums_are_right_after_drawn_changes(tmp_path_factory, width, steps):
    path = tmp_path_factory.mktemp("sums") / "s"
    first = np.random.default_rng(width)
    most = max(3, 5 * BLOCK // 2 // width)
    model = first.integers(0, 256, (most // 2, width), np.uint8)
    store = NumPack(path)
    with store:
        store.save({"x": model})
    store.open()
    for what, seed in steps:
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, max(2, most // 2)))
        if what == "append":
            fresh = rng.integers(0, 256, (count, width), np.uint8)
            store.append({"x": fresh})
            model = np.concatenate([model, fresh])
        elif what == "replace" and len(model):
            rows = rng.integers(0, len(model), count)
            fresh = rng.integers(0, 256, (count, width), np.uint8)
            store.replace({"x": fresh}, rows)
            model[rows] = fresh
        elif what == "drop" and len(model):
            rows = rng.integers(0, len(model), max(1, count // 3))
            store.drop("x", rows)
            model = np.delete(model, rows, 0)
        elif what == "update":
            store.update("x")
        elif what == "writable":
            with store.writable_batch_mode() as batch:
                view = batch.load("x")
                view[len(view) // 2 :] ^= 1
            model[len(model) // 2 :] ^= 1
        elif what == "clone":
            store.clone("x", "y")
            store.drop("x")
            store.clone("y", "x")
            store.drop("y")
        else:
            store.close()
            store.open()
        assert store.verify().ok, (what, store.verify())
    assert np.array_equal(store.load("x", verify=True), model)
    store.close()
    with NumPack(path) as other:
        assert other.verify().ok
        assert np.array_equal(other.load("x", verify=True), model)


def test_report_is_consistent_beside_a_writer():
    import threading

    rows, done, errors = np.ones((2000, 64)), threading.Event(), []
    with NumPack("s.npk") as writer, NumPack("s.npk", mode="r") as reader:
        writer.save({"x": rows})

        def write():
            try:
                while not done.is_set():
                    writer.append({"x": rows[:300]})
                    writer.replace({"x": rows[:300]}, slice(0, 300))
                    writer.drop("x", slice(0, 600, 2))
                    writer.update("x")
                    writer.save({"y": rows, "x": rows})
                    writer.drop("y")
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(10):
                report = reader.verify()
                assert report.ok, str(report)
                assert reader.load("x", verify=True).all()
        finally:
            done.set()
            thread.join()
        assert not errors
