"""Options of stores in an object store."""

import pytest
from support.store.remote import url_of

import numpack
from numpack import NumPack


def test_options_that_write_are_refused(arrays):
    for options, fix in (
        ({}, 'mode="r"'),
        ({"mode": "r+"}, 'mode="r"'),
        ({"mode": "w"}, 'mode="r"'),
        ({"drop_if_exists": True}, "leave it out"),
        ({"mode": "r", "upgrade": True}, "leave it out"),
        ({"mode": "r", "at": 2}, "leave out at="),
    ):
        with pytest.raises(numpack.UnsupportedError) as error:
            NumPack(url_of("s.npk"), **options)
        assert fix in str(error.value)
        assert error.value.fix


def test_options_of_object_stores_are_refused_for_folders():
    for name, value in (("storage_options", {}), ("cache", "c"), ("cache_bytes", 5)):
        with pytest.raises(numpack.InvalidValueError, match=f"{name}= is for stores"):
            NumPack("local.npk", **{name: value})


def test_options_of_the_cache_are_checked(arrays, monkeypatch):
    url = url_of("s.npk")
    for options in ({"cache_bytes": -1}, {"cache": ""}):
        with pytest.raises(numpack.InvalidValueError):
            NumPack(url, mode="r", **options)
    for options in ({"cache_bytes": "1"}, {"cache_bytes": True}, {"cache": 5}):
        with pytest.raises(numpack.WrongTypeError):
            NumPack(url, mode="r", **options)
    monkeypatch.setenv("NUMPACK_CACHE_BYTES", "lots")
    with (
        pytest.raises(numpack.InvalidValueError, match="NUMPACK_CACHE_BYTES"),
        NumPack(url, mode="r"),
    ):
        pass


def test_local_stores_import_nothing_of_it(run_python):
    out = run_python(
        """
import sys, numpack
with numpack.NumPack("a.npk"):
    pass
print([name for name in sys.modules if "object_store" in name or "remote" in name])
"""
    )
    assert out.strip() == "[]"
