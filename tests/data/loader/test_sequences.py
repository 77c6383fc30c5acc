"""Windows and ragged samples."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import assert_each

from numpack import InvalidValueError, Loader, NumPack, NumpackError

TOKENS = np.arange(500, dtype="u2")
LENGTHS = np.random.default_rng(0).integers(0, 30, 60)
LENGTHS[[0, 7, 59]] = 0
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)])
TOTAL = int(OFFSETS[-1])
RAGGED = {
    "v": np.arange(TOTAL * 3, dtype="f4").reshape(-1, 3),
    "t": np.arange(TOTAL),
    "label": np.arange(60),
    "o": OFFSETS,
}


def loader(source, names=None, **options):
    return Loader(source, names, **{"batch_size": 8, "target": "numpy", **options})


def test_windows_are_slices():
    def check(window, stride, rows, kind):
        with NumPack("s.npk", drop_if_exists=True) as npk:
            npk.save({"t": TOKENS, "d": np.repeat(TOKENS, 2), "w": np.stack([TOKENS] * 3, 1)})
            npk.drop("d", np.arange(0, 1000, 2))
            name = {"stored": "t", "dropped rows": "d", "wide": "w", "memory": "t"}[kind]
            source = {"t": TOKENS} if kind == "memory" else npk
            selected = TOKENS[rows or slice(None)]
            starts = range(0, len(selected) - window + 1, stride or window)
            expected = np.array([selected[s : s + window] for s in starts])
            options = {"window": window, "stride": stride, "rows": rows}
            in_order = loader(source, name, shuffle=False, **options)
            assert len(in_order) == -(-len(starts) // 8)
            found = np.concatenate(list(in_order))
            if kind == "wide":
                assert (found == found[:, :, :1]).all()
                found = found[:, :, 0]
            assert np.array_equal(found, expected)
            shuffled = np.concatenate(list(loader(source, name, **options)))
            shuffled = shuffled[:, :, 0] if kind == "wide" else shuffled
            assert np.array_equal(shuffled[np.argsort(shuffled[:, 0], kind="stable")], expected)

    cells = [(w, s) for w in (1, 7, 64, 500) for s in (None, 1, 13)]
    kinds = ("stored", "dropped rows", "wide", "memory")
    assert_each([(w, s, None, k) for w, s in cells for k in kinds], check)
    assert_each([(7, 3, slice(50, 450), k) for k in kinds], check)


def test_windows_of_several_arrays_match():
    for batch in loader({"a": TOKENS, "b": TOKENS * 2}, window=16, stride=5):
        assert np.array_equal(batch["b"], batch["a"] * 2)


def test_windows_of_other_rows_than_a_slice_are_refused():
    for rows in ([1, 2, 3], np.ones(500, bool), slice(None, None, 2), slice(None, None, -1)):
        with pytest.raises(InvalidValueError, match=r"rows=slice\(0, 1000\)"):
            loader({"t": TOKENS}, window=5, rows=rows)
    assert len(loader({"t": TOKENS}, window=5, rows=slice(0, 1000))) == 13


def check_ragged(batch, pad):
    at = batch["cu_seqlens"]
    assert at.dtype == np.int32
    assert len(at) == len(batch["label"]) + 1
    for number, sample in enumerate(batch["label"]):
        first, last = OFFSETS[sample], OFFSETS[sample + 1]
        assert at[number + 1] - at[number] == last - first
        for name in ("v", "t"):
            expected = RAGGED[name][first:last]
            if pad is None:
                assert np.array_equal(batch[name][at[number] : at[number + 1]], expected)
            else:
                row = batch[name][number]
                assert np.array_equal(row[: len(expected)], expected)
                assert (row[len(expected) :] == pad).all()
    if pad is not None:
        assert batch["v"].shape[1] == np.diff(at).max(initial=0)


def test_ragged_samples_end_to_end_or_padded():
    with NumPack("s.npk") as npk:
        npk.save(RAGGED)
        npk.save({f"{name}2": np.repeat(array, 2, 0) for name, array in RAGGED.items()})
        for name, array in RAGGED.items():
            npk.drop(f"{name}2", np.arange(0, 2 * len(array), 2))
        stored = {name: npk.load(name, lazy=True) for name in RAGGED}
        dropped = {name: npk.load(f"{name}2", lazy=True) for name in RAGGED}
        sources = {
            "memory": RAGGED,
            "stored": stored,
            "dropped rows": dropped,
            "unsigned": {**RAGGED, "o": OFFSETS.astype("u4")},
            "strided": {**RAGGED, "v": np.repeat(RAGGED["v"], 2, 1)[:, ::2]},
        }

        def check(kind, pad, shuffle, batch_size):
            given = loader(
                sources[kind], offsets="o", pad=pad, shuffle=shuffle, batch_size=batch_size
            )
            seen = []
            for batch in given:
                check_ragged(batch, pad)
                seen += batch["label"].tolist()
            assert sorted(seen) == list(range(60))
            assert (seen == list(range(60))) == (not shuffle)

        cells = [(k, p) for k in sources for p in (None, -1)]
        assert_each(
            [(*c, s, b) for c in cells for s in (True, False) for b in (1, 8, 60)], check
        )


def test_ragged_samples_of_one_name_and_of_some_rows():
    batches = list(loader(RAGGED, "t", offsets="o", rows=slice(10, 20), shuffle=False))
    assert list(batches[0]) == ["t", "cu_seqlens"]
    assert np.array_equal(
        np.concatenate([b["t"] for b in batches]), np.arange(OFFSETS[10], OFFSETS[20])
    )


def test_long_ragged_samples():
    lengths = np.array([0, 300_000, 5, 700_000])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = np.random.default_rng(0).random((int(offsets[-1]), 2))
    (batch,) = loader({"v": values, "o": offsets}, offsets="o", shuffle=False)
    assert np.array_equal(batch["v"], values)


def test_a_resumed_pass_of_ragged_samples():
    given = loader(RAGGED, offsets="o")
    next(batches := iter(given))
    again = loader(RAGGED, offsets="o", batch_size=4)
    again.load_state_dict(given.state_dict())
    labels = [b["label"] for b in batches]
    assert np.array_equal(np.concatenate(labels), np.concatenate([b["label"] for b in again]))


def test_offsets_that_are_wrong_are_refused():
    values = np.arange(10)
    wrong = {
        "floats": np.array([0.0, 10.0]),
        "two axes": np.zeros((2, 2), int),
        "none": np.empty(0, int),
        "beyond": np.array([0, 5, 11]),
        "negative": np.array([-1, 5, 10]),
        "descending": np.array([0, 7, 3, 10]),
        "huge": np.array([0, 2**64 - 1, 10], "u8"),
    }

    def check(kind, pad):
        with pytest.raises(NumpackError, match="offsets"):
            list(loader({"v": values, "o": wrong[kind]}, offsets="o", pad=pad))

    assert_each([(kind, pad) for kind in wrong for pad in (None, 0)], check)
    with pytest.raises(InvalidValueError, match="neither"):
        loader({"v": np.arange(7), "o": np.array([0, 5, 10])}, offsets="o")
    with pytest.raises(InvalidValueError, match="rename"):
        loader({"cu_seqlens": values, "o": np.array([0, 10])}, offsets="o")


def test_a_stride_beyond_the_rows_leaves_one_window():
    (batch,) = loader({"x": np.arange(10)}, "x", window=10, stride=2**70)
    assert batch.tolist() == [list(range(10))]


def test_offsets_whose_difference_overflows_are_refused():
    offsets = np.array([5, -(2**63), 10])
    for rows in ([0], [1], None):
        with pytest.raises(InvalidValueError, match="offsets"):
            list(loader({"v": np.arange(10), "o": offsets}, offsets="o", rows=rows))


def test_ragged_samples_of_objects_and_strings():
    words = ["a", "bb", "c", "dd", "e"]

    def check(dtype, pad, expected):
        source = {"t": np.array(words, dtype), "o": np.array([0, 2, 5])}
        (batch,) = loader(source, "t", offsets="o", pad=pad, shuffle=False)
        assert batch["t"].tolist() == expected

    padded = [["a", "bb", "-"], ["c", "dd", "e"]]
    kinds = (object, np.dtypes.StringDType(), "U2")
    cases = [
        (kind, pad, found) for kind in kinds for pad, found in ((None, words), ("-", padded))
    ]
    assert_each(cases, check)


def test_a_pad_that_does_not_fit_is_refused_at_once():
    source = {"t": np.arange(5, dtype="u2"), "o": np.array([0, 2, 5])}
    for pad in (-1, 2**16, float("nan"), "a", [1, 2]):
        with pytest.raises(InvalidValueError, match="'t' of uint16"):
            loader(source, "t", offsets="o", pad=pad)
