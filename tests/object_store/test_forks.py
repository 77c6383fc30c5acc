"""A fork of a process that has used an object store."""


def test_fork_after_use_raises_at_once(run_python, bucket, prefix, remote):
    script = """
import os, signal, sys
import numpack
from numpack.object_store import open_object_store
url, endpoint, key, secret = sys.argv[1:]
options = {"endpoint": endpoint, "region": "us-east-1", "access_key_id": key,
           "secret_access_key": secret}
store = open_object_store(url, options)
unused = open_object_store(url, options)
size = store.read("x")[1].size
child = os.fork()
if child == 0:
    signal.alarm(20)
    failures = 0
    again = open_object_store(url, options)
    for call in (
        lambda: store.read("x"), lambda: store.read_tail("x", 3),
        lambda: store.read_ranges("x", [], [], memoryview(bytearray())),
        lambda: store.read_many([("x", 0, 1)]), lambda: store.write("y", b""),
        lambda: list(store.list("")), lambda: store.remove(["y"]),
        lambda: unused.read("x"), lambda: again.read("x"),
    ):
        try:
            call()
        except numpack.errors.RemoteError as error:
            failures += "spawn" in str(error) and "forkserver" in str(error)
    os._exit(failures)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
assert store.read("x")[1].size == size
"""
    run_python(script, bucket.url(prefix), bucket.endpoint, bucket.key, bucket.secret)


def test_fork_before_use_works(run_python, bucket, prefix, remote):
    script = """
import os, signal, sys
from numpack.object_store import open_object_store
url, endpoint, key, secret = sys.argv[1:]
store = open_object_store(url, {"endpoint": endpoint, "region": "us-east-1",
    "access_key_id": key, "secret_access_key": secret})
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(len(store.read_tail("x", 7)[0]))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    run_python(script, bucket.url(prefix), bucket.endpoint, bucket.key, bucket.secret)
