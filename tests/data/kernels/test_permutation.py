"""The shuffled order: a bijection that no statistic tells from a random permutation."""

from __future__ import annotations

import itertools
import math
import tracemalloc
import zlib

import numpy as np
import pytest
from support.each import assert_each

from numpack.data.kernels.permutation import Permutation

pytestmark = pytest.mark.system  # nothing of it depends on NumPy's version

SIZES = [*range(1, 140), 255, 256, 257, 997, 1000, 1024, 4093, 65535, 65536, 65537, 10**6]
LIMIT = 4.5  # standard deviations; the keys are fixed, so a test passes always or never


def ours(count, key):
    return Permutation(count, key, 3).between(0, count)


def numpys(count, key):
    return np.random.default_rng(key).permutation(count)


ORDER_OF_10 = [6, 8, 0, 9, 5, 4, 7, 1, 2, 3]
CRCS = [3261893424, 1402532521, 3415029417]
FAR = [700574558549, 368729744218, 492677295821]

BOTH = {"numpack": ours, "numpy": numpys}


def z_of_counts(counts, expected, degrees):
    """Return how many standard deviations the chi-squared statistic of counts is off."""
    chi2 = float((np.square(counts - expected) / expected).sum())
    return (chi2 - degrees) / math.sqrt(2 * degrees)


def test_every_index_comes_once():
    def check(count):
        assert np.array_equal(np.sort(ours(count, 1)), np.arange(count))

    assert_each(SIZES, check)


def test_any_part_is_that_part_of_the_whole():
    def check(count):
        order, rng = Permutation(count, 5, 6), np.random.default_rng(count)
        whole = order.between(0, count)
        for start, stop in np.sort(rng.integers(0, count + 1, (20, 2))):
            assert np.array_equal(order.between(start, stop), whole[start:stop])

    assert_each([1, 2, 127, 128, 129, 1000, 65537], check)


def test_the_order_depends_on_seed_and_epoch_alone():
    keys = [(seed, epoch) for seed in (0, 1, -1, 2**63) for epoch in (0, 1, 2, 2**40)]
    orders = [Permutation(1000, *key).between(0, 1000).tobytes() for key in keys]
    assert len(set(orders)) == len(keys)
    assert orders == [Permutation(1000, *key).between(0, 1000).tobytes() for key in keys]
    assert Permutation(1000, 2**64 + 1, 0).between(0, 9).tobytes() == (
        Permutation(1000, 1, 0).between(0, 9).tobytes()
    )


def test_the_order_is_that_of_order_number_1():
    # A change of these values needs a new number of the order in `state.py`: states of the old
    # one would resume in another order.
    assert ours(10, 0).tolist() == ORDER_OF_10
    crcs = [
        zlib.crc32(ours(count, 0).astype("<i8").tobytes()) for count in (1000, 65536, 10**6)
    ]
    assert crcs == CRCS
    assert Permutation(10**12, 1, 2).between(10**11, 10**11 + 3).tolist() == FAR


def test_all_permutations_of_few_samples_are_equally_frequent():
    def check(name, count):
        seen = dict.fromkeys(itertools.permutations(range(count)), 0)
        for key in range(100 * len(seen)):
            seen[tuple(BOTH[name](count, key).tolist())] += 1
        counts = np.array(list(seen.values()))
        assert abs(z_of_counts(counts, 100, len(seen) - 1)) < LIMIT

    assert_each([("numpack", count) for count in (2, 3, 4, 5, 6)] + [("numpy", 5)], check)


def test_values_are_uniform_at_each_position_and_so_are_differences_of_neighbours():
    def check(name, count):
        places, steps = np.zeros((count, count), int), np.zeros(count, int)
        fixed, epochs = 0, 1500
        for key in range(epochs):
            order = BOTH[name](count, key)
            places[np.arange(count), order] += 1
            steps += np.bincount((np.diff(order)) % count, minlength=count)
            fixed += int((order == np.arange(count)).sum())
        assert abs(z_of_counts(places, epochs / count, (count - 1) ** 2)) < LIMIT
        assert steps[0] == 0
        assert abs(z_of_counts(steps[1:], epochs, count - 2)) < LIMIT
        assert abs(fixed - epochs) < LIMIT * math.sqrt(epochs)  # one for each, on average

    sizes = (7, 8, 9, 10, 16, 25, 31, 64, 100, 121, 127, 128)
    assert_each([("numpack", count) for count in sizes] + [("numpy", 31)], check)


def test_parity_is_even_as_often_as_odd():
    def cycles(order):
        seen, found = set(), 0
        for start in range(len(order)):
            found += start not in seen
            while start not in seen:
                seen.add(start)
                start = order[start]
        return found

    def check(count):
        odd = sum((count - cycles(ours(count, key).tolist())) % 2 for key in range(2000))
        assert abs(odd - 1000) < LIMIT * math.sqrt(500)

    assert_each([4, 9, 16, 25, 49, 81, 64], check)


def statistics(order, count):
    """Return statistics of consecutive positions of a long order, in standard deviations."""
    total = len(order)
    values = order / count
    bins = np.bincount((values * 1000).astype(int), minlength=1000)
    pairs = np.bincount(
        (values[:-1] * 30).astype(int) * 30 + (values[1:] * 30).astype(int), minlength=900
    )
    gaps = np.abs(np.diff(values))
    low = order % 64  # of multiples of powers of two
    halves = values < 0.5
    ascents = int((np.diff(order) > 0).sum())
    runs = int((halves[1:] != halves[:-1]).sum())
    return {
        "uniform": z_of_counts(bins, total / 1000, 999),
        "pairs": z_of_counts(pairs, (total - 1) / 900, 899),
        "low bits": z_of_counts(np.bincount(low, minlength=64), total / 64, 63),
        "gaps": (gaps.mean() - 1 / 3) / math.sqrt(1 / 18 / total),
        "correlation": np.corrcoef(values[:-1], values[1:])[0, 1] * math.sqrt(total),
        "farther": np.corrcoef(values[:-64], values[64:])[0, 1] * math.sqrt(total),
        "ascents": (ascents - total / 2) / math.sqrt(total / 12),
        "runs": (runs - total / 2) / math.sqrt(total / 4),
    }


def test_long_orders_look_random():
    def check(count, start):
        order = Permutation(count, 11, 0).between(start, start + 100_000)
        assert len(np.unique(order)) == len(order)
        assert order.min() >= 0
        assert order.max() < count
        wrong = {k: z for k, z in statistics(order, count).items() if abs(z) > LIMIT}
        assert not wrong

    sizes = (
        10**7,
        2**24,
        16_777_213,
        10**8,
        10**9,
        2**30,
        10**9 + 7,
        2**31 + 11,
        2**32,
        2**32 + 1,
        2**40,
        10**12,
        2**62,
    )
    assert_each([(count, start) for count in sizes for start in (count // 3,)], check)


def test_the_statistics_find_weak_orders():
    rng = np.random.default_rng(0)
    order = rng.permutation(10**7)[:200_000]
    assert all(abs(z) < LIMIT for z in statistics(order, 10**7).values())
    buffered = (np.arange(200_000) + rng.integers(0, 1000, 200_000)) * 50  # a shuffle buffer
    assert any(abs(z) > 100 for z in statistics(buffered, 10**7).values())
    affine = (np.arange(200_000) * 6_700_417 + 5) % 10**7
    assert any(abs(z) > 100 for z in statistics(affine, 10**7).values())


def test_epochs_and_seeds_are_independent():
    def check(*key):
        first = Permutation(10**9, 0, 0).between(0, 200_000)
        second = Permutation(10**9, *key).between(0, 200_000)
        together = np.corrcoef(first, second)[0, 1] * math.sqrt(len(first))
        assert abs(together) < LIMIT
        cells = (first * 30 // 10**9) * 30 + second * 30 // 10**9
        counts = np.bincount(cells, minlength=900)
        assert abs(z_of_counts(counts, len(first) / 900, 899)) < LIMIT

    assert_each([(0, 1), (0, 2), (1, 0), (2, 0), (1, 1), (2**32, 0), (0, 2**32)], check)


def test_the_memory_is_constant():
    tracemalloc.start()
    Permutation(10**15, 0, 0).between(10**14, 10**14 + 256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_000


def test_positions_out_of_range_are_refused():
    order = Permutation(10, 0, 0)
    for start, stop in ((-1, 3), (0, 11), (5, 4), (11, 11)):
        with pytest.raises(IndexError, match="10 samples"):
            order.between(start, stop)
    assert order.between(10, 10).tolist() == []
    assert Permutation(0, 0, 0).between(0, 0).tolist() == []
    for count in (-1, 2**62 + 1):
        with pytest.raises(ValueError, match="no order"):
            Permutation(count, 0, 0)
