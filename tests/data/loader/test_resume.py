"""States: what they count, where they resume, and what they refuse."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from support.each import assert_each

from numpack import InvalidValueError, Loader, NumPack, NumpackError

N = 103


def loader(count=N, **options):
    options = {"batch_size": 4, "target": "numpy", **options}
    return Loader({"y": np.arange(count)}, "y", **options)


def resumed(state, count=N, **options):
    found = loader(count, **options)
    found.load_state_dict(state)
    return found


def epoch_of(given):
    return [batch.tolist() for batch in given]


def test_a_state_resumes_after_the_batch_that_was_returned():
    def check(prefetch, stop):
        given = loader(prefetch=prefetch)
        given.set_epoch(5)
        batches = iter(given)
        for _ in range(stop):
            next(batches)
        state = json.loads(json.dumps(given.state_dict()))
        rest = epoch_of(batches)
        again = resumed(state)
        if rest:
            assert again.epoch == 5
            assert epoch_of(again) == rest
        assert again.epoch == 6
        assert epoch_of(again) == epoch_of(given)

    assert_each([(p, s) for p in (0, 2, 7) for s in (0, 1, 3, 25, 26)], check)


def test_the_state_of_a_finished_epoch_begins_the_next_one():
    given = loader()
    for _ in given:
        state = given.state_dict()
    assert (state["epoch"], state["position"]) == (1, 0)
    assert epoch_of(resumed(state)) == epoch_of(given)
    # and so does one that says it by its position
    state = {**state, "epoch": 0, "position": N}
    given.set_epoch(1)
    assert epoch_of(resumed(state)) == epoch_of(given)


def test_set_epoch_keeps_the_position_of_the_same_epoch_only():
    given = loader()
    given.set_epoch(3)
    batches = iter(given)
    next(batches)
    state, rest = given.state_dict(), epoch_of(batches)
    again = resumed(state)
    again.set_epoch(3)
    assert epoch_of(again) == rest
    again = resumed(state)
    again.set_epoch(4)
    assert len(epoch_of(again)) == len(again) == len(rest) + 1
    again = resumed(state)
    again.set_epoch(2)
    again.set_epoch(3)
    assert len(epoch_of(again)) == len(rest) + 1


def test_the_length_is_that_of_whole_epochs():
    given = loader()
    batches = iter(given)
    next(batches)
    again = resumed(given.state_dict())
    assert len(again) == len(given) == 26
    assert len(epoch_of(again)) == 25


def test_states_of_any_number_of_ranks_load_into_any_other():
    def check(before, after, count):
        given = [loader(count, rank=r, world_size=before) for r in range(before)]
        passes = [iter(each) for each in given]
        seen = [next(each) for _ in range(3) for each in passes]
        states = [each.state_dict() for each in given]
        assert all(state == states[0] for state in states)
        order = np.concatenate(epoch_of(loader(count)))
        position = states[0]["position"]
        assert np.array_equal(np.concatenate(seen), order[:position])
        rest = [
            resumed(states[0], count, rank=r, world_size=after, batch_size=2)
            for r in range(after)
        ]
        together = [np.concatenate(each) for each in zip(*rest, strict=True)]
        found = np.concatenate(together)
        padded = len(found) - (count - position)
        assert 0 <= padded < after
        assert np.array_equal(found[: count - position], order[position:])

    worlds = (1, 2, 3, 4, 8)
    assert_each([(b, a, n) for b in worlds for a in worlds for n in (128, 101)], check)


def test_resuming_reads_nothing_before(monkeypatch):
    count = 10**9
    source = {"y": np.lib.stride_tricks.as_strided(np.zeros(1, "u1"), (count,), (0,))}
    given = Loader(source, "y", batch_size=4, target="numpy", prefetch=0)
    state = {**given.state_dict(), "position": count - 8}
    given.load_state_dict(state)
    assert [len(batch) for batch in given] == [4, 4]


def test_states_that_do_not_fit_are_refused_and_say_what_differs():
    state = loader().state_dict()
    different = {
        "seed": {"seed": 1},
        "shuffle": {"shuffle": False},
        "samples": {"count": N + 1},
        "rows": {"rows": slice(1, None), "count": N + 1},
        "window": {"window": 1},
    }

    def check(what):
        with pytest.raises(InvalidValueError, match=what):
            resumed(state, **different[what])

    assert_each(different, check)
    others = {
        "dtype": {"y": np.arange(float(N))},
        "shape": {"y": np.zeros((N, 2), int)},
        "name": {"x": np.arange(N)},
    }

    def check_arrays(what):
        given = Loader(others[what], batch_size=4, target="numpy")
        with pytest.raises(InvalidValueError, match="arrays"):
            given.load_state_dict(state)

    assert_each(others, check_arrays)


def test_the_first_rows_of_arrays_that_have_grown_resume_as_the_message_says():
    given = loader()
    next(batches := iter(given))
    state = given.state_dict()
    with pytest.raises(InvalidValueError, match=r"rows=slice\(n\)"):
        resumed(state, N + 50)
    assert epoch_of(resumed(state, N + 50, rows=slice(N))) == epoch_of(batches)


def test_a_resumed_pass_has_the_rows_that_the_state_was_checked_with():
    with NumPack("s.npk") as npk:
        npk.save({"y": np.arange(N)})
        given = Loader(npk, "y", batch_size=4, target="numpy")
        next(batches := iter(given))
        again = Loader(npk, "y", batch_size=4, target="numpy")
        again.load_state_dict(given.state_dict())
        npk.append({"y": np.arange(N, N + 20)})
        assert epoch_of(again) == epoch_of(batches)
        assert sum(map(len, again)) == N + 20


def test_what_is_no_state_is_refused():
    good = loader().state_dict()
    wrong = [
        None,
        [],
        {},
        {**good, "version": 2},
        {**good, "order": 2},
        {**good, "position": -1},
        {**good, "position": N + 1},
        {**good, "position": 1.5},
        {**good, "epoch": "1"},
        {**good, "epoch": True},
        {**good, "batches": None},
        {key: value for key, value in good.items() if key != "epoch"},
        {**good, "worker": [0, 2]},
    ]

    def check(number):
        given = loader()
        before = given.state_dict()
        with pytest.raises(NumpackError):
            given.load_state_dict(wrong[number])
        assert given.state_dict() == before

    assert_each(range(len(wrong)), check)


def test_states_have_types_of_json():
    source = {"y": np.zeros(3, [("a", "i4", (2,)), ("b", "S3")]), "t": np.zeros(3, "M8[s]")}
    state = Loader(source, target="numpy", rows=np.array([0, 1], "u1")).state_dict()
    assert json.loads(json.dumps(state)) == state
    Loader(source, target="numpy", rows=[0, 1]).load_state_dict(json.loads(json.dumps(state)))


def test_a_pickled_loader_goes_on_where_it_was():
    given = loader()
    next(batches := iter(given))
    again = pickle.loads(pickle.dumps(given))
    assert again.state_dict() == given.state_dict()
    again.load_state_dict(again.state_dict())
    assert epoch_of(again) == epoch_of(batches)


def test_an_exception_in_transform_does_not_count():
    def fail(batch):
        if batch[0] == third:
            raise ZeroDivisionError
        return batch

    third = epoch_of(loader())[2][0]
    given = loader(transform=fail)
    with pytest.raises(ZeroDivisionError):
        list(given)
    assert given.state_dict()["position"] == 8


def test_the_end_of_an_epoch_is_the_next_one_as_soon_as_it_is_loaded():
    def check(position, options):
        given = resumed({**loader().state_dict(), "epoch": 4, "position": position}, **options)
        assert given.epoch == 5
        seen = []
        for epoch in range(given.epoch, 7):
            given.set_epoch(epoch)
            seen.append(epoch_of(given))
        assert len(seen) == 2
        assert seen[0] != seen[1]

    assert_each([(N, {}), (N - 3, {"batch_size": 10, "drop_last": True})], check)


def test_a_state_is_that_of_the_pass_whose_arrays_it_describes(tmp_path):
    def state_of(given):
        return {key: given.state_dict()[key] for key in ("samples", "epoch", "position")}

    with NumPack(tmp_path / "grows.npk") as npk:
        npk.save({"x": np.arange(10)})
        given = Loader(npk, "x", batch_size=2, target="numpy")
        first = iter(given)
        next(first)
        npk.append({"x": np.arange(10)})
        with pytest.raises(InvalidValueError, match="samples 5"):
            given.load_state_dict({**given.state_dict(), "samples": 5})
        assert state_of(given) == {"samples": 10, "epoch": 0, "position": 2}
        next(first)
        assert state_of(given) == {"samples": 10, "epoch": 0, "position": 4}
        next(second := iter(given))
        next(first)  # which has other samples
        assert state_of(given) == {"samples": 20, "epoch": 1, "position": 2}
        assert len(list(second)) == 9
