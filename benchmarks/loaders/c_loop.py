"""Bounds: rows that C copies, or reads from the disk, and does nothing else."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .base import COLD_BATCHES, FAST_CALL_ROWS, Batches, Data, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = r"""
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 64, AHEAD = 8, MOST_LINES = 8, MOST_THREADS = 64 };

typedef struct {
    const char *from;
    const int64_t *rows;
    int64_t batches, count, width, first, step;
    char *to;
} part;

static void *copied(void *given)
{
    const part *p = given;
    const int64_t lines = p->width < LINE * MOST_LINES ? p->width : LINE * MOST_LINES;
    for (int64_t batch = p->first; batch < p->batches; batch += p->step) {
        const int64_t *rows = p->rows + batch * p->count;
        for (int64_t i = 0; i < p->count; i++) {
            if (i + AHEAD < p->count)
                for (int64_t at = 0; at < lines; at += LINE)
                    __builtin_prefetch(p->from + rows[i + AHEAD] * p->width + at);
            memcpy(p->to + i * p->width, p->from + rows[i] * p->width, (size_t)p->width);
        }
    }
    return 0;
}

int gather(const char *from, const int64_t *rows, int64_t batches, int64_t count, int64_t width,
           char *to, int64_t threads)
{
    pthread_t running[MOST_THREADS];
    part parts[MOST_THREADS];
    for (int64_t t = 0; t < threads; t++) {
        char *out = to + t * count * width;
        parts[t] = (part){from, rows, batches, count, width, t, threads, out};
        if (t && pthread_create(&running[t], 0, copied, &parts[t]))
            return 1;
    }
    copied(&parts[0]);
    for (int64_t t = 1; t < threads; t++)
        pthread_join(running[t], 0);
    return 0;
}

typedef struct {
    int file;
    const int64_t *rows;
    int64_t count, width, offset, first, step;
    char *to;
} reads;

static void *read_rows(void *given)
{
    const reads *p = given;
    for (int64_t i = p->first; i < p->count; i += p->step)
        if (pread(p->file, p->to + i * p->width, (size_t)p->width,
                  p->offset + p->rows[i] * p->width) != p->width)
            return given;
    return 0;
}

int read_from(int file, int64_t offset, const int64_t *rows, int64_t count, int64_t width,
              char *to, int64_t threads)
{
    pthread_t running[MOST_THREADS];
    reads parts[MOST_THREADS];
    int failed = 0;
    for (int64_t t = 0; t < threads; t++) {
        parts[t] = (reads){file, rows, count, width, offset, t, threads, to};
        if (pthread_create(&running[t], 0, read_rows, &parts[t]))
            return 1;
    }
    for (int64_t t = 0; t < threads; t++) {
        void *wrong = 0;
        pthread_join(running[t], &wrong);
        failed |= wrong != 0;
    }
    return failed;
}
"""


class CLoop(Batches):
    """A loop that copies rows whose numbers are known into the same memory again and again."""

    label = "C loop, 1 thread"
    call_rows = FAST_CALL_ROWS
    threads: ClassVar[int] = 1

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self._gather = _compiled(data.folder).gather

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Iterate over batches, each copied by one call."""
        reading = self.reading(batch_size, 1)
        for _ in range(self.data.rows.number // batch_size):
            reading()
            yield self._target(batch_size)

    def reading(self, batch_size: int, batches: int) -> Reading:
        """Return calls that copy some batches, one call of C each."""
        whole = self.data.rows.number // (batch_size * batches)
        numbers = self.data.order[: whole * batch_size * batches].reshape(whole, -1)
        return Reading(self._calls(numbers, batch_size, batches), 1)

    def _calls(self, numbers: Any, batch_size: int, batches: int) -> Iterator[Any]:
        array = self.data.mapped
        to = self._target(batch_size)
        given = batches, batch_size, self.data.rows.nbytes
        sizes = [ctypes.c_int64(each) for each in given]
        for rows in itertools.cycle(numbers):
            failed = self._gather(
                ctypes.c_void_p(array.ctypes.data),
                ctypes.c_void_p(rows.ctypes.data),
                *sizes,
                ctypes.c_void_p(to.ctypes.data),
                ctypes.c_int64(self.threads),
            )
            if failed:
                raise OSError("no thread could be started")
            yield to

    def _target(self, batch_size: int) -> Any:
        return np.empty((self.threads * batch_size, self.data.rows.nbytes // 4), "f4")


class CLoopThreads(CLoop):
    """The same with two threads, which take every second batch."""

    label = "C loop, 2 threads"
    threads = 2


class ColdCLoop(Batches):
    """Threads that read rows whose numbers are known from the disk, all of a call at once.

    As many threads as make it the fastest here: 64 took 48 ms a batch, 8 100 ms, 128 60 ms.
    """

    label = "C loop, 64 threads that read"
    threads: ClassVar[int] = 64

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self._read = _compiled(data.folder).read_from

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """Read some batches by one call, and iterate over them, again and again."""
        width = self.data.rows.nbytes
        offset = self.data.file.stat().st_size - self.data.rows.number * width
        count = batch_size * COLD_BATCHES
        to = np.empty((COLD_BATCHES, batch_size, width // 4), "f4")
        with self.data.file.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            for start in range(0, self.data.rows.number - count + 1, count):
                rows = self.data.order[start : start + count]
                sizes = [ctypes.c_int64(each) for each in (count, width)]
                if self._read(
                    file.fileno(),
                    ctypes.c_int64(offset),
                    ctypes.c_void_p(rows.ctypes.data),
                    *sizes,
                    ctypes.c_void_p(to.ctypes.data),
                    ctypes.c_int64(self.threads),
                ):
                    raise OSError("the rows could not be read")
                yield from to


def _compiled(folder: Path) -> Any:
    library, source = folder / "gather.so", folder / "gather.c"
    if not library.exists():
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise FileNotFoundError("the C loop needs gcc: install a C compiler")
        source.write_text(SOURCE)
        options = ("-O3", "-march=native", "-shared", "-fPIC", "-pthread")
        subprocess.run([compiler, *options, "-o", library, source], check=True)  # noqa: S603
    return ctypes.CDLL(str(library.resolve()))
