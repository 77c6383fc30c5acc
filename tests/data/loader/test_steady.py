"""Threads, memory, descriptors, exceptions, signals, forks and exits."""

from __future__ import annotations

import gc
import os
import threading
import time
import tracemalloc

import numpy as np
import pytest
from support.memory import allocated_bytes, resident_bytes

from numpack import Loader, NumPack


def thread_count():
    return len(os.listdir("/proc/self/task"))


def mapping_count():
    with open("/proc/self/maps") as maps:
        return len(maps.readlines())


def loader(source=None, **options):
    source = {"x": np.arange(4000).reshape(-1, 4)} if source is None else source
    return Loader(source, **{"batch_size": 10, "target": "numpy", "threads": 2, **options})


pytestmark = pytest.mark.system


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = thread_count()
    yield
    gc.collect()
    wait_for(before)


def wait_for(threads):
    """Wait until so many threads are left: the kernel lists a thread that was joined."""
    deadline = time.monotonic() + 30
    while thread_count() != threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert thread_count() == threads


def test_a_pass_has_its_threads_until_its_last_batch():
    before = thread_count()
    given = loader()
    assert thread_count() == before
    batches = iter(given)
    for _ in range(len(given) - 1):
        next(batches)
        assert thread_count() == before + 2
    next(batches)  # nobody may ask for more
    wait_for(before)
    assert next(batches, None) is None


def test_without_prefetching_there_are_no_threads():
    before = thread_count()
    batches = iter(loader(prefetch=0))
    next(batches)
    assert thread_count() == before


def test_no_more_is_prefetched_than_asked_for():
    taken = []
    for prefetch in (0, 1, 2, 5):
        source = {"x": np.zeros((4000, 100_000), "u1")}
        given = loader(source, prefetch=prefetch)
        gc.collect()
        before = allocated_bytes()
        batches = iter(given)
        batch = next(batches)
        for _ in range(20):
            batch = next(batches)
        taken.append((allocated_bytes() - before) / batch["x"].nbytes)
        del batch, batches
    for prefetch, batches_held in zip((0, 1, 2, 5), taken, strict=True):
        assert prefetch + 0.9 < batches_held < prefetch + 3.1


def test_breaking_off_ends_the_threads():
    before = thread_count()
    for _ in loader():
        break
    gc.collect()
    wait_for(before)
    batches = iter(loader())
    next(batches)
    batches.close()
    wait_for(before)
    assert next(batches, None) is None
    batches.close()


def test_exceptions_of_the_consumer_and_of_transform_end_the_threads():
    before = thread_count()

    def consume():
        for _ in loader():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()
    gc.collect()
    wait_for(before)
    batches = iter(loader(transform=lambda batch: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        next(batches)
    wait_for(before)
    assert next(batches, None) is None


def test_a_cycle_is_collected():
    before = thread_count()
    batches = iter(loader())
    next(batches)
    cycle = [batches]
    cycle.append(cycle)
    del batches, cycle
    gc.collect()
    wait_for(before)


def test_thousand_epochs_take_no_memory():
    given = loader({"x": np.arange(400).reshape(-1, 4), "y": np.arange(100)})
    for _ in range(50):
        for _ in given:
            pass
    gc.collect()
    tracemalloc.start()
    heap, resident, files = (
        allocated_bytes(),
        resident_bytes(),
        len(os.listdir("/proc/self/fd")),
    )
    for _ in range(1000):
        for _ in given:
            pass
    gc.collect()
    assert tracemalloc.get_traced_memory()[0] < 20_000
    tracemalloc.stop()
    assert allocated_bytes() - heap < 1 << 20
    assert resident_bytes() - resident < 16 << 20
    assert len(os.listdir("/proc/self/fd")) == files


def test_epochs_of_a_store_take_no_descriptors_or_mappings():
    with NumPack("s.npk") as npk:
        npk.save({"x": np.arange(4000).reshape(-1, 4)})
        for shuffle in (True, False):
            given = loader(npk, shuffle=shuffle)
            list(given)
            files, maps = len(os.listdir("/proc/self/fd")), mapping_count()
            for _ in range(20):
                for _ in given:
                    pass
            gc.collect()
            assert len(os.listdir("/proc/self/fd")) <= files
            assert mapping_count() <= maps + 5


def test_several_threads_may_share_a_pass():
    given = loader(names="x")
    batches, seen = iter(given), []

    def work():
        for batch in batches:
            seen.append(batch[:, 0].copy())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(0, 4000, 4))


def test_several_passes_at_once():
    given = loader(names="x")
    together = [(a[0, 0], b[0, 0]) for a, b in zip(given, given, strict=True)]
    given.set_epoch(0)
    assert [a for a, _ in together] == [batch[0, 0] for batch in given]
    assert [b for _, b in together] == [batch[0, 0] for batch in given]


def test_control_c_ends_a_pass_and_leaves_nothing_behind(run_python):
    script = """
import os, signal, sys, threading, time
import numpy as np
from numpack import Loader
source = {"x": np.zeros((400_000, 100))}
loader = Loader(source, "x", batch_size=1000, target="numpy", threads=2)
shared, threads = set(os.listdir("/dev/shm")), len(os.listdir("/proc/self/task"))
main = threading.main_thread().ident
timer = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
timer.start()
try:
    while True:
        for batch in loader:
            pass
except KeyboardInterrupt:
    timer.join()
import gc
gc.collect()
deadline = time.monotonic() + 30
while len(os.listdir("/proc/self/task")) > threads:
    assert time.monotonic() < deadline, os.listdir("/proc/self/task")
    time.sleep(0.01)
assert set(os.listdir("/dev/shm")) == shared
assert sum(len(batch) for batch in loader) == 400_000
print("interrupted")
"""
    assert run_python(script) == "interrupted\n"


def test_exiting_in_mid_epoch(run_python):
    script = """
import sys
import numpy as np
from numpack import Loader, NumPack
with NumPack("exit.npk") as npk:
    npk.save({"x": np.zeros((40_000, 1000))})
loader = Loader("exit.npk", "x", batch_size=2000, target="numpy", threads=3, prefetch=5)
batches = iter(loader)
batch = next(batches)
keep = [batches]
keep.append(keep)
if sys.argv[1] == "raise":
    raise SystemExit(3)
if sys.argv[1] == "exit":
    import os
    os._exit(3)
sys.exit(3)
"""
    for how in ("raise", "exit", "return"):
        run_python(script, how, expect=3)


def test_a_fork_in_mid_epoch_goes_on_in_both_processes(run_python):
    script = """
import os, signal
import numpy as np
from numpack import Loader, NumPack
with NumPack("fork.npk") as npk:
    npk.save({"x": np.arange(40_000).reshape(-1, 2)})
def make():
    return Loader("fork.npk", "x", batch_size=16, target="numpy", threads=2, prefetch=4)
def same(found, expected):
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))
expected = [b.copy() for b in make()]
loader = make()
batches = iter(loader)
for number in range(100):
    assert (next(batches) == expected[number]).all()
    if number % 10 == 0:
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            same(batches, expected[number + 1 :])
            same(make(), expected)
            assert len(list(loader)) == len(expected)
            os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
same(batches, expected[100:])
"""
    run_python(script, flags=("-W", "ignore::DeprecationWarning"))


def test_a_fork_while_another_thread_is_in_a_pass(run_python):
    script = """
import os, signal, sys, threading
import numpy as np
from numpack import Loader
inside, leave = threading.Event(), threading.Event()
def transform(batch):
    if threading.current_thread() is not threading.main_thread():
        inside.set()
        leave.wait()
    return batch
loader = Loader({"x": np.arange(1000)}, "x", batch_size=10, target="numpy", transform=transform)
batches = iter(loader)
thread = threading.Thread(target=next, args=(batches,))
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    assert sum(map(len, batches)) == 990
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
leave.set()
thread.join()
assert sum(map(len, batches)) == 990
"""
    run_python(script, flags=("-W", "ignore::DeprecationWarning"))


def test_a_child_that_is_forked_and_exits_ends(run_python):
    script = """
import os, signal, sys
import numpy as np
from numpack import Loader
batches = iter(Loader({"x": np.zeros((40_000, 100))}, "x", target="numpy", threads=3))
next(batches)
child = os.fork()
if child == 0:
    signal.alarm(60)
    sys.exit(0)  # collects the pass
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
next(batches)
"""
    run_python(script, flags=("-W", "ignore::DeprecationWarning"))


def test_a_limited_number_of_threads_is_enough(run_python):
    script = """
import resource
import numpy as np
from numpack import Loader
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
loader = Loader({"x": np.arange(1000)}, "x", batch_size=10, target="numpy", threads=10_000)
assert sum(map(len, loader)) == 1000
"""
    run_python(script)


def test_a_signal_handler_may_close_the_pass_that_is_waited_for(monkeypatch):
    given = loader(prefetch=2)
    batches = iter(given)
    next(batches)
    queue = batches._queue

    class Closing:  # as a handler does that runs between two copies of a batch
        threads = 0

        def __getattr__(self, name):
            batches.close()
            return getattr(queue, name)

        def close(self):
            queue.close()

    state = given.state_dict()
    monkeypatch.setattr(batches, "_queue", Closing())
    assert list(batches) == []
    assert given.state_dict() == state


def test_an_interrupt_at_the_end_of_a_batch_does_not_count_it(monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    given = loader(shuffle=False)
    batches = iter(given)
    for _ in range(63):
        next(batches)
    state = given.state_dict()
    monkeypatch.setattr(batches._limit, "is_exceeded", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(batches)
    assert given.state_dict() == state


def test_stop_iteration_in_transform_is_no_end_of_the_epoch():
    def transform(batch):
        return next(iter(()))

    with pytest.raises(RuntimeError, match="transform raised StopIteration"):
        list(loader(transform=transform))
