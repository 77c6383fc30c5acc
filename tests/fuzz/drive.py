"""Make every call on one store or file; runs in the child."""

from __future__ import annotations

import gc
import itertools
import math
import os
import pickle
import random
import re
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import numpack
from numpack import NumPack
from numpack.adapters.safetensors import SafetensorsFile
from numpack.errors import NumpackError

from .seeds import FILE, OLD, PACKAGE, PACKAGE_FILE, TENSORS, Arrays

T = TypeVar("T")
Reporter = Callable[..., None]

_READ_BYTES = 32 << 20  # larger arrays are not read whole
_ROW_BYTES = 1 << 20
_LARGEST = 64 << 20  # bytes of an unpacked package
_PACKAGE = Path(numpack.__file__).parent


class Driver:
    """Makes calls on one input, and reports each error that is not the package's own.

    Parameters
    ----------
    path : Path
    rng : random.Random
        Chooses the calls.
    expected : dict of str to ndarray
        Arrays that must have these rows or raise an error.
    report : callable
        Takes events, as keywords.
    """

    def __init__(
        self, path: Path, rng: random.Random, expected: Arrays, report: Reporter
    ) -> None:
        self.path, self.rng, self.expected, self.report = path, rng, dict(expected), report

    def run(self, kind: str) -> None:
        warnings.simplefilter("ignore")
        descriptors = len(os.listdir("/dev/fd"))
        if kind == TENSORS:
            self._tensors()
        elif kind == PACKAGE:
            self._package()
        else:
            self._read()
            self._write(kind)
            self._read()
        if len(os.listdir("/dev/fd")) > descriptors:
            gc.collect()
            left = len(os.listdir("/dev/fd")) - descriptors
            if left > 0:
                self.report(finding="descriptors left open", trace=str(left))

    def attempt(
        self, what: str, call: Callable[[], T], allowed: type = NumpackError
    ) -> T | None:
        """Make a call that must succeed or raise an error of the package."""
        self.report(op=what)
        try:
            return call()
        except NumpackError as error:
            self.report(message=f"{type(error).__name__}: {_template(error)}")
        except allowed as error:
            self.report(message=f"{type(error).__name__}")
        except BaseException as error:
            self.report(
                finding=f"{what}: {_where(error)}", trace=traceback.format_exc(limit=-12)
            )
        return None

    def check(self, what: str, name: str, found: Any) -> None:
        """Compare rows with those of an array that was not mutated."""
        expected = self.expected.get(name)
        if expected is None or found is None:
            return
        array = np.asarray(found)
        if (array.dtype, array.shape, array.tobytes()) != (
            expected.dtype,
            expected.shape,
            expected.tobytes(),
        ):
            self.report(finding=f"{what}: wrong values", trace=f"{name!r}: {array!r:.2000}")

    # Reader

    def _opened(self, **options: Any) -> NumPack | None:
        store = self.attempt("NumPack", lambda: NumPack(self.path, **options))
        if store is not None and self.attempt("open", lambda: store.open() or True):
            return store
        return None

    def _read(self) -> None:
        store = self._opened(mode="r")
        if store is not None:
            self._read_from(store)
            self.attempt("verify", lambda: str(store.verify()))
            self.attempt("close", store.close)

    def _read_from(self, store: NumPack) -> None:
        self.attempt("metadata", store.get_metadata)
        self.attempt("attributes of the store", lambda: repr(store.attrs.store))
        self.attempt("repr", lambda: f"{store!r} {len(store)}")
        names = self.attempt("list", lambda: list(store))
        if names is None:
            return
        if missing := set(self.expected) - set(names):
            self.report(finding="an untouched array is missing", trace=repr(missing))
        for name in names[:20]:
            self._read_array(store, name)

    def _read_array(self, store: NumPack, name: str) -> None:
        self.attempt("get_shape", lambda: store.get_shape(name))
        self.attempt("attributes", lambda: dict(store.attrs[name]))
        self.attempt("get_modify_time", lambda: store.get_modify_time(name))
        lazy = self.attempt("load lazily", lambda: store.load(name, lazy=True))
        if lazy is None:
            return
        self.attempt("repr of lazy", lambda: f"{lazy!r} {lazy.nbytes} {lazy.T.shape}")
        if lazy.nbytes <= _READ_BYTES:
            self.check("asarray", name, self.attempt("asarray", lambda: np.asarray(lazy)))
            self.check("load", name, self.attempt("load", lambda: store.load(name)))
            if self.rng.random() < 0.3:
                verified = self.attempt(
                    "load and verify", lambda: store.load(name, verify=True)
                )
                self.check("load and verify", name, verified)
            if self.rng.random() < 0.2:
                self._read_pickled(name, lazy)
        rows = self.attempt("len", lambda: len(lazy)) if lazy.ndim else 0
        if rows and lazy.nbytes // rows <= _ROW_BYTES:
            self.attempt("getitem", lambda: store.getitem(name, [0, -1]))
            self.attempt("getitem of a slice", lambda: store.getitem(name, slice(0, 5, 2)))
            self.attempt("lazy row", lambda: lazy[-1])
            self.attempt(
                "stream", lambda: list(itertools.islice(store.stream_load(name, 2), 3))
            )

    def _read_pickled(self, name: str, lazy: Any) -> None:
        again = self.attempt("pickle", lambda: pickle.loads(pickle.dumps(lazy)))
        self.check("pickle", name, again)

    # Writer

    def _write(self, kind: str) -> None:
        mode = self.rng.choice(["a", "a", "a", "r+", "r+", "w", "x"])
        options: dict[str, Any] = {"mode": mode}
        if self.rng.random() < (0.7 if kind == OLD else 0.1):
            options["upgrade"] = True
        if self.rng.random() < 0.04:
            options = {"drop_if_exists": True}
        if mode == "w" or "drop_if_exists" in options:
            self.expected.clear()
        store = self._opened(**options)
        if store is None:
            return
        names = self.attempt("list", lambda: list(store)) or []
        for _ in range(self.rng.randrange(1, 5)):
            what = self.rng.choice(list(_CHANGES))
            name = self.rng.choice([*names, "new"])
            for touched in (name, "new", "clone"):
                self.expected.pop(touched, None)
            if what == "reset":
                self.expected.clear()
            self.attempt(what, lambda what=what, name=name: _CHANGES[what](store, name))
        self._read_from(store)
        self.attempt("close", store.close)

    # packages

    def _package(self) -> None:
        package = self.path / PACKAGE_FILE
        out = self.path / "out.npk"
        self.attempt("package_info", lambda: numpack.package_info(package))
        if self.attempt("unpack", lambda: numpack.unpack(package, out, max_bytes=_LARGEST)):
            self.path = out
            self._read()
        elif os.path.lexists(out):
            self.report(finding="unpack left a folder", trace="")
        self.path = package
        self._read()

    # safetensors

    def _tensors(self) -> None:
        path = self.path / FILE
        file = self.attempt("SafetensorsFile", lambda: SafetensorsFile(path), OSError)
        if file is None:
            return
        self.attempt("metadata", lambda: f"{file!r} {file.metadata} {len(file)}")
        if missing := set(self.expected) - set(file):
            self.report(finding="an untouched tensor is missing", trace=repr(missing))
        for name in file:
            self.attempt("buffer", lambda name=name: file.buffer(name)[-1:].tobytes())
            array = self.attempt("tensor", lambda name=name: file[name])
            if array is not None and array.nbytes <= _READ_BYTES:
                self.check("tensor", name, array)
                copy = self.rng.choice([None, True, False])
                shared = self.attempt(
                    "share",
                    lambda name=name, copy=copy: numpack.share(
                        file, "numpy", tensor=name, copy=copy
                    ),
                )
                self.check("share", name, shared)
        self.attempt("close", file.close)


def _row(store: NumPack, name: str) -> np.ndarray:
    """Make a row that fits an array."""
    lazy = store.load(name, lazy=True)
    if not lazy.ndim or math.prod(lazy.shape[1:]) * lazy.itemsize > _ROW_BYTES:
        return np.zeros(1)
    return np.zeros((1, *lazy.shape[1:]), lazy.dtype)


def _small(store: NumPack, name: str) -> None:
    """Refuse to copy a large array."""
    if store.load(name, lazy=True).nbytes > _READ_BYTES:
        msg = "too large to be copied here"
        raise NumpackError(msg)


def _update(store: NumPack, name: str) -> None:
    _small(store, name)
    store.update(name)


def _clone(store: NumPack, name: str) -> None:
    _small(store, name)
    store.clone(name, "clone")


def _in_batch(store: NumPack, name: str) -> None:
    _small(store, name)
    with store.batch_mode() as batch:
        batch.load(name)
        batch.save({name: np.ones(3)})


def _in_place(store: NumPack, name: str) -> None:
    with store.writable_batch_mode() as batch:
        rows = batch.load(name)
        if rows.ndim and len(rows) and rows[:1].nbytes <= _ROW_BYTES:
            rows[:1] = rows[-1:]


def _in_parallel(store: NumPack, name: str) -> None:
    rows = np.arange(8.0).reshape(4, 2)
    with store.begin(name, rows.shape, rows.dtype) as plan:
        plan[:3] = rows[:3]
        pickle.loads(pickle.dumps(plan))[2:] = rows[2:]


_CHANGES: dict[str, Callable[[NumPack, str], Any]] = {
    "save": lambda store, _: store.save({"new": np.arange(6).reshape(3, 2)}),
    "save anew": lambda store, name: store.save({name: np.arange(3)}),
    "append": lambda store, name: store.append({name: _row(store, name)}),
    "replace": lambda store, name: store.replace({name: _row(store, name)}, [0]),
    "replace the last": lambda store, name: store.replace({name: _row(store, name)}, -1),
    "drop rows": lambda store, name: store.drop(name, [0]),
    "drop some rows": lambda store, name: store.drop(name, slice(1, 3)),
    "drop": lambda store, name: store.drop(name),
    "update": _update,
    "clone": _clone,
    "batch": _in_batch,
    "write in place": _in_place,
    "write in parallel": _in_parallel,
    "attributes": lambda store, name: store.attrs[name].update(a=[1], b={"c": None}),
    "remove attributes": lambda store, name: store.attrs[name].clear(),
    "attributes of the store": lambda store, name: store.attrs.store.update({name: name}),
    "reset": lambda store, _: store.reset(),
    "sync": lambda store, _: store.sync(),
}


def _template(error: BaseException) -> str:
    """Replace the parts of a message that vary between inputs."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"|b'[^']*'|/\S+", "…", str(error)[:2000])
    return re.sub(r"[\d,.]*\d", "0", text)[:200]


def _where(error: BaseException) -> str:
    """Return an error's type, and the innermost function of the package in its traceback."""
    inside = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_PACKAGE)
    ]
    last = inside[-1] if inside else None
    where = f" in {Path(last.filename).name}:{last.name}" if last else ""
    return f"{type(error).__name__}{where}"
