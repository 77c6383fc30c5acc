"""Opening stores of every kind."""

import pytest
from support.each import assert_each

from numpack.errors import InvalidValueError, UnsupportedError, WrongTypeError
from numpack.object_store import open_object_store


def test_missing_libraries_are_named(run_python):
    run_python(
        """
import sys, numpack
sys.modules.update(obstore=None, fsspec=None)
from numpack.object_store import open_object_store
for url, needed in (("s3://b/x", 'pip install "numpack[remote]"'), ("sftp://h/x", "fsspec")):
    try:
        open_object_store(url)
    except numpack.MissingDependencyError as error:
        assert needed in str(error), error
    else:
        raise AssertionError(url)
"""
    )


def test_stores_of_obstore(tmp_path):
    from obstore.store import AzureStore, GCSStore, HTTPStore, LocalStore, MemoryStore, S3Store

    memory = MemoryStore()

    def check(store, location):
        opened = open_object_store(store)
        assert opened.location == location
        assert opened.to_pickle()[0].rstrip("/") == location

    assert_each(
        [
            (S3Store("bucket", prefix="a/b", region="x"), "s3://bucket/a/b"),
            (S3Store("bucket", client_options={"allow_http": True}), "s3://bucket"),
            (GCSStore("bucket", prefix="a", skip_signature=True), "gs://bucket/a"),
            (AzureStore("container", account_name="me", prefix="a"), "az://container/a"),
            (HTTPStore.from_url("https://example.org/a"), "https://example.org/a"),
            (LocalStore(tmp_path), tmp_path.as_uri()),
        ],
        check,
    )
    first, second = open_object_store(memory), open_object_store(memory)
    assert first.location == second.location != open_object_store(MemoryStore()).location
    first.write("x", b"1")
    assert second.read("x")[0] == b"1"
    with pytest.raises(UnsupportedError, match="memory of this process"):
        first.to_pickle()
    with pytest.raises(UnsupportedError, match="pass them to the store itself"):
        open_object_store(memory, {"region": "x"})


def test_pickles_keep_the_configuration():
    from obstore.store import AzureStore

    store = AzureStore("container", account_name="me", account_key="c2VjcmV0", prefix="a")
    url, options = open_object_store(store).to_pickle()
    assert options == {"config": {"container_name": "container", "account_name": "me"}}
    assert open_object_store(url, options).location == "az://container/a"


def test_options_that_do_not_exist():
    for options, message in (
        ({"regoin": "x"}, "regoin.*storage_options are the configuration"),
        ({"client_options": {"tiemout": "3s"}}, "tiemout"),
    ):
        with pytest.raises(InvalidValueError, match=message):
            open_object_store("s3://bucket", options)


def test_options_of_the_client_may_be_among_the_others():
    open_object_store("s3://bucket", {"allow_http": True, "timeout": "3s", "region": "x"})
    url, options = open_object_store("https://example.org", {"timeout": "3s"}).to_pickle()
    assert options == {"timeout": "3s"}
    assert open_object_store(url, options).location == "https://example.org"


def test_what_is_no_object_store(tmp_path):
    from obstore.fsspec import FsspecStore

    for source in (tmp_path, "folder.npk", 3, FsspecStore("memory")):
        with pytest.raises(WrongTypeError, match="pass a URL such as 's3://"):
            open_object_store(source)
    with pytest.raises(InvalidValueError, match="pass 'obstore' or 'fsspec'"):
        open_object_store("s3://bucket", {"engine": "boto3"})


def test_memory_is_shared_by_url():
    open_object_store("memory://shared/a").write("x", b"1")
    assert open_object_store("memory://shared").read("a/x")[0] == b"1"
    assert [name for name, _ in open_object_store("memory://shared/a/").list("")] == ["x"]


def test_folder_is_made_by_the_first_write(tmp_path):
    folder = tmp_path / "a b" / "ü#1"
    store = open_object_store(folder.as_uri())
    assert list(store.list("")) == []
    assert not folder.exists()
    store.write("data/x", b"1")
    assert (folder / "data" / "x").read_bytes() == b"1"
    assert open_object_store(*store.to_pickle()).read("data/x")[0] == b"1"
