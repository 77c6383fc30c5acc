"""What is remote, and how URLs are spelled."""

from pathlib import Path

import pytest
from support.each import assert_each, for_each

from numpack.errors import InvalidValueError
from numpack.object_store import is_remote, open_object_store
from numpack.object_store.urls import local_path, normalized


def test_is_remote(tmp_path):
    import fsspec
    from obstore.store import HTTPStore, MemoryStore

    class Mine(MemoryStore):
        pass

    for source in (
        *("s3://b/x", "S3A://b", "simplecache::s3://b/x", "file:///x", "https://h/x", "x+y://"),
        *(
            MemoryStore(),
            Mine(),
            HTTPStore("https://example.org"),
            fsspec.get_mapper("memory://x"),
        ),
    ):
        assert is_remote(source), source
    for source in (
        *("x", "/x", "C:/x", "x:y", "://x", "a b://", "", "1s://x", b"s3://x"),
        *(Path("s3://b"), tmp_path, None, 3, {}, fsspec.filesystem("memory")),
    ):
        assert not is_remote(source), source


def test_nothing_is_imported(run_python):
    out = run_python(
        """
import sys
from numpack.errors import InvalidValueError
from numpack.object_store import is_remote, open_object_store
assert is_remote("s3://b/x") and not is_remote("x") and not is_remote(3)
print(*sys.modules)
"""
    )
    assert not set(out.split()) & {"obstore", "fsspec", "s3fs", "asyncio", "concurrent.futures"}


def test_importing_numpack_imports_no_object_store(run_python):
    assert "object_store" not in run_python("import sys, numpack; print(*sys.modules)")


def test_locations_have_one_spelling():
    def check(url, wanted):
        assert normalized(url) == wanted

    assert_each(
        [
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("s3a://bucket//a///b", "s3://bucket/a/b"),
            ("S3://Bucket/A", "s3://Bucket/A"),
            ("gcs://bucket", "gs://bucket"),
            ("s3://key:secret@bucket/a?x=1#y", "s3://bucket/a"),
            ("HTTPS://me:secret@Example.org:443/a/?sig=1", "https://example.org/a"),
            ("http://example.org:80", "http://example.org"),
            ("http://example.org:8080/", "http://example.org:8080"),
            ("abfs://container@account.dfs.core.windows.net/a", None),
            ("file:///a/b/", "file:///a/b"),
        ],
        lambda url, wanted: check(url, wanted or url),
    )


@for_each("url", ["file://x.npk", "file://./x.npk", "file://sub/x.npk", "file://", "file:///"])
def test_urls_of_local_folders_have_absolute_paths(url):
    """What looks like a relative path is a host, and would be written to another folder."""
    with pytest.raises(InvalidValueError, match="three slashes"):
        open_object_store(url)
    assert local_path("file://localhost/a%20b") == local_path("file:///a%20b") == Path("/a b")
