"""What every store reads."""

import threading

import numpy as np
import pytest
from support.each import assert_each

from numpack.errors import (
    InvalidValueError,
    MissingFileError,
    ObjectChangedError,
    RemoteError,
)
from numpack.object_store import coalescing, open_object_store, reading

from .conftest import CONTENT


def test_whole_objects_and_tails(objects):
    written = objects.write("data/1.bin", CONTENT)
    assert objects.read("data/1.bin") == (CONTENT.tobytes(), written)
    for nbytes in (1, 1000, CONTENT.size, CONTENT.size + 1):
        tail, version = objects.read_tail("data/1.bin", nbytes)
        assert tail == CONTENT[-nbytes:].tobytes()
        assert version == written
        assert version.size == CONTENT.size
    with pytest.raises(InvalidValueError, match="pass 1 or more"):
        objects.read_tail("data/1.bin", 0)


def test_empty_object(objects):
    objects.write("empty", b"")
    assert objects.read("empty")[0] == b""
    tail, version = objects.read_tail("empty", 10)
    assert (tail, version.size) == (b"", 0)
    out = np.empty(0, np.uint8)
    assert objects.read_ranges("empty", [], [], out) == version
    assert objects.read_ranges("empty", [3], [3], out, version=version) == version
    assert objects.read_many([("empty", -1, -1), ("empty", 0, 0)]) == [b"", b""]


def ranges_of(rng, count):
    starts = rng.integers(0, CONTENT.size - 5000, count)
    return starts, starts + rng.integers(0, 5000, count)


def test_ranges_of_any_kind(objects):
    version = objects.write("x", CONTENT)
    rng = np.random.default_rng(1)
    rows = rng.integers(0, CONTENT.size // 512, 400) * 512

    def check(starts, ends):
        wanted = [CONTENT[a:b] for a, b in zip(starts, ends, strict=True)]
        out = np.empty(sum(map(len, wanted)), np.uint8)
        assert objects.read_ranges("x", starts, ends, out, version=version) == version
        assert np.array_equal(out, np.concatenate(wanted))

    assert_each(
        [
            ([5], [9]),
            ([0], [CONTENT.size]),
            ([7, 7, 3], [9, 9, 200_000]),
            ([9, 0, 4], [9, 0, 5]),
            (rows, rows + 512),
            (np.arange(0, 9000, 9), np.arange(0, 9000, 9) + 1),
            *(ranges_of(rng, 60) for _ in range(5)),
        ],
        check,
    )


def test_long_ranges_are_split(objects, monkeypatch):
    monkeypatch.setattr(coalescing.parts_of, "__defaults__", (1000,))
    objects.write("x", CONTENT)
    out = np.empty(CONTENT.size + 10_500, np.uint8)
    objects.read_ranges("x", [0, 500], [CONTENT.size, 11_000], out)
    assert np.array_equal(out, np.concatenate([CONTENT, CONTENT[500:11_000]]))


def test_arguments_that_do_not_fit(objects):
    objects.write("x", CONTENT)
    out = np.empty(10, np.uint8)

    def check(starts, ends, message):
        with pytest.raises(InvalidValueError, match=message):
            objects.read_ranges("x", starts, ends, out)

    assert_each(
        [
            ([0], [11], "ranges of 11 bytes for memory of 10"),
            ([0, 1], [10], "2 ranges begin and 1 end"),
            ([-1], [9], "before byte 0"),
            ([20, 0], [15, 15], "ends before it begins"),
        ],
        check,
    )


def test_range_beyond_the_end(objects):
    version = objects.write("x", CONTENT)
    out = np.empty(100, np.uint8)
    for start in (CONTENT.size - 50, CONTENT.size, CONTENT.size + 1000):
        for given in (None, version):
            with pytest.raises(RemoteError, match="300000 bytes|it ends before"):
                objects.read_ranges("x", [start], [start + 100], out, version=given)


def test_object_that_does_not_exist(objects):
    objects.write("x", b"1")
    out = np.empty(1, np.uint8)
    for call in (
        lambda: objects.read("data/9.bin"),
        lambda: objects.read_tail("data/9.bin", 10),
        lambda: objects.read_ranges("data/9.bin", [0], [1], out),
        lambda: objects.read_many([("x", 0, 1), ("data/9.bin", 0, 1)]),
    ):
        with pytest.raises(MissingFileError, match="data/9.bin does not exist") as caught:
            call()
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_object_that_is_written_again(objects):
    old = objects.write("x", CONTENT)
    out = np.empty(10, np.uint8)
    objects.write("x", CONTENT[:5])
    for starts in ([0], [2], [100]):
        with pytest.raises(ObjectChangedError, match="written again"):
            objects.read_ranges("x", starts, [starts[0] + 10], out, version=old)
    objects.write("x", CONTENT[::-1])
    with pytest.raises(ObjectChangedError, match="written again"):
        objects.read_ranges("x", [0], [10], out, version=old)


def test_many_small_objects(objects):
    names = [f"data/{i}.sum" for i in range(150)]
    for i, name in enumerate(names):
        objects.write(name, b"%d" % i * 5)
    found = objects.read_many([(name, -1, -1) for name in names])
    assert found == [b"%d" % i * 5 for i in range(150)]
    assert objects.read_many([(names[7], 1, 3), (names[8], 0, 0), (names[9], 0, 5)]) == [
        *(b"77", b"", b"99999")
    ]


def test_threads_share_a_store(objects):
    objects.write("x", CONTENT)
    wrong = []

    def read(seed):
        starts, ends = ranges_of(np.random.default_rng(seed), 30)
        out = np.empty(int((ends - starts).sum()), np.uint8)
        objects.read_ranges("x", starts, ends, out)
        wanted = np.concatenate([CONTENT[a:b] for a, b in zip(starts, ends, strict=True)])
        if not np.array_equal(out, wanted):
            wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


def test_store_that_knows_no_ranges_from_the_end():
    """The first bytes tell how long an object is: Azure has no others."""
    store = open_object_store("memory://azure")
    store._tails = False
    for size in (0, 1, 999, reading._HEAD, reading._HEAD + 1, CONTENT.size):
        version = store.write("x", CONTENT[:size])
        for nbytes in (1, 1000, reading._HEAD + 5):
            tail, found = store.read_tail("x", nbytes)
            assert found == version
            assert tail == CONTENT[:size][-nbytes:].tobytes()
