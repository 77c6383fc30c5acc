"""Credentials are used, and neither shown nor pickled."""

import base64
import pickle
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from support.each import assert_each

from numpack.errors import InvalidValueError, NumpackError, UnsupportedError
from numpack.object_store import open_object_store
from numpack.object_store.secrets import safe_arguments, safe_configuration, scrub, user_of
from numpack.object_store.translation import translate

SECRET = "s3cr3t/of+the/test"
KEY = "AKIATESTTESTTEST"


def test_safe_options_are_few():
    given = {
        "access_key_id": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "session_token": SECRET,
        "sse_customer_key_base64": SECRET,
        "unknown": SECRET,
        "credential_provider": lambda: SECRET,
        "aws_region": "eu-west-1",
        "endpoint": "http://127.0.0.1:1",
        "skip_signature": False,
        "client_options": {
            "default_headers": {"Authorization": SECRET},
            "proxy_url": f"http://me:{SECRET}@proxy",
            "timeout": "3s",
        },
        "retry_config": {"max_retries": 2},
        "config": {"account_key": SECRET, "region": "x"},
    }
    assert safe_configuration(given) == {
        "aws_region": "eu-west-1",
        "endpoint": "http://127.0.0.1:1",
        "skip_signature": False,
        "client_options": {"timeout": "3s"},
        "retry_config": {"max_retries": 2},
        "config": {"region": "x"},
    }
    assert safe_configuration({"endpoint": f"http://me:{SECRET}@host"}) == {}
    assert safe_arguments(
        {
            "key": KEY,
            "secret": SECRET,
            "anon": False,
            "host": "h",
            "client_kwargs": {"endpoint_url": "http://h", "aws_session_token": SECRET},
        }
    ) == {"anon": False, "host": "h", "client_kwargs": {"endpoint_url": "http://h"}}


def stores():
    from obstore.store import HTTPStore, S3Store

    credentials = {"access_key_id": KEY, "secret_access_key": SECRET}
    client = {"default_headers": {"X-Token": SECRET}, "allow_http": True}
    retry = {"max_retries": 0}
    there = {"endpoint": "http://127.0.0.1:9", "region": "x", "client_options": client}
    web = {"client_options": client, "retry_config": retry}
    return [
        open_object_store("s3://bucket/a", {**credentials, **there, "retry_config": retry}),
        open_object_store(f"http://me:{SECRET.replace('/', '%2F')}@127.0.0.1:9/a", web),
        open_object_store(f"http://127.0.0.1:9/a?X-Amz-Signature={SECRET}", web),
        open_object_store(
            S3Store("bucket", prefix="a", retry_config=retry, **credentials, **there)
        ),
        open_object_store(HTTPStore.from_url(f"http://127.0.0.1:9/a?sig={SECRET}", **web)),
    ]


def shows_secret(text):
    return any(each in text for each in (SECRET, SECRET.replace("/", "%2F"), KEY))


def test_messages_and_pickles_hold_no_secret():
    def check(store):
        import traceback

        with pytest.raises(NumpackError) as caught:
            store.read("x")
        shown = "".join(traceback.format_exception(caught.value))
        assert not shows_secret(shown + repr(store) + store.location)
        assert not shows_secret(pickle.dumps(caught.value).decode("latin-1"))
        if store._pickled is None:
            with pytest.raises(UnsupportedError, match="holds a secret") as refused:
                store.to_pickle()
            assert not shows_secret(str(refused.value))
        else:
            url, options = store.to_pickle()
            assert not shows_secret(pickle.dumps((url, options)).decode("latin-1"))
            assert open_object_store(url, options).location == store.location

    assert_each([(store,) for store in stores()], check)
    pickled = [store for store in stores() if store._pickled is not None]
    assert [store.location for store in pickled] == ["s3://bucket/a", "s3://bucket/a"]


def test_endpoint_with_a_secret_is_not_left_out():
    for options in (
        {"endpoint": f"http://me:{SECRET}@127.0.0.1:9"},
        {"config": {"aws_endpoint": "http://127.0.0.1:9?key=1"}},
    ):
        store = open_object_store("s3://bucket", {"region": "x", **options})
        with pytest.raises(UnsupportedError, match="holds a secret"):
            store.to_pickle()


def test_long_message_ends_in_no_secret():
    for length in range(380, 400):
        error = RuntimeError("x" * length + SECRET)
        message = str(translate(error, "read", "s3://b/x", [SECRET]))
        assert SECRET[:3] not in message, length


def test_pickled_options_open_the_same_store(remote, bucket, monkeypatch):
    for name, value in bucket.variables.items():
        monkeypatch.setenv(name, value)
    url, options = pickle.loads(pickle.dumps(remote.to_pickle()))
    assert bucket.secret not in repr(options)
    assert open_object_store(url, options).read("x") == remote.read("x")


def test_errors_of_opening_hold_no_secret():
    def check(url, options):
        with pytest.raises(InvalidValueError, match="cannot open") as caught:
            open_object_store(url, options)
        assert not shows_secret(str(caught.value))

    assert_each(
        [
            ("s3://bucket", {"secret_access_key": SECRET, SECRET: "1"}),
            ("s3://bucket", {"secret_access_key": SECRET, "region": [SECRET]}),
            ("az://container", {"account_key": SECRET}),
            (f"unheardof://me:{SECRET}@host/a", {}),
        ],
        check,
    )


def test_user_information_and_query_are_sent():
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers["Authorization"], self.headers["X-A"]))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://me:pass%20word@127.0.0.1:{server.server_port}/a?sig=x%2Fy"
    store = open_object_store(url, {"client_options": {"default_headers": {"X-A": "1"}}})
    assert store.read("data/x")[0] == b"ok"
    server.shutdown()
    server.server_close()
    token = base64.b64encode(b"me:pass word").decode()
    assert seen == [("/a/data/x?sig=x%2Fy", f"Basic {token}", "1")]
    assert store.location == f"http://127.0.0.1:{server.server_port}/a"


def test_user_information():
    for url, user in (
        ("https://me:secret@host:80/a@b", "me:secret"),
        ("https://host:80/a@b", ""),
        ("https://[::1]:80/a@b", ""),
        ("https://me:sec/ret@host/a", "me:sec/ret"),
        ("s3://bucket/a@b", ""),
        ("abfs://container@account.dfs.core.windows.net/a", ""),
    ):
        assert user_of(url) == user, url


def test_scrub():
    for text, wanted in (
        ("GET https://u:p@h/x?a=b no", "GET https://h/x no"),
        ("at abfs://c@acct.dfs/x", "at abfs://c@acct.dfs/x"),
        ('url: "http://h/x#frag" then', 'url: "http://h/x" then'),
        (f"key {SECRET} is", "key … is"),
        ("is it? yes", "is it? yes"),
    ):
        assert scrub(text, [SECRET]) == wanted
