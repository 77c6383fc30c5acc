"""Measure stores in an object store: requests, bytes, and times beside those of other clients.

The server is SeaweedFS on the loopback; a proxy in a process of its own counts the requests
and delays them. Each function compares contenders in turns, in one run, and returns ratios,
with the most that each may be. It needs the servers of the tests::

    PYTHONPATH=tests python benchmarks/remote.py --mib 1024
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from reach import best_times
from support.servers.apart import ProxyProcess
from support.servers.s3 import seaweedfs

from numpack import Loader, NumPack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.servers.bucket import Bucket

    Ratios = dict[str, tuple[float, float]]  # ratio and limit, by what is compared

WIDTH = 128  # rows of 512 bytes
ROWS_ASKED = 1000
DELAY = 0.02
OPEN_LIMIT = 2
ROWS_LIMIT, BYTES_LIMIT = 0.6, 2.0
EPOCH_LIMIT = 1 / 0.9
LOAD_LIMITS = {"obstore": 3.0, "s3fs": 1.0}  # it also verifies, and fills the cache
PUBLISH_LIMIT = 0.03
ROUNDS = 3


class Bench(NamedTuple):
    """A store that lies in a folder and in a bucket.

    Attributes
    ----------
    folder : Path
        Its subfolder ``s.npk`` is the store, with the array ``x``.
    bucket : Bucket
        The store is under the prefix ``s.npk``.
    proxy : ProxyProcess
        Leads to the same bucket.
    rows : int
        The length of ``x``.
    """

    folder: Path
    bucket: Bucket
    proxy: ProxyProcess
    rows: int

    @property
    def delayed(self) -> Bucket:
        """Return the bucket behind the proxy."""
        return self.bucket.at(self.proxy.endpoint)

    @contextlib.contextmanager
    def opened(self, bucket: Bucket, cache: str | None = None) -> Iterator[NumPack]:
        """Open the store in the bucket, with an empty cache unless one is named."""
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as empty,
            NumPack(
                bucket.url("s.npk"),
                mode="r",
                storage_options=bucket.options,
                cache=cache or empty,
            ) as npk,
        ):
            yield npk


@contextlib.contextmanager
def prepared(mib: int) -> Iterator[Bench]:
    """Start the servers, and upload a store with an array of so many MiB."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "seaweedfs").mkdir()
        bucket = stack.enter_context(seaweedfs(folder / "seaweedfs"))
        proxy = stack.enter_context(ProxyProcess(bucket.endpoint))
        rows = mib * (1 << 20) // (4 * WIDTH)
        with NumPack(folder / "s.npk") as npk:
            npk.save({"x": np.random.default_rng(0).random((rows, WIDTH), np.float32)})
        client = bucket.client()
        for path in sorted((folder / "s.npk").rglob("*")):
            if path.is_file():
                client.upload_file(str(path), bucket.name, str(path.relative_to(folder)))
        yield Bench(folder, bucket, proxy, rows)


def opening(bench: Bench) -> Ratios:
    """Count the requests that opening a store and asking for its arrays takes."""
    bench.proxy.reset()
    with bench.opened(bench.delayed) as npk:
        npk.get_shape("x")
        list(npk)
    return {"requests to open": (bench.proxy.counts().requests, OPEN_LIMIT)}


def random_rows(bench: Bench) -> Ratios:
    """Compare random rows with s3fs's ranges, and the bytes fetched with those asked for."""
    found: Ratios = {}
    for name, bucket, delay in (
        ("", bench.bucket, 0.0),
        (f", {DELAY * 1000:.0f} ms latency", bench.delayed, DELAY),
    ):
        bench.proxy.reset(delay)
        with bench.opened(bucket) as npk:
            filesystems = {f"s3fs {n}": _s3fs(bucket, n) for n in (10, 128)}
            calls: dict[str, Callable[[], object]] = {
                each: _ranges(filesystem, bench.rows, bucket)
                for each, filesystem in filesystems.items()
            }
            times = best_times({"ours": _our_rows(npk, bench.rows), **calls}, ROUNDS)
        ratio = times.pop("ours") / min(times.values())
        found[f"{ROWS_ASKED:,} random rows / s3fs{name}"] = (ratio, ROWS_LIMIT)
    return found


def bytes_fetched(bench: Bench) -> Ratios:
    """Compare the bytes that random rows need with those asked for, near and far apart."""
    found: Ratios = {}
    for name, rows in (("all", bench.rows), ("1/16 of", bench.rows // 16)):
        with bench.opened(bench.delayed) as npk:
            npk.get_shape("x")
            bench.proxy.reset(DELAY)
            index = np.random.default_rng(1).choice(rows, ROWS_ASKED, replace=False)
            npk.getitem("x", index)
            ratio = bench.proxy.counts().received / (ROWS_ASKED * 4 * WIDTH)
        found[f"bytes fetched / asked for, rows of {name} the array"] = (ratio, BYTES_LIMIT)
    return found


def _our_rows(npk: NumPack, rows: int) -> Callable[[], object]:
    generator = np.random.default_rng(2)
    return lambda: npk.getitem("x", generator.choice(rows, ROWS_ASKED, replace=False))


def _ranges(filesystem: Any, rows: int, bucket: Bucket) -> Callable[[], object]:
    """Return a function that reads rows of the array's object by s3fs."""
    generator = np.random.default_rng(2)
    path = _data_object(bucket)

    def read() -> object:
        starts = generator.choice(rows, ROWS_ASKED, replace=False) * (4 * WIDTH)
        ends = starts + 4 * WIDTH
        return filesystem.cat_ranges(
            [path] * ROWS_ASKED, starts.tolist(), ends.tolist(), on_error="raise"
        )

    return read


def _data_object(bucket: Bucket) -> str:
    """Return the path of the array's object, as s3fs takes it."""
    found = bucket.client().list_objects_v2(Bucket=bucket.name, Prefix="s.npk/data/")
    largest = max(found["Contents"], key=lambda each: each["Size"])
    return f"{bucket.name}/{largest['Key']}"


def _s3fs(bucket: Bucket, connections: int) -> Any:
    """Return a filesystem of s3fs with at most so many connections."""
    import s3fs  # noqa: PLC0415

    return s3fs.S3FileSystem(
        key=bucket.key,
        secret=bucket.secret,
        endpoint_url=bucket.endpoint,
        config_kwargs={"max_pool_connections": connections},
        skip_instance_cache=True,
    )


def epochs(bench: Bench) -> Ratios:
    """Compare the second epoch of a loader, from the cache, with one of the local store."""
    with (
        bench.opened(bench.bucket) as npk,
        NumPack(bench.folder / "s.npk", mode="r") as local,
    ):
        loaders = {
            name: Loader(source, "x", batch_size=256, target="numpy")
            for name, source in (("remote", npk), ("local", local))
        }
        calls = {name: _epoch(loader) for name, loader in loaders.items()}
        times = best_times(calls, 4)  # the first one fills the cache
    ratio = times["remote"] / times["local"]
    return {"second epoch of a Loader / local store": (ratio, EPOCH_LIMIT)}


def _epoch(loader: Loader) -> Callable[[], object]:
    return lambda: sum(len(batch) for batch in loader)


def whole_array(bench: Bench) -> Ratios:
    """Compare loading the array with reading its object by obstore and by s3fs."""
    import obstore  # noqa: PLC0415
    from obstore.store import from_url  # noqa: PLC0415

    store = from_url(bench.bucket.url(), **bench.bucket.options)
    path = _data_object(bench.bucket)
    key = path.partition("/")[2]
    filesystem = _s3fs(bench.bucket, 10)

    def ours() -> None:
        with bench.opened(bench.bucket) as npk:
            npk.load("x")

    times = best_times(
        {
            "ours": ours,
            "obstore": lambda: obstore.get(store, key).bytes(),
            "s3fs": lambda: filesystem.cat_file(path),
        },
        3,
    )
    return {
        f"load / {name}": (times["ours"] / times[name], limit)
        for name, limit in LOAD_LIMITS.items()
    }


def publishing(bench: Bench) -> Ratios:
    """Compare the bytes that publishing sends after 1 % has changed with those of the store."""
    bucket, part = bench.delayed, bench.rows // 100
    changed = slice(bench.rows // 3, bench.rows // 3 + part)
    with NumPack(bench.folder / "s.npk") as npk:
        url = bucket.url("published.npk")
        npk.publish(url, storage_options=bucket.options)
        npk.replace({"x": np.zeros((part, WIDTH), "f4")}, changed)
        bench.proxy.reset()
        npk.publish(url, storage_options=bucket.options)
    ratio = bench.proxy.counts().sent / (bench.rows * 4 * WIDTH)
    return {"bytes sent / bytes of a store of which 1 % changed": (ratio, PUBLISH_LIMIT)}


MEASURES: list[Callable[[Bench], Ratios]] = [
    opening,
    random_rows,
    bytes_fetched,
    epochs,
    whole_array,
    publishing,
]


def main() -> int:
    """Print all ratios; return 1 if one exceeds its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024, help="size of the array")
    parser.add_argument("only", nargs="*", help="names of the functions to call")
    arguments = parser.parse_args()
    exceeded = False
    with prepared(arguments.mib) as bench:
        for measure in MEASURES:
            if arguments.only and measure.__name__ not in arguments.only:
                continue
            for name, (ratio, limit) in measure(bench).items():
                sys.stdout.write(f"{ratio:8.3f}  at most {limit:.3f}  {name}\n")
                sys.stdout.flush()
                exceeded |= ratio > limit
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
