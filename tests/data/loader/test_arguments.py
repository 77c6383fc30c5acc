"""Arguments that are refused, and what the messages say."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from support.each import assert_each

from numpack import (
    IndexRangeError,
    InvalidIndexError,
    InvalidValueError,
    Loader,
    NotFoundError,
    NumPack,
    NumpackError,
    StoreNotFoundError,
    UnsupportedError,
    WrongTypeError,
)

SOURCE = {"x": np.arange(10), "o": np.array([0, 3, 10])}


def test_wrong_arguments_are_refused():
    wrong = [
        ({"batch_size": 0}, InvalidValueError, "batch_size"),
        ({"batch_size": 2.0}, WrongTypeError, "batch_size"),
        ({"seed": "a"}, WrongTypeError, "seed"),
        ({"prefetch": -1}, InvalidValueError, "prefetch"),
        ({"threads": 0}, InvalidValueError, "threads"),
        ({"window": 0}, InvalidValueError, "window"),
        ({"window": 2, "stride": 0}, InvalidValueError, "stride"),
        ({"stride": 2}, InvalidValueError, "window="),
        ({"pad": 0}, InvalidValueError, "offsets="),
        ({"window": 2, "offsets": "o"}, InvalidValueError, "not both"),
        ({"offsets": "q"}, NotFoundError, "'q'"),
        ({"offsets": 3}, NumpackError, "offsets|name"),
        ({"rows": [10]}, IndexRangeError, "10"),
        ({"rows": [[1]]}, InvalidIndexError, "2"),
        ({"rows": np.ones(9, bool)}, IndexRangeError, "mask of 9"),
        ({"rows": "x"}, InvalidIndexError, "x"),
        ({"target": "nothing"}, InvalidValueError, "nothing"),
        ({"device": "cpu"}, InvalidValueError, "device"),
        ({"transform": 3}, WrongTypeError, "transform"),
        ({"names": "z"}, NotFoundError, "'z'"),
        ({"names": ["x", "x"]}, InvalidValueError, "twice"),
        ({"names": 5}, WrongTypeError, "names"),
        ({"names": []}, InvalidValueError, "at least one"),
    ]

    def check(number):
        options, kind, text = wrong[number]
        names = options.pop("names", "x")
        with pytest.raises(kind, match=text):
            Loader(SOURCE, names, **{"target": "numpy", **options})

    assert_each(range(len(wrong)), check)


def test_wrong_sources_are_refused():
    with pytest.raises(StoreNotFoundError):
        Loader("missing.npk", target="numpy")
    with pytest.raises(WrongTypeError, match="dict of arrays"):
        Loader(np.zeros(3), target="numpy")
    with pytest.raises(InvalidValueError, match="'a' has 3, 'b' has 4"):
        Loader({"a": np.zeros(3), "b": np.zeros(4)}, target="numpy")
    with pytest.raises(InvalidValueError, match="0-d"):
        Loader({"a": np.array(3)}, target="numpy")
    with pytest.raises(WrongTypeError, match="'a'"):
        Loader({"a": 3}, target="numpy")
    with pytest.raises(InvalidValueError, match="at least one"):
        Loader({}, target="numpy")


def test_what_the_target_cannot_hold_is_refused_at_once():
    with NumPack("s.npk") as npk:
        npk.save({"x": np.zeros(3, [("a", "i4")])})
        with pytest.raises(UnsupportedError):
            Loader(npk, target="dlpack")


def test_numpy_integers_are_integers():
    given = Loader(SOURCE, "x", target="numpy", batch_size=np.int32(3), seed=np.uint8(7))
    assert len(given) == 4
    assert type(given.state_dict()["seed"]) is int


def test_offsets_are_looked_up_without_names():
    with pytest.raises(NotFoundError, match="'q'"):
        Loader(SOURCE, offsets="q", target="numpy")
    with pytest.raises(NumpackError):
        Loader(SOURCE, offsets=3, target="numpy")


def test_huge_numbers_mean_all_that_there_is():
    for option in ("batch_size", "prefetch", "threads"):
        (batch,) = Loader({"x": np.arange(10)}, "x", target="numpy", **{option: 2**70})
        assert sorted(batch.tolist()) == list(range(10))
    most = {"rank": 2**31 - 1, "world_size": 2**31}
    (batch,) = Loader({"x": np.arange(10)}, "x", target="numpy", **most)
    assert len(batch) == 1
    with pytest.raises(InvalidValueError, match="2,147,483,648 ranks"):
        Loader({"x": np.arange(10)}, "x", target="numpy", rank=0, world_size=2**31 + 1)


def test_notebooks_show_a_loader_as_a_table():
    arrays = {"x": np.zeros((10, 3), "f4"), "<y>": np.arange(10)}
    html = Loader(arrays, batch_size=4, target="numpy")._repr_html_()
    text = "".join(ElementTree.fromstring(html).itertext())
    assert "10 samples, 3 batches of 4" in text
    assert "float32(10, 3)" in text
    assert "<y>int64(10,)" in text
