"""What batches are: dtypes, aligned memory that is used again only when let go of, views."""

from __future__ import annotations

import gc

import numpy as np
from support.each import assert_each
from support.memory import address, file_position

from numpack import Loader, NumPack, share

N = 100
RNG = np.random.default_rng(0)
VALUES = {
    "f4": RNG.random((N, 3)).astype("f4"),
    "f8": RNG.random(N),
    "bool": RNG.random((N, 5)) < 0.5,
    "i1": RNG.integers(-9, 9, (N, 2, 3), "i1"),
    "u8": RNG.integers(0, 2**63, N, "u8"),
    "complex": RNG.random((N, 2)) + 1j,
    "datetime": np.arange(N).astype("M8[ms]"),
    "S": np.array([b"x" * (i % 7) for i in range(N)]),
    "U": np.array(["é" * (i % 5) for i in range(N)]),
    "struct": np.array(
        [(i, i / 2, b"ab") for i in range(N)], [("a", "i4"), ("b", "f8"), ("c", "S3")]
    ),
    "wide": RNG.random((N, 5000)),
    "no bytes": np.zeros((N, 0)),
}
IN_MEMORY = {
    "byte-swapped": np.arange(N, dtype=">i4"),
    "strided": np.arange(2 * N)[::2],
    "backwards": np.arange(N)[::-1],
    "transposed": np.arange(3 * N).reshape(3, N).T,
    "columns": np.arange(8 * N).reshape(N, 8)[:, 2:5],
    "broadcast": np.broadcast_to(np.float32(3), (N, 4)),
    "misaligned": np.frombuffer(bytes(range(1, N + 1)) * 4 + b"1234", "i4", N, 1),
    "objects": np.array([{i} for i in range(N)], object),
    "subclass": np.ma.masked_array(np.arange(N)).data,
}


def loader(source, **options):
    return Loader(source, **{"batch_size": 7, "target": "numpy", **options})


def check_batches(array, given):
    order = np.concatenate([batch["n"] for batch in given])
    given.set_epoch(given.epoch - 1)
    assert np.array_equal(np.sort(order), np.arange(N))
    at = 0
    for batch in given:
        found = batch["x"]
        assert type(found) is np.ndarray
        assert (found.dtype, found.shape[1:]) == (array.dtype, array.shape[1:])
        assert np.array_equal(found, array[order[at : at + len(found)]])
        assert np.array_equal(found, array[batch["n"]])
        at += len(found)


def test_values_of_stored_arrays():
    with NumPack("s.npk") as npk:
        npk.save(VALUES)
        npk.save({f"{name} dropped": np.repeat(array, 2, 0) for name, array in VALUES.items()})
        for name in VALUES:
            npk.drop(f"{name} dropped", np.arange(0, 2 * N, 2))

        def check(name, suffix, shuffle):
            source = {"x": npk.load(name + suffix, lazy=True), "n": np.arange(N)}
            check_batches(VALUES[name], loader(source, shuffle=shuffle))

        suffixes = ("", " dropped")
        assert_each([(n, s, f) for n in VALUES for s in suffixes for f in (True, False)], check)


def test_values_of_arrays_in_memory():
    arrays = {**VALUES, **IN_MEMORY}

    def check(name, shuffle):
        check_batches(
            arrays[name], loader({"x": arrays[name], "n": np.arange(N)}, shuffle=shuffle)
        )

    assert_each([(name, shuffle) for name in arrays for shuffle in (True, False)], check)


def test_batches_are_aligned_and_writable():
    for batch in loader({"x": VALUES["f4"], "y": VALUES["i1"]}):
        for array in batch.values():
            assert address(array) % 64 == 0
            assert array.flags.writeable
            array[...] = 0


def test_memory_is_used_again_once_a_batch_is_let_go_of():
    given = loader({"x": np.arange(10_000)}, batch_size=10)
    seen = {address(batch["x"]) for batch in given}
    assert len(seen) <= 5


def test_a_batch_that_is_kept_stays_as_it_is():
    source = np.arange(20_000).reshape(-1, 2)
    given = loader({"x": source}, batch_size=10)
    kept, copies = [], []
    for number, batch in enumerate(given):
        if number % 3 == 0:  # the whole, a view of a view, another object over the memory
            array = batch["x"]
            kept.append([array, array[2:, :1].T, memoryview(array)[1:]][number % 9 // 3])
            copies.append(np.array(kept[-1]))
        del batch
    gc.collect()
    for view, copy in zip(kept, copies, strict=True):
        assert np.array_equal(np.asarray(view), copy)


def test_batches_live_on_after_their_loader():
    given = loader({"x": np.arange(1000)}, batch_size=10, seed=3)
    expected = [batch["x"].tolist() for batch in given]
    given.set_epoch(0)
    kept = [batch["x"] for batch in given]
    del given
    gc.collect()
    assert [each.tolist() for each in kept] == expected


def test_writes_to_a_batch_do_not_reach_the_source():
    with NumPack("s.npk") as npk:
        npk.save({"x": np.zeros(N)})
        arrays = {"stored": npk.load("x", lazy=True), "memory": np.zeros(N)}
        for name, array in arrays.items():
            for shuffle in (True, False):
                given = loader({"x": array}, shuffle=shuffle)
                for batch in given:
                    if batch["x"].flags.writeable:
                        batch["x"][:] = 1
                assert float(np.asarray(array).sum()) == 0, name
        assert npk.verify()


def test_batches_in_order_are_views_of_the_file():
    with NumPack("s.npk") as npk:
        npk.save({"x": np.arange(5000.0), "y": np.arange(10_000).reshape(-1, 2)})
        whole = npk.load("x", lazy=True)
        inode, start = file_position(address(np.asarray(whole)))

        def check(options, first):
            at = first
            for batch in loader(npk, batch_size=700, shuffle=False, **options):
                assert not batch["x"].flags.owndata
                assert not batch["x"].flags.writeable
                assert file_position(address(batch["x"])) == (inode, start + 8 * at)
                assert np.array_equal(batch["y"][:, 0], 2 * batch["x"])
                at += len(batch["x"])

        assert_each([({}, 0), ({"rows": slice(100, 4000)}, 100), ({"prefetch": 0}, 0)], check)


def test_batches_in_order_are_copied_where_they_are_no_part_of_the_file():
    with NumPack("s.npk") as npk:
        npk.save({"x": np.arange(200)})
        npk.drop("x", np.arange(100, 200, 7))
        live = npk.load("x")
        given = [batch["x"] for batch in loader(npk, batch_size=50, shuffle=False)]
        assert np.array_equal(np.concatenate(given), live)
        assert [each.flags.writeable for each in given] == [False, False, True, True]
        reverse = loader(npk, batch_size=50, shuffle=False, rows=slice(None, None, -1))
        assert np.array_equal(np.concatenate([b["x"] for b in reverse]), live[::-1])
        padded = [
            loader(npk, batch_size=60, shuffle=False, rank=r, world_size=2, rows=slice(99))
            for r in (0, 1)
        ]
        assert [[len(b["x"]) for b in each] for each in padded] == [[50], [50]]


def test_one_name_gives_the_array_and_several_a_dict():
    source = {"x": np.arange(4), "y": np.arange(4.0), "z": np.zeros((4, 2))}
    assert isinstance(next(iter(loader(source, names="y"))), np.ndarray)
    assert list(next(iter(loader(source, names=["y"])))) == ["y"]
    assert list(next(iter(loader(source, names=("z", "x"))))) == ["z", "x"]
    assert list(next(iter(loader(source)))) == ["x", "y", "z"]


def test_transform_gets_the_batch_and_makes_it():
    given = loader({"x": np.arange(4)}, names="x", transform=lambda x: (x, -x), shuffle=False)
    ((x, negative),) = given
    assert (x.tolist(), negative.tolist()) == ([0, 1, 2, 3], [0, -1, -2, -3])


def test_other_objects_are_viewed_as_arrays():
    given = loader({"x": memoryview(np.arange(N)), "b": bytearray(range(N))})
    for batch in given:
        assert np.array_equal(batch["x"], batch["b"])
    memmap = np.lib.format.open_memmap("m.npy", "w+", "f4", (N, 2))
    memmap[:] = np.arange(N)[:, None]
    batch = next(iter(loader({"m": memmap, "n": np.arange(N)})))
    assert np.array_equal(batch["m"][:, 0], batch["n"])


def test_protocols_as_target():
    def check(target):
        batch = next(iter(Loader({"x": np.arange(N)}, "x", target=target)))
        assert sorted(np.asarray(share(batch, "numpy")).tolist()) == list(range(N))

    assert_each(["dlpack", "buffer", "array_interface"], check)
