"""Measure `numpack.convert`: each format in and out, against its own library.

    python benchmarks/convert.py [--mib 256] [--repeat 3] [--folder DIR] [FORMAT …]

"In" is a file that becomes a store, against the library's own read of the file into memory and
`NumPack.save`; "out" a store that becomes a file, against `NumPack.load` and the library's own
write, flushed to the device, as `convert` does. Each run is a process of its own, in which a
small file was converted before, and the runs alternate; the files are in the page cache. The
ratio is that of the medians, and above 1 `convert` is faster. The memory is by how much the
resident size grew at its peak, mapped pages included.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import numpack

if TYPE_CHECKING:
    from collections.abc import Callable

    Arrays = dict[str, np.ndarray[Any, Any]]

MIB = 1 << 20
SMALL = 4096  # rows


class Format(NamedTuple):
    """A format and its own library.

    Attributes
    ----------
    suffix : str
    write : callable
        Takes a path and arrays.
    read : callable
        Takes a path; returns the arrays in memory.
    is_table : bool
        Whether the arrays are columns of numbers.
    options : dict
        Of `convert`, for reading the file.
    """

    suffix: str
    write: Callable[[str, Arrays], object]
    read: Callable[[str], Arrays]
    is_table: bool = False
    options: dict[str, Any] = {}  # noqa: RUF012 -- not changed


def arrays_of(rows: int, form: Format) -> Arrays:
    """Return the arrays that are converted: 64 bytes a row."""
    rng = np.random.default_rng(0)
    if not form.is_table:
        return {"x": rng.standard_normal((rows, 16), "f4")}
    return {f"c{number}": rng.standard_normal(rows) for number in range(8)}


def _write_npz(path: str, arrays: Arrays) -> None:
    np.savez(path, **arrays)  # type: ignore[arg-type]  # names of arrays


def _read_npz(path: str) -> Arrays:
    with np.load(path) as found:
        return dict(found)


def _write_safetensors(path: str, arrays: Arrays) -> None:
    from safetensors.numpy import save_file  # noqa: PLC0415 -- each in its own process

    save_file(arrays, path)


def _read_safetensors(path: str) -> Arrays:
    from safetensors.numpy import load_file  # noqa: PLC0415

    found: Arrays = load_file(path)
    return found


def _table(arrays: Arrays) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    return pa.table(arrays)


def _columns(table: Any) -> Arrays:
    return {name: table[name].to_numpy() for name in table.column_names}


def _write_parquet(path: str, arrays: Arrays) -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415

    pq.write_table(_table(arrays), path, row_group_size=1 << 18)


def _read_parquet(path: str) -> Arrays:
    import pyarrow.parquet as pq  # noqa: PLC0415

    return _columns(pq.read_table(path))


def _write_feather(path: str, arrays: Arrays) -> None:
    from pyarrow import feather  # noqa: PLC0415

    feather.write_feather(_table(arrays), path, compression="uncompressed")


def _read_feather(path: str) -> Arrays:
    from pyarrow import feather  # noqa: PLC0415

    return _columns(feather.read_table(path, memory_map=False))


def _write_csv(path: str, arrays: Arrays) -> None:
    import pyarrow.csv as pc  # noqa: PLC0415

    pc.write_csv(_table(arrays), path)


def _read_csv(path: str) -> Arrays:
    import pyarrow.csv as pc  # noqa: PLC0415

    return _columns(pc.read_csv(path))


def _write_hdf5(path: str, arrays: Arrays) -> None:
    import h5py  # noqa: PLC0415

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, chunks=True)


def _read_hdf5(path: str) -> Arrays:
    import h5py  # noqa: PLC0415

    with h5py.File(path, "r") as file:
        return {name: file[name][...] for name in file}


def _write_zarr(path: str, arrays: Arrays) -> None:
    import zarr  # noqa: PLC0415

    group = zarr.open_group(path, mode="w")
    for name, array in arrays.items():
        group.create_array(name, data=array, chunks=(1 << 16, *array.shape[1:]))


def _read_zarr(path: str) -> Arrays:
    import zarr  # noqa: PLC0415

    return {name: each[...] for name, each in zarr.open_group(path, mode="r").arrays()}


def _write_torch(path: str, arrays: Arrays) -> None:
    import torch  # noqa: PLC0415

    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)


def _read_torch(path: str) -> Arrays:
    import torch  # noqa: PLC0415

    found = torch.load(path, weights_only=True)
    return {name: tensor.numpy() for name, tensor in found.items()}


def _write_netcdf(path: str, arrays: Arrays) -> None:
    import xarray as xr  # noqa: PLC0415

    dims = {name: [f"{name}{axis}" for axis in range(a.ndim)] for name, a in arrays.items()}
    made = xr.Dataset({name: (dims[name], array) for name, array in arrays.items()})
    made.to_netcdf(path, engine="h5netcdf")


def _read_netcdf(path: str) -> Arrays:
    import xarray as xr  # noqa: PLC0415

    with xr.open_dataset(path, engine="h5netcdf") as found:
        return {str(name): each.values for name, each in found.data_vars.items()}


FORMATS = {
    "npy": Format(".npy", lambda path, a: np.save(path, a["x"]), lambda p: {"x": np.load(p)}),
    "npz": Format(".npz", _write_npz, _read_npz),
    "raw": Format(
        ".bin",
        lambda path, a: a["x"].tofile(path),
        lambda path: {"x": np.fromfile(path, "f4").reshape(-1, 16)},
        options={"dtype": "f4", "shape": (-1, 16)},
    ),
    "safetensors": Format(".safetensors", _write_safetensors, _read_safetensors),
    "parquet": Format(".parquet", _write_parquet, _read_parquet, is_table=True),
    "arrow": Format(".feather", _write_feather, _read_feather, is_table=True),
    "csv": Format(".csv", _write_csv, _read_csv, is_table=True),
    "hdf5": Format(".h5", _write_hdf5, _read_hdf5),
    "zarr": Format(".zarr", _write_zarr, _read_zarr),
    "torch": Format(".pt", _write_torch, _read_torch),
    "netcdf": Format(".nc", _write_netcdf, _read_netcdf),
}


def remove(path: str) -> None:
    """Remove a file or a folder, if it exists."""
    if Path(path).is_dir():
        shutil.rmtree(path)
    else:
        Path(path).unlink(missing_ok=True)


def flush(path: str) -> None:
    """Flush a file, or all files of a folder, to the device."""
    files = [each for each in Path(path).rglob("*") if each.is_file()]
    for each in files or [Path(path)]:
        descriptor = os.open(each, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def perform(form: Format, way: str, file: str, store: str) -> None:
    """Convert once, with `convert` or with the library."""
    if way == "in":
        numpack.convert(file, store, **form.options)
    elif way == "out":
        numpack.convert(store, file)
    elif way == "library in":
        arrays = form.read(file)
        with numpack.NumPack(store, mode="x") as made:
            made.save(arrays)
    else:
        with numpack.NumPack(store, mode="r") as made:
            arrays = dict(made)
        form.write(file, arrays)
        flush(file)


def child(name: str, way: str) -> None:
    """Convert the small file, then the large one; print seconds and bytes."""
    form = FORMATS[name]
    for size in ("small", "large"):
        is_in = way.endswith("in")
        file = f"{size}{form.suffix}" if is_in else f"written{form.suffix}"
        store = "made.npk" if is_in else f"{size}.npk"
        remove(store if is_in else file)
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        start = time.perf_counter()
        perform(form, way, file, store)
        seconds = time.perf_counter() - start
        grown = _status("VmHWM") - before
        remove(store if is_in else file)
    print(json.dumps({"seconds": seconds, "bytes": grown}))


def _status(field: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.split(f"{field}:")[1].split()[0]) * 1024


def measure(name: str, folder: Path, rows: int, repeat: int) -> list[str]:
    """Return the cells of the table's row of a format."""
    form = FORMATS[name]
    for size, count in (("small", SMALL), ("large", rows)):
        arrays = arrays_of(count, form)
        form.write(str(folder / f"{size}{form.suffix}"), arrays)
        with numpack.NumPack(folder / f"{size}.npk", drop_if_exists=True) as store:
            store.save(arrays)
    cells = [name]
    for way in ("in", "out"):
        found: dict[str, list[dict[str, float]]] = {way: [], f"library {way}": []}
        for _ in range(repeat):
            for each, results in found.items():
                command = [sys.executable, __file__, "--child", name, each]
                done = subprocess.run(  # noqa: S603 -- this script
                    command, cwd=folder, check=True, capture_output=True
                )
                results.append(json.loads(done.stdout))
        own, library = (
            statistics.median(each["seconds"] for each in results) for results in found.values()
        )
        peak = max(each["bytes"] for each in found[way])
        cells += [f"{own:.2f}", f"{library / own:.2f}", f"{peak / MIB:.0f}"]
    for path in folder.iterdir():
        remove(str(path))
    return cells


def main() -> None:
    """Measure the formats that are named, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", default=list(FORMATS))
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", default=None, help="where the files are made")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    print(f"{arguments.mib} MiB")
    print("| format | in, s | × library | MiB | out, s | × library | MiB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name in arguments.formats:
            cells = measure(name, Path(folder), arguments.mib * MIB // 64, arguments.repeat)
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
