"""Publishers that are killed at any request, lose answers, or meet each other."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from support.crash.operations import wide
from support.store.objects import (
    BLOCK,
    KilledError,
    MemoryObjects,
    arrays_of,
    catalog_of,
    needed_by,
    same,
)

from numpack import NumPack
from numpack.errors import ConflictError, ObjectChangedError, RemoteError
from numpack.store.publishing.publish import publish

LONG = np.random.default_rng(1).integers(0, 256, 8 * BLOCK + 9, np.uint8)


@pytest.fixture
def filled(store):
    store.save({"x": wide(2100), "y": wide(30), "long": LONG})
    store.drop("y", [3])
    return store


def change(store):
    """Change every array in another way: four objects are new for `x`, none for `y`."""
    store.append({"x": wide(40)})
    store.drop("x", [5])
    store.attrs["y"]["a"] = 1
    store.save({"z": wide(3), "long": np.roll(LONG, 1)})


def state(store):
    return {name: store.load(name) for name in store}


def requests_of(send, objects):
    """Return how many requests publishing makes."""
    trial = objects.copy()
    send(target=trial)
    return len(trial.calls)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_kill_at_any_request_leaves_the_old_commit_or_the_new(filled, objects, send, moment):
    send()
    filled.append({"x": wide(1)})
    filled.save({"y": wide(50)})
    send()
    old = state(filled)
    change(filled)  # objects of the first commit are removed after this one
    new = state(filled)
    outcomes = set()
    for number in range(requests_of(send, objects)):
        trial = objects.copy()
        trial.stop_at(number, moment)
        with pytest.raises(KilledError):
            send(target=trial)
        found = arrays_of(trial.contents)
        outcomes.add(same(found, new))
        assert same(found, new) or same(found, old)
        recovered = trial.copy()
        again = send(target=recovered)
        assert same(arrays_of(recovered.contents), new)
        assert (again.objects_sent == 0) == same(found, new)
    assert outcomes == {False, True}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_kill_of_the_first_publisher_leaves_no_store_or_all_of_it(filled, send, moment):
    expected = state(filled)
    for number in itertools.count():
        trial = MemoryObjects()
        trial.stop_at(number, moment)
        try:
            send(target=trial)
        except KilledError:
            if "numpack.json" in trial.contents:
                assert same(arrays_of(trial.contents), expected)
            recovered = trial.copy()
            send(target=recovered)
            assert same(arrays_of(recovered.contents), expected)
        else:
            break
    assert number > 8


def test_remains_of_killed_publishers_are_removed_later(filled, objects, send):
    send()
    for number in (8, 9, 10):
        filled.append({"x": wide(40)})
        objects.stop_at(number)
        with pytest.raises(KilledError):
            send()
        objects.before = lambda kind, name: None
    assert len(objects.contents) > len(needed_by(objects.contents)) + 3
    for _ in range(3):
        filled.append({"y": wide(1)})
        previous = needed_by(objects.contents)
        send()
    assert set(objects.contents) == needed_by(objects.contents) | previous


# Answers that are lost -----------------------------------------------------------------------


def lose_answers(objects, chosen):
    """Carry out writes and then fail as an engine that has repeated them."""

    def lose(kind, name):
        if kind == "write" and chosen(name):
            raise ObjectChangedError(f"{name} has changed")

    objects.after = lose


@pytest.mark.parametrize("first", [True, False])
def test_writes_whose_answers_are_lost_count(filled, objects, send, first):
    if not first:
        send()
        change(filled)

    def is_conditional(name):  # streams are written without a condition, so never fail so
        return len(objects.contents[name]) <= 8 * BLOCK

    lose_answers(objects, is_conditional)
    send()
    assert same(arrays_of(objects.contents), state(filled))


def test_unanswered_commit_keeps_its_objects(filled, objects, send):
    """The log was written, and the network failed: the commit stands."""
    send()
    change(filled)

    def fail(kind, name):
        if (kind, name) == ("write", "commits.log"):
            raise RemoteError("no answer")

    objects.after = fail
    with pytest.raises(RemoteError, match="no answer"):
        send()
    assert same(arrays_of(objects.contents), state(filled))
    objects.after = lambda kind, name: None
    assert send().objects_sent == 0


def test_object_of_another_size_under_a_new_name_is_an_error(filled, objects, send):
    def precede(kind, name):
        if kind == "write" and name.startswith("data/"):
            objects._put(name, b"other", None, False)

    objects.before = precede
    with pytest.raises(ObjectChangedError):
        send()
    assert "commits.log" not in objects.contents


# Two publishers ------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
def test_one_of_two_publishers_wins(filled, objects, send, first):
    """The other one publishes as a whole just before the log is written."""
    if not first:
        send()
    change(filled)
    commit = filled._session().newest_commit()
    with NumPack("s.npk", at=commit) as mine, NumPack("s.npk") as theirs:
        theirs.append({"x": wide(7)})
        expected = state(theirs)
        inner = []

        def meet(kind, name):
            if (kind, name) == ("write", "commits.log") and not inner:
                inner.append(True)
                send(theirs)

        objects.before = meet
        with pytest.raises(ConflictError, match="published there meanwhile; publish again"):
            send(mine)
        assert same(arrays_of(objects.contents), expected)
        before = needed_by(objects.contents)
        assert {name for name in objects.contents if name not in before} <= set(
            () if first else objects.contents
        )


def test_loser_removes_its_objects_and_not_those_of_others(filled, objects, send):
    send()
    previous = needed_by(objects.contents)
    with NumPack("s.npk") as other:
        inner = []

        def meet(kind, name):
            if (kind, name) == ("write", "commits.log") and not inner:
                inner.append(True)
                change(other)
                send(other)

        filled.append({"x": wide(3)})
        objects.before = meet
        with pytest.raises(ConflictError):
            send()
        assert set(objects.contents) == needed_by(objects.contents) | previous
        objects.before = lambda kind, name: None
        assert send().objects_sent == 0
        assert same(arrays_of(objects.contents), state(other))


def test_many_threads_publish_at_once(filled, objects, send):
    """Each round, the commits are published by several: at least one wins, none mixes."""
    for step in range(8):
        filled.append({"x": wide(step + 1)})
        filled.replace({"long": np.full(9, step, "u1")}, slice(0, 9))
        outcomes = []
        barrier = threading.Barrier(3)

        def run(outcomes=outcomes, barrier=barrier):
            with NumPack("s.npk", mode="r") as reader:
                barrier.wait()
                try:
                    publish(reader._session(), objects, None, overwrite=False)
                    outcomes.append("won")
                except ConflictError:
                    outcomes.append("lost")

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 3
        assert "won" in outcomes
        assert same(arrays_of(objects.contents), state(filled))
        assert catalog_of(objects.contents).commit == filled._session().newest_commit()
