"""Where the allocator is used: in contexts, threads and tasks, and in a process."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy._core.multiarray import get_handler_name

from numpack import aligned_allocation, use_aligned_allocation

DEFAULT, NAME = "default_allocator", "numpack_aligned"

# A thread's name of the allocator of a new array, for scripts.
OTHER_THREADS = """
import threading
import numpy as np
from numpy._core.multiarray import get_handler_name
from numpack import aligned_allocation, use_aligned_allocation

def in_thread(call=lambda: None):
    def run():
        call()
        names.append(get_handler_name(np.ones(3)))
    names = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return names[0]
"""


def in_new_thread(call: Callable[[], object]) -> object:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def test_blocks_are_nested_and_end_with_exceptions():
    with aligned_allocation():
        with contextlib.suppress(KeyError), aligned_allocation():
            raise KeyError
        assert get_handler_name() == NAME
    assert get_handler_name() == DEFAULT


def test_function_can_be_decorated():
    @aligned_allocation()
    def made() -> np.ndarray:
        return np.ones(5)

    for _ in range(2):
        assert made().ctypes.data % 64 == 0
        assert get_handler_name() == DEFAULT


def test_block_leaves_no_setting_behind():
    """A later default of the process holds where a block has been."""
    context = contextvars.Context()
    with context.run(contextlib.ExitStack) as stack:
        context.run(stack.enter_context, aligned_allocation())
        assert len(context) == 1
        context.run(stack.close)
    assert len(context) == 0


def test_setting_belongs_to_the_thread():
    with aligned_allocation():
        assert in_new_thread(get_handler_name) == DEFAULT
        assert in_new_thread(lambda: get_handler_name(np.ones(3))) == DEFAULT
        carried = contextvars.copy_context()
        assert in_new_thread(lambda: carried.run(get_handler_name)) == NAME
    assert get_handler_name() == DEFAULT


def test_setting_belongs_to_the_asyncio_task():
    async def name() -> str:
        await asyncio.sleep(0)
        return get_handler_name(np.ones(3))

    async def aligned() -> list[str]:
        with aligned_allocation():
            created = asyncio.create_task(name())
            return [await created, await name(), await asyncio.to_thread(get_handler_name)]

    async def main() -> list[str]:
        inside, outside = await asyncio.gather(aligned(), name())
        return [*inside, outside, await name()]

    assert asyncio.run(main()) == [NAME, NAME, NAME, DEFAULT, DEFAULT]


def aligned_generator() -> Iterator[str]:
    with aligned_allocation():
        yield get_handler_name()


def test_generator_changes_the_context_that_runs_it():
    """It yields within the block, so its caller is in it too, as with decimal.localcontext."""
    generator = aligned_generator()
    assert next(generator) == NAME
    assert get_handler_name() == NAME
    assert next(generator, None) is None
    assert get_handler_name() == DEFAULT


def test_generator_closed_in_another_context_leaves_its_setting():
    for inside in (contextlib.nullcontext(), aligned_allocation()):
        with inside:
            before = get_handler_name()
            generator = aligned_generator()
            assert contextvars.copy_context().run(next, generator) == NAME
            generator.close()
            assert get_handler_name() == before


@pytest.mark.parametrize("made_in", ["the main thread", "another thread"])
def test_process_allocates_aligned_memory_in_all_threads(run_python, made_in):
    run_python(
        OTHER_THREADS
        + f"made_in = {made_in!r}\n"
        + """
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor(1) as pool:
    name = lambda: get_handler_name(np.ones(3))
    assert pool.submit(name).result() == "default_allocator"
    old = [np.arange(n) for n in (1, 10, 100, 10_000, 10**6)]
    with aligned_allocation():
        pass
    for _ in range(3):
        if made_in == "the main thread":
            use_aligned_allocation()
        else:
            in_thread(use_aligned_allocation)
        assert name() == pool.submit(name).result() == in_thread() == "numpack_aligned"
    with aligned_allocation():
        assert name() == "numpack_aligned"
    assert name() == "numpack_aligned"
    assert {get_handler_name(each) for each in old} == {"default_allocator"}
    for each in old:
        each.resize(2 * len(each), refcheck=False)
    pool.submit(old.clear).result()
"""
    )


def test_context_with_its_own_allocator_keeps_it(run_python):
    run_python(
        OTHER_THREADS
        + """
from contextvars import Context
from numpack.allocation.allocator import HANDLER, set_handler

own = Context()
default = own.run(set_handler, HANDLER)
own.run(set_handler, default)
use_aligned_allocation()
assert own.run(get_handler_name) == "default_allocator"
assert Context().run(get_handler_name) == get_handler_name() == "numpack_aligned"
"""
    )


def test_interpreter_without_a_default_to_change_warns(monkeypatch):
    """As the default of another object than a ContextVar, in whose memory nothing is sought."""
    from numpack.allocation import allocator

    assert not allocator.replace_default("text", "old", "new")
    variable = contextvars.ContextVar("variable", default=1)
    assert not allocator.replace_default(variable, object(), 2)
    assert variable.get() == 1
    monkeypatch.setattr(allocator, "replace_default", lambda *_: False)

    def call() -> str:
        with pytest.warns(RuntimeWarning, match="for the current context only.*in each thread"):
            use_aligned_allocation()
        return get_handler_name()

    assert contextvars.Context().run(call) == NAME
    assert get_handler_name() == DEFAULT


def test_default_of_any_variable_is_replaced():
    from numpack.allocation.allocator import replace_default

    old, new = object(), object()
    variable = contextvars.ContextVar("variable", default=old)
    assert variable.get() is old
    assert replace_default(variable, old, new)
    assert variable.get() is new
    assert contextvars.Context().run(variable.get) is new


def test_pool_whose_threads_are_initialized():
    def name() -> str:
        with aligned_allocation():
            return get_handler_name(np.ones(3))

    with ThreadPoolExecutor(2) as pool:
        assert {pool.submit(name).result() for _ in range(4)} == {NAME}
        assert pool.submit(get_handler_name).result() == DEFAULT
