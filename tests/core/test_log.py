"""The commit log: its format, damage and compaction."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from support.files import contents

from numpack import CorruptStoreError, NumPack, StoreError
from numpack.store.format.log import log
from numpack.store.format.log.state import Catalog, Entry, LogCursor

LOG = Path("s.npk/commits.log")
ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        yield opened


@pytest.fixture
def history():
    """Create and close a store with a few commits of every kind."""
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "y": np.zeros(3, "u1")})
        store.append({"x": ROWS})
        store.drop("y")
        store.save({"z": ROWS})


def shapes() -> dict[str, tuple[int, ...]]:
    """Read every array with a new handle; return the shapes."""
    with NumPack("s.npk") as store:
        return {name: store.load(name).shape for name in store}


def data_files() -> set[str]:
    return set(os.listdir("s.npk/data"))


def line(content: dict) -> bytes:
    """Encode a line of the log as the format specifies."""
    body = json.dumps(content, separators=(",", ":")).encode()[:-1]
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


def test_state_is_immutable():
    entry = Entry("00000001-abcdef01", "<f8", (3, 2), 7, tail=9, revision=4)
    for what in (entry, Catalog("abcdef01", 1), LogCursor(3, 64, False, 64, 0, Catalog())):
        for name in (each for each in dir(what) if not each.startswith("_")):
            with pytest.raises(AttributeError):
                setattr(what, name, None)
    changed = entry.replace(tail=1, dropped=2)
    assert (changed.tail, changed.shape, changed.revision) == (1, (1, 2), 4)
    assert changed != entry == entry.replace()
    assert repr(entry).startswith("Entry(id='00000001-abcdef01', code='<f8', stored=(3, 2)")
    with pytest.raises(TypeError):
        entry.replace(rows=3)


def test_records_change_the_fields_that_they_name():
    entry = Entry("00000001-abcdef01", "<f8", (3, 2), 7, 9, 1, 2, 3, True)
    same = entry.replace(modified=8)
    assert entry.with_changes({}, 8) == same
    fields = {"tail": 1, "dropped": 2, "dropped_crc32": 3, "revision": 4, "writable": False}
    for member, value in fields.items():
        name = {"dropped_crc32": "dropped_crc"}.get(member, member)
        assert entry.with_changes({member: value}, 8) == same.replace(**{name: value})
    assert entry.with_changes({"rows": 5}, 8) == same.replace(stored=(5, 2))


def test_long_names_are_not_cached(store):
    for number in range(20):
        name = f"{number}" * 300
        store.save({name: ROWS})
        store.append({name: ROWS})
    assert max(map(len, log._keys), default=0) < 200


# The format


def test_each_line_is_json_that_ends_with_its_checksum(history):
    lines = LOG.read_bytes().splitlines(keepends=True)
    assert len(lines) > 5
    for each in lines:
        body, check, rest = each.partition(b',"crc32":"')
        assert check
        assert rest == b'%08x"}\n' % zlib.crc32(body)
        assert json.loads(each)["crc32"] == f"{zlib.crc32(body):08x}"
        assert each.isascii()
    assert len(lines[0]) == 64


def test_lines_record_the_commits(history):
    header_line, first, *lines = map(json.loads, LOG.read_bytes().splitlines())
    assert (header_line["numpack"], header_line["commits"]) == (1, 4)
    token = first["store"]
    assert re.fullmatch("[0-9a-f]{8}", token)
    assert first.keys() == {"store", "commit", "next_id", "arrays", "crc32"}
    assert (first["commit"], first["next_id"], first["arrays"]) == (0, 1, {})
    commits = [line for line in lines if "store" not in line]
    assert [commit["commit"] for commit in commits] == [1, 2, 3, 4]
    times = [commit["time_us"] for commit in commits]
    assert times == sorted(times)
    assert commits[0]["put"] == {
        "x": {
            "id": f"00000001-{token}",
            "dtype": "<f8",
            "shape": [3, 2],
            "tail": zlib.crc32(ROWS.tobytes()),
        },
        "y": {
            "id": f"00000002-{token}",
            "dtype": "|u1",
            "shape": [3],
            "tail": zlib.crc32(bytes(3)),
        },
    }
    assert commits[1]["set"] == {"x": {"rows": 6, "tail": zlib.crc32(2 * ROWS.tobytes())}}
    assert commits[2]["drop"] == ["y"]
    assert commits[3]["put"]["z"]["id"] == f"00000003-{token}"


def test_snapshot_holds_the_state_of_the_commits_before_it(history):
    *_, last = map(json.loads, LOG.read_bytes().splitlines())
    assert last.keys() == {"store", "commit", "next_id", "arrays", "crc32"}
    assert (last["commit"], last["next_id"]) == (4, 4)
    assert {name: each["shape"] for name, each in last["arrays"].items()} == {
        "x": [6, 2],
        "z": [3, 2],
    }


@pytest.mark.parametrize(
    ("dtype", "code"),
    [
        (">i4", "<i4"),
        ("?", "|b1"),
        ("M8[25ms]", "<M8[25ms]"),
        ("S3", "|S3"),
        ("U3", "<U3"),
        (
            np.dtype([("a", ">i4"), ("b", "u1", (2, 3))]),
            {
                "names": ["a", "b"],
                "formats": ["<i4", ["|u1", [2, 3]]],
                "offsets": [0, 4],
                "itemsize": 10,
            },
        ),
    ],
)
def test_dtypes_are_encoded_as_little_endian(store, dtype, code):
    store.save({"x": np.zeros(1, dtype)})
    put = json.loads(LOG.read_bytes().splitlines()[2])["put"]
    assert put["x"]["dtype"] == code


def header_line(commits: int) -> bytes:
    """Return the header line of a log, which has 64 bytes."""
    body = b'{"numpack":1,"commits":%-20d' % commits
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


RECORD = {"id": "00000007-0123abcd", "dtype": "<f8", "shape": [3, 2], "tail": 0}
SNAPSHOT = {"store": "0123abcd", "commit": 4, "next_id": 9}


@pytest.fixture
def hand_written(store):
    """Create a store with a hand-written log; return its lines."""
    store.close()
    Path("s.npk/data/00000007-0123abcd.bin").write_bytes(3 * ROWS.tobytes())
    arrays = {"x": {**RECORD, "tail": zlib.crc32(ROWS.tobytes()), "modified_us": 5}}
    lines = [header_line(4), line({**SNAPSHOT, "arrays": arrays})]
    for number, rows in enumerate((6, 9), 5):
        tail = zlib.crc32(rows // 3 * ROWS.tobytes())
        change = {"x": {"rows": rows, "tail": tail}}
        lines.append(line({"commit": number, "time_us": 7, "set": change}))
    LOG.write_bytes(b"".join(lines))
    return lines


def test_hand_written_log_can_be_opened(hand_written):
    with NumPack("s.npk") as other:
        assert np.array_equal(other.load("x", verify=True), np.concatenate(3 * [ROWS]))
        assert other.verify().ok
        assert other.get_modify_time("x") == 7
        other.save({"y": ROWS})
    assert data_files() == {"00000007-0123abcd.bin", "00000009-0123abcd.bin"}


# Torn last lines


def test_torn_last_line_is_ignored_and_truncated_by_the_next_writer(hand_written):
    whole = b"".join(hand_written)
    start = len(whole) - len(hand_written[-1])
    for end in range(start, len(whole)):
        LOG.write_bytes(whole[:end])
        assert shapes() == {"x": (6, 2)}
        assert LOG.read_bytes() == whole[:end]
    with NumPack("s.npk") as store:
        store.append({"x": ROWS})
        assert LOG.read_bytes()[:start] == whole[:start]
        added = json.loads(LOG.read_bytes()[start:].splitlines()[0])
        assert added["set"]["x"]["rows"] == 9
    assert shapes() == {"x": (9, 2)}


@pytest.mark.parametrize("cut", ["by a line", "inside a line"])
def test_log_truncated_after_close_is_damage(history, cut):
    lines = LOG.read_bytes().splitlines(keepends=True)
    last = max(number for number, each in enumerate(lines) if b'"time_us"' in each)
    kept = b"".join(lines[:last]) + (lines[last][:20] if cut == "inside a line" else b"")
    LOG.write_bytes(kept)
    check_refused("commits up to 4 were made, and it ends with 3")


def test_open_handle_reads_on_after_another_truncated_a_torn_line(history):
    with NumPack("s.npk") as reader, NumPack("s.npk") as writer:
        assert reader.get_member_list() == ["x", "z"]
        with LOG.open("ab") as log:
            log.write(b'{"commit":5,"time_us":1,"drop":["x","z"]' + b" " * 500)
        assert reader.get_member_list() == ["x", "z"]
        writer.append({"x": ROWS})
        assert reader.get_shape("x") == (9, 2)


# Damage


def check_refused(phrase: str) -> None:
    """Check that opening reports the damage and changes no byte."""
    before = contents()
    with pytest.raises(CorruptStoreError, match=phrase) as raised:
        NumPack("s.npk").open()
    assert isinstance(raised.value, OSError)
    assert "commits.log" in str(raised.value)
    assert "restore it from a backup" in str(raised.value)
    assert contents() == before


def test_flipped_bit_is_reported_by_open_or_verify(history):
    whole, right = LOG.read_bytes(), shapes()
    before, harmless = contents(), 0
    for position in range(len(whole) - 1):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        LOG.write_bytes(flipped)
        try:
            assert shapes() == right
        except CorruptStoreError:
            check_refused("is damaged")
        else:
            harmless += 1
            with NumPack("s.npk", mode="r") as store:
                assert not store.verify().ok
        assert LOG.read_bytes() == flipped
    last = whole.rindex(b"\n", 0, -1)  # only the last snapshot and what follows it is needed
    assert harmless <= last + 1
    LOG.write_bytes(whole)
    assert contents() == before


def test_damage_report_names_the_readable_commits(hand_written):
    hand_written[3] = hand_written[3].replace(b"rows", b"rosw")
    LOG.write_bytes(b"".join(hand_written))
    check_refused(r"byte \d+ cannot be read \(its checksum is wrong\); up to commit 5 .*'x'")


COMMIT = {"commit": 7, "time_us": 1}


@pytest.mark.parametrize(
    ("damage", "phrase"),
    [
        (lambda lines: [], "it is empty"),
        (lambda lines: [lines[0][:-5]], "byte 0 cannot be read"),
        (lambda lines: [lines[0]], "byte 0 cannot be read"),
        (lambda lines: [lines[0], *lines[2:]], "byte 0 cannot be read"),
        (lambda lines: [*lines[:2], lines[3]], "commit 6 follows commit 4"),
        (lambda lines: [*lines, lines[-1]], "commit 6 follows commit 6"),
        (lambda lines: [*lines[:2], lines[3], lines[2]], "commit 6 follows commit 4"),
        (lambda lines: [*lines, lines[0]], "cannot be read"),
        (lambda lines: [*lines, bytes(4096) + b"\n"], "checksum"),
        (lambda lines: [*lines, b"\r\n"], "checksum"),
        (lambda lines: [*lines[:2], lines[2][:-1] + b"\r\n", lines[3]], "checksum"),
        (lambda lines: [*lines, line({**COMMIT, "set": {"w": {"rows": 1}}})], "cannot be read"),
        (lambda lines: [*lines, line({**COMMIT, "drop": ["w"]})], "cannot be read"),
        (lambda lines: [*lines, line({**COMMIT, "put": {"w": RECORD | {"id": "x"}}})], "read"),
        (lambda lines: [*lines, line({**COMMIT, "commit": "7"})], "cannot be read"),
        (lambda lines: [lines[0], line({"store": "00", "commit": 0})], "cannot be read"),
        (lambda lines: [*lines, line([5])], "cannot be read"),
        (lambda lines: [header_line(7), *lines[1:]], "commits up to 7 were made"),
    ],
)
def test_missing_repeated_or_wrong_lines_are_damage(hand_written, damage, phrase):
    LOG.write_bytes(b"".join(damage(hand_written)))
    check_refused(phrase)


@pytest.mark.parametrize(
    "harmless",
    [
        lambda lines: [*lines, b"\n"],  # a writer died before it compacted the log
        lambda lines: [b"?" * 63 + b"\n", *lines[1:]],  # the header line is being written
        lambda lines: [header_line(5), *lines[1:]],
        lambda lines: [lines[0], lines[1], lines[1], *lines[2:]],
    ],
)
def test_harmless_lines_are_ignored(hand_written, harmless):
    LOG.write_bytes(b"".join(harmless(hand_written)))
    assert shapes() == {"x": (9, 2)}
    with NumPack("s.npk") as store:
        store.append({"x": ROWS})
    assert shapes() == {"x": (12, 2)}


def test_missing_log_is_damage(history):
    LOG.unlink()
    check_refused("it is missing")


def test_folder_in_place_of_the_log_is_damage(history):
    LOG.unlink()
    LOG.mkdir()
    check_refused("damaged")


@pytest.mark.parametrize("cut", ["to nothing", "by a line", "inside a line"])
@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.get_member_list(),
        lambda s: s.load("x"),
        lambda s: s.save({"x": ROWS}),
        lambda s: s.append({"x": ROWS}),
        lambda s: s.drop("x"),
    ],
    ids=["list", "load", "save", "append", "drop"],
)
def test_open_handle_detects_a_truncated_log(history, cut, call):
    with NumPack("s.npk") as store:
        store.save({"w": ROWS})
        whole = LOG.read_bytes()
        last = whole.rindex(b"\n", 0, -1) + 1
        os.truncate(LOG, {"to nothing": 0, "by a line": last, "inside a line": last - 9}[cut])
        before = contents()
        with pytest.raises(CorruptStoreError, match="it was truncated to"):
            call(store)
        assert contents() == before


def test_handle_recovers_when_the_log_is_restored(history):
    whole = LOG.read_bytes()
    with NumPack("s.npk") as store:
        LOG.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CorruptStoreError):
            store.load("x")
        LOG.write_bytes(whole)
        assert store.load("x").shape == (6, 2)
        store.append({"x": ROWS})
    assert shapes() == {"x": (9, 2), "z": (3, 2)}


# Compaction


def test_compaction_of_thousands_of_commits(monkeypatch):
    monkeypatch.setattr("numpack.store.format.log.log._COMPACT_BYTES", 100_000)
    with NumPack("s.npk") as writer, NumPack("s.npk") as reader:
        writer.save({"x": np.zeros(0, "i8"), "y": ROWS})
        largest = 0
        for number in range(3000):
            writer.append({"x": np.array([number])})
            largest = max(largest, LOG.stat().st_size)
            if number % 100 == 50:
                assert reader.get_shape("x") == (number + 1,)
                assert reader.load("y").tolist() == ROWS.tolist()
        assert np.array_equal(reader.load("x"), np.arange(3000))
        assert 90_000 < largest < 110_000
        assert LOG.stat().st_size < largest
    with NumPack("s.npk") as again:
        assert np.array_equal(again.load("x"), np.arange(3000))
        assert again.get_member_list() == ["x", "y"]


def test_opening_does_not_read_the_whole_history():
    def read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    with NumPack("s.npk") as store:
        store.save({"x": np.zeros(0, "i8")})
        for number in range(5000):
            store.append({"x": np.array([number])})
        before = read()
        with NumPack("s.npk", mode="r") as again:
            assert again.get_shape("x") == (5000,)
        assert read() - before < 30 * 1024


def test_snapshots_and_compaction_write_a_bounded_share(monkeypatch):
    compactions, write_new = [], log.write_new

    def counting(*args, **options):
        compactions.append(args)
        return write_new(*args, **options)

    with NumPack("s.npk") as store:
        store.save({f"array {number}": np.zeros(1, "u1") for number in range(1000)})
        monkeypatch.setattr(log, "write_new", counting)
        start = LOG.stat().st_size
        for _ in range(4000):
            store.append({"array 0": np.zeros(1, "u1")})
    assert not compactions
    assert LOG.stat().st_size - start < 4000 * 200


@pytest.fixture
def frequent_compaction(monkeypatch):
    """Make the log be compacted every few commits."""
    monkeypatch.setattr("numpack.store.format.log.log._COMPACT_BYTES", 0)
    monkeypatch.setattr("numpack.store.format.log.log._COMPACT_FACTOR", 0)
    monkeypatch.setattr("numpack.store.format.log.log._SNAPSHOT_EVERY", 100)


def test_compaction_keeps_the_state(frequent_compaction, store):
    struct = np.zeros(2, [("é", "<i4"), ("b", "u1", (2,))])
    store.save({"\ud800/\n": struct, "x": ROWS, "zero": np.array(1.5), "gone": ROWS})
    store.drop("gone")
    inode = LOG.stat().st_ino
    before = store.get_metadata()
    while LOG.stat().st_ino == inode:
        before = store.get_metadata()
        store.append({"x": ROWS})
    assert LOG.read_bytes().count(b"\n") == 2
    with NumPack("s.npk") as other:
        after = other.get_metadata()
        assert after == store.get_metadata()
        assert np.array_equal(other.load("\ud800/\n"), struct)
    assert list(after["arrays"]) == list(before["arrays"])
    rows = before["arrays"].pop("x")["shape"][0]
    assert after["arrays"].pop("x")["shape"] == (rows + 3, 2)
    assert after == before


def test_handles_write_in_turn_across_compactions(frequent_compaction):
    handles = [NumPack("s.npk") for _ in range(3)]
    for handle in handles:
        handle.open()
    handles[0].save({"x": np.zeros(0, "i8")})
    for number in range(100):
        handles[number % 3].append({"x": np.array([number])})
        assert handles[number % 2].get_shape("x") == (number + 1,)
    assert np.array_equal(handles[1].load("x"), np.arange(100))
    for handle in handles:
        handle.close()


def test_idle_handle_catches_up_after_many_compactions(frequent_compaction):
    with NumPack("s.npk") as idle, NumPack("s.npk") as writer:
        writer.save({"x": np.zeros(0, "i8")})
        assert idle.get_shape("x") == (0,)
        for number in range(100):
            writer.append({"x": np.array([number])})
        idle.append({"x": np.array([100])})
        assert np.array_equal(writer.load("x"), np.arange(101))


def test_compaction_is_noticed_although_the_old_log_is_still_linked(frequent_compaction):
    with NumPack("s.npk") as first, NumPack("s.npk") as second:
        first.save({"x": np.zeros(0, "i8")})
        assert second.get_shape("x") == (0,)
        os.link(LOG, "backup.log")
        inode, count = LOG.stat().st_ino, 0
        while count < 3 or LOG.stat().st_ino == inode:
            first.append({"x": np.array([count])})
            count += 1
        first.append({"x": np.array([count])})
        second.append({"x": np.array([count + 1])})
        assert np.array_equal(first.load("x"), np.arange(count + 2))


def test_leftover_of_an_interrupted_compaction_is_ignored(history):
    leftover = Path("s.npk/commits.log.new")
    leftover.write_bytes(LOG.read_bytes()[:50])
    assert shapes() == {"x": (6, 2), "z": (3, 2)}
    with NumPack("s.npk") as store:
        store.append({"x": ROWS})
    assert shapes() == {"x": (9, 2), "z": (3, 2)}


def test_commit_succeeds_although_compaction_finds_the_disk_full(
    frequent_compaction, store, monkeypatch
):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    store.save({"x": np.zeros(0, "i8")})
    lines = LOG.read_bytes().count(b"\n")
    with monkeypatch.context() as patched:
        patched.setattr(log, "write_new", full)
        for number in range(50):
            store.append({"x": np.array([number])})
    assert LOG.read_bytes().count(b"\n") == lines + 50
    while LOG.read_bytes().count(b"\n") > 2:
        store.append({"x": np.array([50])})
    assert np.array_equal(store.load("x")[:51], np.arange(51))
    assert not Path("s.npk/commits.log.new").exists()


# File names


def test_file_names_are_never_reused(frequent_compaction, store):
    seen: list[str] = []
    for _ in range(20):
        store.save({"x": ROWS, "y": ROWS})
        with NumPack("s.npk") as other:
            other.save({"x": ROWS})
            other.drop(["x"])
            seen += [other.get_metadata()["arrays"]["y"]["data_file"]]
            other.drop(["y"])
    assert len(set(seen)) == 20


@pytest.mark.parametrize("how", ["drop_if_exists", "folder removed", "everything dropped"])
def test_file_names_are_not_reused_by_a_new_store_in_the_same_folder(how):
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "y": ROWS})
    before = data_files()
    if how == "folder removed":
        shutil.rmtree("s.npk")
    with NumPack("s.npk", drop_if_exists=how == "drop_if_exists") as store:
        store.drop(["x", "y"])
        store.save({"x": ROWS, "y": ROWS})
    assert len(data_files()) == 2
    assert not data_files() & before


def test_open_handle_follows_a_store_emptied_and_filled_again(store):
    store.save({"x": ROWS, "y": ROWS})
    with NumPack("s.npk", drop_if_exists=True) as other:
        assert store.get_member_list() == []
        other.save({"x": -ROWS})
    assert np.array_equal(store.load("x"), -ROWS)
    store.save({"y": ROWS})
    assert shapes() == {"x": (3, 2), "y": (3, 2)}


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.get_member_list(),
        lambda s: s.load("x"),
        lambda s: s.save({"x": ROWS}),
        lambda s: s.append({"x": ROWS}),
        lambda s: s.drop("x"),
    ],
    ids=["list", "load", "save", "append", "drop"],
)
def test_removed_folder_is_reported_and_not_created(store, call):
    store.save({"x": ROWS})
    shutil.rmtree("s.npk")
    with pytest.raises(StoreError, match="removed"):
        call(store)
    assert not Path("s.npk").exists()
