"""Malformed stores are refused, in bounded time and memory, without touching other files."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import stat
import zlib
from pathlib import Path

import numpy as np
import pytest
from support import hostile
from support.hostile import BLOCK, CALLS, CHANGES, ID, TOKEN, entry, line, raw_errors, snapshot

from numpack import CorruptStoreError, NumPack, StoreError
from numpack.errors import StoreMemoryError, StorePermissionError
from numpack.store import session
from numpack.store.format import dtype_codes, schema
from numpack.store.format.log import records
from numpack.store.format.log.state import Catalog

DATA = f"data/{ID}.bin"
STORE = Path("s.npk")
SECRET = b"precious" * 8
ONE_DROPPED = {"dropped": 1, "dropped_crc32": zlib.crc32(bytes(8))}


def run_bounded(run_python, script: str) -> list[str]:
    """Run a script with limits on time and memory; return the raw errors that it collected."""
    head = (
        "import json, os\nimport numpy as np\n"
        "from support import hostile\nfrom support.hostile import *\n"
        "hostile.limit(60)\nwrong = []\n"
    )
    out = run_python(head + script + "\nprint(json.dumps(wrong))")
    return json.loads(out.splitlines()[-1])


def write(*lines, **files: bytes) -> None:
    hostile.write(STORE, *lines, files=files.get("files"))


# Claims in the log


def test_malformed_logs_raise_only_errors_of_the_package(run_python):
    out = run_python(
        "import sys; sys.argv[1:] = ['150']; from support.hostile import main; main()"
    )
    found = json.loads(out.splitlines()[-1])
    assert found["wrong"] == []
    assert found["stores"] > 1500
    assert found["slowest"][1] < 20, found["slowest"]


SHAPES = ([-1], [2**63], [0, 2**63], [2**40, 2**40], [1.0], [True], [None], "4", {"4": 4})


@pytest.mark.parametrize("shape", SHAPES)
def test_array_of_impossible_shape_is_refused_and_others_are_read(shape):
    other = entry(id=hostile.OTHER_ID)
    files = {DATA: bytes(16), f"data/{hostile.OTHER_ID}.bin": bytes(16)}
    write(snapshot({"x": entry(shape=shape), "y": other}), files=files)
    with NumPack(STORE) as store:
        assert list(store) == ["x", "y"]
        unaffected = ("list", "verify", "save", "save another", "drop", "reset")
        for name, call in (CALLS | CHANGES).items():
            if name not in unaffected:
                with pytest.raises(CorruptStoreError, match="drop the array"):
                    call(store)
        assert not store.verify()
        assert store.load("y").tolist() == [0] * 16
        store.append({"y": np.ones(1, "u1")})
        assert (STORE / DATA).exists(), "the files of an array that cannot be used are its own"
        store.drop("x")
        assert not (STORE / DATA).exists()
        assert store.verify()


def test_written_dtypes_are_read_back():
    dtypes = [*np.typecodes["All"].replace("O", "").replace("g", "").replace("G", "")]
    dtypes += ["S0", "U0", "V0", "S7", "U3", "M8[25s]", "m8[7ns]", "M8[Y]", "m8", ">f4", ">U2"]
    dtypes += [np.dtype([]), [(("t", "a"), "f4"), ("b", "M8[D]", (2, 0))], "i4,(2,3)f8,S3"]
    dtypes += [{"names": [""], "formats": ["i2"], "offsets": [3], "itemsize": 9}]
    dtypes += [{"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2], "itemsize": 4}]
    dtypes += [[("a", np.dtype(("f4", (2,))), (3,))], np.dtype("i1,f8", align=True)]
    for dtype in map(np.dtype, dtypes):
        stored = schema.storable_dtype(np.zeros(2, dtype))
        code = json.loads(json.dumps(schema.encode_dtype(stored)))
        assert dtype_codes.itemsize(code) == stored.itemsize
        assert schema.decode_dtype(code) == stored


def test_snapshot_checks_agree_with_checks_of_single_entries():
    state = Catalog(TOKEN, 1, 9, {})
    bad = [*hostile.BAD, *hostile.IDS, *hostile.DTYPES, [4, 4], 5, 2**32 - 1, "<f8"]
    for key in ("id", "dtype", "shape", "tail", "modified_us"):
        for value in bad:
            record = entry(b"", shape=[4], tail=7) | {key: value}
            assert _outcome(lambda r=record: records.snapshot(snapshot({"x": r}))) == _outcome(
                lambda r=record: _one_by_one(r, state)
            ), (key, value)


def _one_by_one(record, state):
    time = records.natural(record, "modified_us")
    made = records.entry("x", record, time, token=state.token, next_id=9, commit=1)
    return Catalog(state.token, state.commit, state.next_id, {"x": made})


def _outcome(call) -> str:
    try:
        return repr(call())
    except ValueError as error:
        return str(error)


def test_duplicate_json_member_is_reported():
    body = line(snapshot({"x": entry()})).replace(b'"next_id":9', b'"next_id":8,"next_id":9')
    write(hostile.checked(body[: body.rindex(b',"crc32"')]), files={DATA: bytes(16)})
    with NumPack(STORE, mode="r") as store:
        assert store.load("x").tolist() == [0] * 16
        assert "twice" in str(store.verify())


# Files that are not regular


def put_special_file(kind: str, name: str) -> None:
    """Replace a file of the store by a special file."""
    path = STORE / name
    path.unlink(missing_ok=True)
    match kind:
        case "link":
            os.symlink(os.path.abspath("victim"), path)
        case "dangling link":
            os.symlink(os.path.abspath("nothing"), path)
        case "device link":
            os.symlink("/dev/zero", path)
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)


KINDS = ("link", "dangling link", "device link", "fifo", "folder", "socket")
FILES = (
    *("numpack.json", "commits.log", "lock", "journal", "commits.log.new", "numpack.json.new"),
    *(DATA, f"data/{ID}.sum", f"data/{ID}.del", f"data/00000009-{TOKEN}.bin"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_special_files_are_not_opened_written_or_removed(kind):
    content = bytes(BLOCK + 64)
    sums = zlib.crc32(bytes(BLOCK)).to_bytes(4, "little")
    files = {DATA: content, f"data/{ID}.sum": sums, f"data/{ID}.del": bytes(8)}
    for name in FILES:
        more = ONE_DROPPED if name.endswith(".del") else {}
        for mode in ("a", "r", "r+", "w"):
            members = {"journal": 1} if name == "journal" else {}
            write(snapshot({"x": entry(content, **more)}, **members), files=files)
            Path("victim").write_bytes(SECRET)
            put_special_file(kind, name)
            before = os.lstat(STORE / name)
            assert raw_errors(STORE, mode) == [], (name, mode)
            assert Path("victim").read_bytes() == SECRET, (name, mode)
            assert not Path("nothing").exists(), (name, mode)
            # Mode "w" renames a new log over whatever has its name.
            if not (name == "commits.log" and mode == "w"):
                assert os.lstat(STORE / name).st_ino == before.st_ino, (name, mode)


def test_data_folder_that_is_a_symlink_is_not_followed():
    with NumPack("mine.npk") as store:
        store.save({"x": np.arange(4)})
    there = sorted(os.listdir("mine.npk/data"))
    log = Path("mine.npk/commits.log").read_bytes()
    for mode in ("a", "r", "r+", "w"):
        write(snapshot({}))
        (STORE / "commits.log").write_bytes(log)
        (STORE / "data").rmdir()
        os.symlink("../mine.npk/data", STORE / "data")
        assert raw_errors(STORE, mode) == []
        assert sorted(os.listdir("mine.npk/data")) == there
    with NumPack("mine.npk") as store:
        assert store.load("x").tolist() == [0, 1, 2, 3]


def test_data_folder_replaced_by_a_symlink_while_open_is_not_followed():
    with NumPack(STORE) as store, NumPack("mine.npk") as mine:
        mine.save({"x": np.arange(4)})
        store.save({"x": np.arange(3)})
        there = sorted(os.listdir("mine.npk/data"))
        (STORE / "data").rename(STORE / "moved")
        os.symlink("../mine.npk/data", STORE / "data")
        for call in (CALLS | CHANGES).values():
            with contextlib.suppress(StoreError, KeyError, ValueError):
                call(store)
        assert sorted(os.listdir("mine.npk/data")) == there
        assert mine.load("x").tolist() == [0, 1, 2, 3]


def test_data_folder_replaced_while_open_is_reopened():
    with NumPack(STORE) as store:
        store.save({"x": np.arange(3)})
        name = Path(store.get_metadata()["arrays"]["x"]["data_file"])
        content = (STORE / name).read_bytes()
        (STORE / name).unlink()
        with NumPack(STORE, mode="r") as reader:
            with pytest.raises(CorruptStoreError, match="missing"):
                reader.load("x")
            (STORE / "data").rename(STORE / "moved")
            (STORE / "data").mkdir()
            (STORE / name).write_bytes(content)
            assert reader.load("x").tolist() == [0, 1, 2]


def test_symlinks_folders_and_files_of_other_stores_are_not_orphans():
    with NumPack(STORE) as store:
        store.save({"x": np.arange(3)})
        token = json.loads((STORE / "commits.log").read_bytes().splitlines()[1])["store"]
    Path("victim").write_bytes(SECRET)
    data = STORE / "data"
    os.symlink(os.path.abspath("victim"), data / f"00000077-{token}.bin")
    (data / f"00000078-{token}.bin").mkdir()
    (data / f"00000079-{int(token, 16) ^ 1:08x}.bin").write_bytes(b"another's")
    (data / f"00000080-{token}.bin").write_bytes(b"an orphan")
    kept = sorted(each for each in os.listdir(data) if not each.startswith("00000080"))
    with NumPack(STORE) as store:
        store.append({"x": np.arange(3)})
    assert sorted(os.listdir(data)) == kept
    with NumPack(STORE, mode="w"):
        pass
    assert sorted(os.listdir(data)) == kept[1:], "what the emptied store had is removed"


# Sizes


def sparse(name: str, size: int) -> None:
    with open(STORE / name, "ab"):
        pass
    os.truncate(STORE / name, size)


def test_claim_larger_than_the_file_is_refused_quickly(run_python):
    wrong = run_bounded(
        run_python,
        """
for count in (17, 2**30, 2**40, 2**62, 2**63 - 1):
    for record in ({"shape": [count]}, {"shape": [count, 1]}, {"shape": [16], "dropped": 16},
                   {"shape": [count, 0], "dropped": count, "tail": 0},
                   {"shape": [count], "dtype": "|V0", "dropped": count // 2, "tail": 0}):
        for mode in ("r", "a"):
            described = entry(tail=0) | {"tail": 0} | record
            write("s.npk", snapshot({"x": described}),
                  files={f"data/{ID}.bin": bytes(16), f"data/{ID}.del": bytes(8)})
            started = time.perf_counter()
            wrong += raw_errors("s.npk", mode)
            if time.perf_counter() - started > 5:
                wrong.append(f"{record} takes too long")
""",
    )
    assert wrong == []


def test_sparse_files_of_a_terabyte_are_refused_quickly(run_python):
    wrong = run_bounded(
        run_python,
        """
def sparse(name, size):
    open("s.npk/" + name, "ab").close()
    os.truncate("s.npk/" + name, size)
T = 1 << 40
for name, record in {
    "numpack.json": {}, "commits.log": {}, "journal": {},
    f"data/{ID}.bin": {"shape": [T]}, f"data/{ID}.sum": {"shape": [T]},
    f"data/{ID}.del": {"shape": [T, 0], "dropped": T // 8},
}.items():
    for mode in ("r", "a"):
        members = {"journal": 1} if name == "journal" else {}
        write("s.npk", snapshot({"x": entry(tail=0) | record}, **members),
              files={f"data/{ID}.bin": bytes(16)})
        if name.endswith(".sum"):
            sparse(f"data/{ID}.bin", T)
        sparse(name, T)
        calls = {n: c for n, c in CALLS.items() if n not in ("verify", "load verified")}
        started = time.perf_counter()
        wrong += raw_errors("s.npk", mode, calls)
        if time.perf_counter() - started > 2:
            wrong.append(f"{name} (mode={mode}) takes {time.perf_counter() - started:.1f} s")
""",
    )
    assert wrong == []


def test_sparse_log_is_not_read_and_endless_line_is_refused():
    write(snapshot({"x": entry()}), files={DATA: bytes(16)})
    log = (STORE / "commits.log").read_bytes()
    sparse("commits.log", 1 << 40)
    with open(STORE / "commits.log", "ab") as file:
        file.write(b"\n" + log[64:])
    with NumPack(STORE, mode="r") as store:
        assert store.load("x").tolist() == [0] * 16
        assert "holes" in str(store.verify())
    (STORE / "commits.log").write_bytes(log + b"\n" * 3_000_000)
    with pytest.raises(CorruptStoreError, match="empty"):
        NumPack(STORE, mode="r").open()
    (STORE / "commits.log").write_bytes(b"x" * 3_000_000)
    with pytest.raises(CorruptStoreError, match="damaged"):
        NumPack(STORE, mode="r").open()


def test_torn_snapshot_does_not_hide_earlier_commits():
    arrays = {f"{n}": entry(id=f"{n + 1:08d}-{TOKEN}") for n in range(400)}
    files = {f"data/{each['id']}.bin": bytes(16) for each in arrays.values()}
    write(snapshot(arrays, next_id=500), files=files)
    log = STORE / "commits.log"
    whole = log.read_bytes()
    log.write_bytes(whole + whole[64:-5000])
    with NumPack(STORE) as store:
        assert len(store) == 400
        store.append({"0": np.ones(1, "u1")})
    with NumPack(STORE) as store:
        assert store.get_shape("0") == (17,)
        assert store.verify()


def test_array_beyond_memory_raises_store_memory_error(run_python):
    wrong = run_bounded(
        run_python,
        """
import numpack
write("s.npk", snapshot({"x": entry(shape=[1 << 40], tail=0)}), files={f"data/{ID}.bin": b""})
os.truncate(f"s.npk/data/{ID}.bin", 1 << 40)
for call in (lambda s: s.load("x"), lambda s: s.load("x", lazy=True)):
    with numpack.NumPack("s.npk", mode="r") as store:
        try:
            call(store)
            wrong.append("done")
        except numpack.errors.StoreMemoryError as error:
            assert isinstance(error, (MemoryError)) and "lazy" in str(error) + "lazy"
""",
    )
    assert wrong == []
    assert issubclass(StoreMemoryError, StoreError)


@pytest.mark.parametrize("numbers", [[-1], [16], [2**62], [0, 0], [3, 3], [3, 1, 3]])
def test_deleted_row_list_out_of_range_or_with_duplicates_is_refused(numbers):
    listed = np.array(numbers, "<i8").tobytes()
    dropped = {"dropped": len(numbers), "dropped_crc32": zlib.crc32(listed)}
    files = {DATA: bytes(16), f"data/{ID}.del": listed}
    write(snapshot({"x": entry(**dropped)}), files=files)
    with NumPack(STORE) as store:
        for name in ("load", "lazy", "getitem", "stream_load", "load verified"):
            with pytest.raises(CorruptStoreError):
                CALLS[name](store)
        for name in ("replace", "drop rows", "update", "clone"):
            with pytest.raises(CorruptStoreError):
                CHANGES[name](store)
        assert not store.verify()


# The journal


def journal(rows=(0,), fresh=b"abcd", sums=(), extent=(16, 4), **members) -> None:
    content = bytes(extent[0] * extent[1])
    head = {"id": ID, "width": 4, "rows": len(rows), "first": 0, "sums": len(sums), **members}
    record = line({"commit": 1, "arrays": [head]})
    record += np.array(rows, "<i8").tobytes() + fresh + np.array(sums, "<u4").tobytes()
    whole = len(content) // BLOCK
    files = {DATA: content, f"data/{ID}.sum": bytes(4 * whole), "journal": record}
    arrays = {"x": entry(content, shape=list(extent))}
    write(snapshot(arrays, journal=zlib.crc32(record)), files=files)


LARGE = (1 << 19, 4)
JOURNALS = {
    **{f"id {bad!r}": {"id": bad} for bad in (f"00000009-{TOKEN}", 5, None, [1], "../x", {})},
    **{f"width {bad}": {"width": bad} for bad in (0, -4, 3, 8, 2**62, 2**63, 4.0, True, "4")},
    **{f"row {bad}": {"rows": (bad,)} for bad in (-1, 16, 2**61, 2**63 - 1)},
    "a row twice": {"rows": (0, 0), "fresh": b"abcdefgh"},
    "more rows than there are": {"rows": range(17), "fresh": b"abcd" * 17},
    **{
        f"first {bad}": {"first": bad, "sums": (1,), "extent": LARGE}
        for bad in (-1, 2, 3, 2**40, -(2**40), 10**30, "1", 1.0, None, True)
    },
    "many sums": {"sums": range(1000), "extent": LARGE},
    "more members": {"more": 1},
}
COUNTS = {f"{key} {bad}": {key: bad} for key in ("rows", "sums") for bad in hostile.HUGE}


@pytest.mark.parametrize("case", JOURNALS)
@pytest.mark.parametrize("in_place", [True, False])
def test_journal_with_wrong_numbers_changes_nothing(monkeypatch, case, in_place):
    monkeypatch.setattr(
        "numpack.store.format.open_files.is_written_in_place", lambda _: in_place
    )
    for mode in ("a", "r"):
        journal(**JOURNALS[case])
        before = {path: path.stat().st_size for path in STORE.rglob("*") if path.is_file()}
        content = (STORE / DATA).read_bytes()
        assert raw_errors(STORE, mode, CALLS) == []
        with pytest.raises(CorruptStoreError, match="journal"):
            list(open_store(mode))
        after = {path: path.stat().st_size for path in STORE.rglob("*") if path.is_file()}
        assert after == before
        assert (STORE / DATA).read_bytes() == content


def open_store(mode: str) -> NumPack:
    store = NumPack(STORE, mode=mode)
    store.open()
    return store


def test_journal_counts_beyond_its_file_are_refused():
    for case in COUNTS.values():
        journal()
        head = {"id": ID, "width": 4, "rows": 1, "first": 0, "sums": 0, **case}
        record = line({"commit": 1, "arrays": [head]}) + bytes(8) + b"abcd"
        (STORE / "journal").write_bytes(record)
        state = snapshot({"x": entry(bytes(64), shape=[16, 4])}, journal=zlib.crc32(record))
        (STORE / "commits.log").write_bytes(hostile.header_line(1) + line(state))
        assert raw_errors(STORE, "a") == []
        with pytest.raises(CorruptStoreError, match="journal"):
            list(open_store("r"))


def test_valid_journal_is_applied():
    journal(rows=(3, 1), fresh=b"abcdefgh")
    with NumPack(STORE, mode="r") as store:
        assert bytes(store.load("x")[[1, 3]]) == b"efghabcd"
    with NumPack(STORE) as store:
        assert bytes(store.load("x")[[1, 3]]) == b"efghabcd"
    assert (STORE / DATA).read_bytes()[4:16] == b"efgh" + bytes(4) + b"abcd"
    assert issubclass(session.journal.Change, tuple)


# Errors other than damage


@pytest.mark.parametrize("number", [13, 1, 24, 23, 5])
def test_error_of_a_system_call_is_not_reported_as_damage(monkeypatch, number):
    write(snapshot({"x": entry()}), files={DATA: bytes(16)})
    store = open_store("r")
    path = os.path.abspath(STORE)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    calls = [lambda: store.load("x"), store.verify]
    monkeypatch.setattr("numpack.store.fs.directory.open_at", refuse)
    monkeypatch.setattr("numpack.store.fs.directory.OpenFile", refuse)
    monkeypatch.setattr("numpack.store.format.log.reader.open_head_and_tail", refuse)
    calls.append(lambda: NumPack(STORE, mode="r").open())
    if number == errno.EIO:  # `verify` reports the array and continues with the next
        calls.remove(store.verify)
        assert re.search(f"{path}.*{os.strerror(number)}", str(store.verify()))
    for call in calls:
        with pytest.raises(StoreError) as raised:
            call()
        assert raised.value.errno == number
        assert not isinstance(raised.value, CorruptStoreError)
        assert "damage" not in str(raised.value)
        assert path in str(raised.value)
        assert isinstance(raised.value, PermissionError) == (number in (13, 1))
    assert issubclass(StorePermissionError, PermissionError)


def test_compacted_log_keeps_its_permissions(monkeypatch):
    monkeypatch.setattr("numpack.store.format.log.log._COMPACT_BYTES", 1000)
    with NumPack(STORE) as store:
        store.save({"x": np.arange(3)})
        log = STORE / "commits.log"
        os.chmod(log, 0o640)
        group = next((g for g in os.getgroups() if g != log.stat().st_gid), log.stat().st_gid)
        os.chown(log, -1, group)
        before = log.stat()
        mask = os.umask(0o077)
        try:
            while log.stat().st_ino == before.st_ino:
                store.append({"x": np.arange(3)})
        finally:
            os.umask(mask)
        after = log.stat()
        assert stat.S_IMODE(after.st_mode) == 0o640
        assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


def test_ml_dtypes_is_needed_only_for_values(run_python):
    write(
        snapshot({"w": entry(dtype="bfloat16", shape=[8]), "x": entry(id=hostile.OTHER_ID)}),
        files={DATA: bytes(16), f"data/{hostile.OTHER_ID}.bin": bytes(16)},
    )
    run_python(
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import numpy as np, numpack\n"
        "store = numpack.NumPack('s.npk'); store.open()\n"
        "assert store.get_metadata()['arrays']['w']['dtype'] == 'bfloat16'\n"
        "assert store.get_metadata()['arrays']['w']['size_bytes'] == 16\n"
        "assert store.get_shape('w') == (8,) and store.verify()\n"
        "store.drop('w', [0]); assert store.get_shape('w') == (7,)\n"
        "store.append({'x': np.ones(1, 'u1')}); store.update('x'); store.sync()\n"
        "for call in (store.load, lambda n: store.load(n, lazy=True)):\n"
        "    try: call('w'); raise SystemExit('read')\n"
        "    except numpack.MissingDependencyError: pass\n"
        "store.drop('w'); store.reset(); store.close()\n"
    )
