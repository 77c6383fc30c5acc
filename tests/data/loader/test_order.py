"""The order of batches, once each, on any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import assert_each

from numpack import InvalidValueError, Loader, NumPack
from numpack.data.epoch.order import Order, Sharding

N = 103


def numbers(count=N):
    return {"y": np.arange(count)}


def loader(source=None, **options):
    options = {"batch_size": 4, "target": "numpy", **options}
    return Loader(numbers() if source is None else source, "y", **options)


def ranks(world_size, count=N, **options):
    source = numbers(count)
    return [loader(source, rank=r, world_size=world_size, **options) for r in range(world_size)]


def test_batches_are_a_function_of_seed_epoch_and_position(run_python):
    first = [batch.tolist() for batch in loader()]
    assert first == [batch.tolist() for batch in loader()]
    script = """
import sys, numpy as np
from numpack import Loader
options = dict(batch_size=4, target="numpy")
print([b.tolist() for b in Loader({"y": np.arange(103)}, "y", **options, prefetch=0)])
print([b.tolist() for b in Loader({"y": np.arange(103)}, "y", **options, threads=3)])
"""
    assert run_python(script) == f"{first}\n{first}\n"
    flat = np.concatenate([np.array(each) for each in first])
    assert np.array_equal(flat, Order(N, 0, 0, shuffle=True).between(0, N))


def test_each_pass_is_the_next_epoch():
    one, two = loader(), loader()
    epochs = [np.concatenate(list(one)) for _ in range(3)]
    assert one.epoch == 3
    for epoch in (2, 0, 1, 1):
        two.set_epoch(epoch)
        assert two.epoch == epoch
        assert np.array_equal(np.concatenate(list(two)), epochs[epoch])
    assert len({each.tobytes() for each in epochs}) == 3
    assert not np.array_equal(np.concatenate(list(loader(seed=1))), epochs[0])


def test_a_pass_that_is_broken_off_is_followed_by_the_next_epoch():
    one, two = loader(), loader()
    for _ in one:
        break
    next(iter(one))
    assert one.epoch == 2
    two.set_epoch(2)
    assert np.array_equal(next(iter(one)), next(iter(two)))
    for _, _ in zip(
        range(len(one)), one, strict=False
    ):  # without asking for more than there is
        pass
    assert one.epoch == 4


def test_every_row_comes_once_over_all_ranks():
    def check(count, world_size, batch_size, shuffle):
        options = {"batch_size": batch_size, "shuffle": shuffle}
        for drop_last in (False, True):
            given = ranks(world_size, count, drop_last=drop_last, **options)
            batches = [list(each) for each in given]
            assert {len(each) for each in batches} == {len(given[0])}
            for together in zip(*batches, strict=True):
                assert len({len(batch) for batch in together}) == 1
            values, times = np.unique(
                np.concatenate([b for each in batches for b in each] or [[]]),
                return_counts=True,
            )
            if drop_last:
                step = batch_size * world_size
                assert (len(values), (times == 1).all()) == (count // step * step, True)
                assert given[0].padding == 0
            else:
                assert len(values) == count
                assert int((times - 1).sum()) == given[0].padding < world_size

    counts, worlds = (1, 2, 5, 16, 103), (1, 2, 3, 8)
    cells = [
        (n, w, b, s) for n in counts for w in worlds for b in (1, 4, 7, 200) for s in (0, 1)
    ]
    assert_each(cells, check)


def test_all_ranks_together_give_the_order_of_one():
    def check(world_size):
        batches = [list(each) for each in ranks(world_size, 96)]
        together = np.concatenate([np.concatenate(each) for each in zip(*batches, strict=True)])
        assert np.array_equal(together, np.concatenate(list(loader(numbers(96)))))

    assert_each([1, 2, 3, 4, 6, 8, 12, 24], check)


def test_padding_comes_from_the_beginning_and_shows():
    given = ranks(4, 9, batch_size=2)
    order = Order(9, 0, 0, shuffle=True).between(0, 9)
    last = [list(each)[-1].tolist() for each in given]
    assert np.concatenate(last).tolist() == [order[8], order[0], order[1], order[2]]
    assert given[0].padding == 3
    assert "3 of them twice" in repr(given[0])
    assert "twice" not in repr(loader())
    tiny = ranks(7, 2)
    assert [np.concatenate(list(each)).tolist() for each in tiny] == [
        [value] for value in [*Order(2, 0, 0, shuffle=True).between(0, 2)] * 4
    ][:7]


def test_no_rows_make_no_batches():
    empty = loader({"y": np.empty(0)})
    assert (len(empty), list(empty), empty.padding) == (0, [], 0)
    assert (len(loader(drop_last=True, batch_size=200)), list(empty)) == (0, [])
    assert list(loader(rows=[])) == []
    assert list(loader(window=200)) == []


def test_rows_select_the_samples():
    mask = np.arange(N) % 5 == 0
    selections = {
        "slice": slice(10, 90, 3),
        "backwards": slice(90, 10, -3),
        "list": [5, 3, 3, -1],
        "numbers": np.array([7, 1, 100], "u1"),
        "mask": mask,
    }

    def check(kind, shuffle):
        rows = selections[kind]
        expected = np.arange(N)[rows]
        given = loader(rows=rows, shuffle=shuffle)
        found = np.concatenate(list(given))
        assert np.array_equal(
            np.sort(found) if shuffle else found, np.sort(expected) if shuffle else expected
        )
        assert len(given) == -(-len(expected) // 4)

    assert_each([(kind, shuffle) for kind in selections for shuffle in (False, True)], check)
    given = loader(rows=(changed := np.array([1, 2, 3])))
    changed[:] = 50
    assert np.sort(np.concatenate(list(given))).tolist() == [1, 2, 3]


def test_slices_include_rows_that_are_appended_and_numbers_do_not():
    with NumPack("s.npk") as npk:
        npk.save(numbers(10))
        given = [loader(npk, rows=rows) for rows in (None, slice(5, None), np.arange(10) < 20)]
        assert [sum(map(len, each)) for each in given] == [10, 5, 10]
        npk.append({"y": np.arange(10, 15)})
        assert [sum(map(len, each)) for each in given] == [15, 10, 10]


def test_sharding_from_any_position():
    def check(count, world_size, batch_size, position):
        batches = [
            list(Sharding(count, batch_size, rank, world_size, False).batches(position))
            for rank in range(world_size)
        ]
        seen = [each for rank in batches for each in rank]
        assert {len(rank) for rank in batches} == {len(batches[0])}
        covered = {p for each in seen for p in range(each.start, each.stop)}
        assert covered >= set(range(position, count))
        assert [each.is_last for each in batches[0]] == [False] * (len(batches[0]) - 1) + [True]
        assert batches[0][-1].end == count

    cells = [
        (n, w, b, p) for n in (7, 32) for w in (1, 3, 8) for b in (1, 5) for p in (0, 1, 6)
    ]
    assert_each(cells, check)


def test_ranks_of_jax_and_torch_are_the_default(run_python):
    script = """
import sys, types
import numpy as np
from numpack import Loader
loader = Loader({"y": np.arange(8)}, "y", batch_size=2, target="numpy", shuffle=False)
assert len(loader) == 4
jax = types.ModuleType("jax")
jax.distributed = types.SimpleNamespace(is_initialized=lambda: True)
jax.process_index, jax.process_count = lambda: 1, lambda: 2
sys.modules["jax"] = jax
assert [b.tolist() for b in loader] == [[2, 3], [6, 7]]
torch = types.ModuleType("torch")
calls = dict(is_available=lambda: True, is_initialized=lambda: True)
torch.distributed = types.SimpleNamespace(**calls, get_rank=lambda: 3, get_world_size=lambda: 4)
sys.modules["torch"] = torch
assert [b.tolist() for b in loader] == [[6, 7]]
assert len(Loader({"y": np.arange(8)}, rank=0, world_size=1, target="numpy", batch_size=2)) == 4
"""
    run_python(script)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 1},
        {"world_size": 2},
        {"rank": 2, "world_size": 2},
        {"rank": -1, "world_size": 2},
        {"rank": 0, "world_size": 0},
    ],
)
def test_ranks_that_do_not_exist_are_refused(wrong):
    with pytest.raises(InvalidValueError, match="rank|world_size"):
        loader(**wrong)
