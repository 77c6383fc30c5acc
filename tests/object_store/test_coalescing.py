"""Which requests are made for which ranges."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from numpack.object_store.coalescing import Delivery, parts_of, sorted_ranges

CONTENT = np.random.default_rng(3).integers(0, 256, 4000, np.uint8)


def requests(pairs, gap, part=1 << 20):
    """Return the requests for ranges, and what is delivered from them."""
    starts, ends = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    out = np.zeros(int((ends - starts).sum()), np.uint8)
    ranges = sorted_ranges(starts, ends, out)
    parts = parts_of(ranges, gap, part)
    delivery = Delivery(ranges, parts, out)
    made = list(zip(parts.starts, parts.ends, strict=True))
    for i in np.random.default_rng(0).permutation(len(made)):
        start, end = made[i]
        delivery.deliver(int(i), memoryview(CONTENT[start:end].tobytes()))
    return made, out


RANGE = st.integers(0, 3000).flatmap(
    lambda start: st.integers(start, start + 900).map(lambda end: (start, end))
)
ROWS = st.lists(st.integers(0, 399).map(lambda row: (row * 10, row * 10 + 10)), min_size=1)


@given(
    st.one_of(st.lists(RANGE, min_size=1), ROWS).filter(
        lambda all_: any(a < b for a, b in all_)
    ),
    st.integers(0, 1000),
    st.sampled_from([7, 100, 1 << 20]),
)
def test_requests_deliver_the_ranges_and_at_most_twice_their_bytes(pairs, gap, part):
    made, out = requests(pairs, gap, part)
    assert out.tobytes() == b"".join(CONTENT[a:b].tobytes() for a, b in pairs)
    assert all(0 < end - start <= part for start, end in made)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(made))
    asked = len({byte for a, b in pairs for byte in range(a, b)})
    assert sum(end - start for start, end in made) <= 2 * asked


def test_small_gaps_are_closed_first():
    assert requests([(0, 10), (14, 20), (30, 35)], 3)[0] == [(0, 10), (14, 20), (30, 35)]
    assert requests([(0, 10), (14, 20), (30, 35)], 4)[0] == [(0, 20), (30, 35)]
    assert requests([(0, 10), (14, 20), (30, 35)], 10)[0] == [(0, 35)]
    # 3 + 5 bytes between are no more than the 9 that are asked for; 3 + 5 + 6 are
    assert requests([(0, 3), (9, 12), (17, 18), (21, 23)], 99)[0] == [(0, 3), (9, 23)]


def test_neighbours_and_overlapping_ranges_are_one_request():
    assert requests([(5, 9), (0, 5), (2, 3), (8, 12)], 0)[0] == [(0, 12)]
    assert requests([(5, 5), (7, 8), (7, 8)], 0)[0] == [(7, 8)]


def test_parts_are_of_equal_length():
    assert requests([(0, 10)], 0, 4)[0] == [(0, 4), (4, 7), (7, 10)]
    assert requests([(0, 4), (10, 15)], 0, 4)[0] == [(0, 4), (10, 13), (13, 15)]
