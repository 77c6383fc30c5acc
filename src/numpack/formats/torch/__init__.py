"""PyTorch: files of ``torch.save`` (``.pt``, ``.pth``), read without executing anything.

The tensors of a dictionary, however deep, become arrays that are called by the path of their
keys, such as ``model.layer.weight``. The file's pickle is read by torch's restricted unpickler
(``weights_only=True``) on the device ``meta``, where tensors have no values; these are read
from the file, a few rows at a time.

Source: the PyTorch documentation of ``torch.save``, ``torch.load`` and
``torch.serialization.skip_data``, and its note "Serialization semantics".
"""

from __future__ import annotations

import itertools
import os
import re
import warnings
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch

from ..._core import dtypes
from ...adapters._safetensors_header import open_regular
from ...errors import InvalidValueError, MissingDependencyError, UnsupportedError
from ...store.format.naming import quoted
from ..common.attributes import LateAttributes, json_attributes
from ..common.new_files import NewFile
from ..common.refusals import unsupported_array, warn_of_attributes
from ..common.trees import MAX_ARRAYS, MAX_DEPTH, TreeSource, raising
from .archive import Records, finish_records, is_archive
from .tensors import TensorRows, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ..._core.memory import Array
    from .._protocol import ArrayInfo, Part


class ReadOptions(TypedDict, total=False):
    """Options of `open_source`."""

    sparse: bool


class WriteOptions(TypedDict, total=False):
    """Options of `create_target`: there are none."""


LABEL = "a torch file"
READ_OPTIONS = ReadOptions.__optional_keys__
WRITE_OPTIONS = WriteOptions.__optional_keys__
TOGETHER = False
NEEDS_LENGTHS = True


def open_source(path: Path, /, *, sparse: bool = False) -> TorchSource:
    """Open a file of ``torch.save``.

    Parameters
    ----------
    path : Path
    sparse : bool, default False
        Whether to read a tensor that was expanded from a 10,000th of its size.

    Raises
    ------
    InvalidValueError
        It is damaged, or its pickle calls what ``weights_only=True`` forbids.
    UnsupportedError
        torch cannot load it without values.
    """
    descriptor = open_regular(path)
    try:
        records = Records(path, descriptor) if is_archive(descriptor) else None
        loaded = _load(path, "cpu" if records is None else "meta")
        if records is not None and not _tells_offsets(loaded, path):
            records, loaded = None, _load(path, "cpu", mmap=True)
        return TorchSource(descriptor, path, loaded, records, sparse=sparse)
    except RecursionError as error:
        os.close(descriptor)
        msg = f"the entries of {path} are nested too deeply; save its state_dict() alone"
        raise InvalidValueError(msg) from error
    except BaseException:
        os.close(descriptor)
        raise


def create_target(
    path: Path, arrays: Mapping[str, ArrayInfo], attrs: Mapping[str, Any], /
) -> TorchTarget:
    """Begin to write a dictionary of tensors, and of the attributes of the file.

    Parameters
    ----------
    path : Path
    arrays : mapping of str to ArrayInfo
        Their own attributes are left out, since a tensor has none.
    attrs : mapping
        They become entries beside the tensors.

    Raises
    ------
    UnsupportedError
        torch has no such dtype, or an attribute has the name of a tensor.
    MissingDependencyError
        torch is too old.
    """
    if not hasattr(torch.serialization, "skip_data"):
        msg = f"torch {torch.__version__} writes no files in parts; install torch ≥ 2.6"
        raise MissingDependencyError(msg)
    entries: dict[str, Any] = {
        name: placeholder(_torch_dtype(name, info), info.shape) for name, info in arrays.items()
    }
    for key, value in attrs.items():
        if key in entries:
            why = "an attribute of the file has the same name"
            fix = "rename the array with rename=, or pass attrs=False"
            raise unsupported_array(key, "an array", LABEL, why, fix)
        entries[key] = value
    warn_of_attributes(arrays, {}, LABEL)
    return TorchTarget(path, arrays, entries)


class TorchSource(TreeSource):
    """The tensors of a file.

    Parameters
    ----------
    descriptor : int
        Of the open file; closed by `close`.
    path : Path
    loaded : object
        What ``torch.load`` returned, on the device ``meta`` unless `records` is ``None``.
    records : Records or None
        ``None`` where `loaded` has its values: in torch's format until version 1.5, or mapped.
    sparse : bool
    """

    def __init__(
        self, descriptor: int, path: Path, loaded: Any, records: Records | None, *, sparse: bool
    ) -> None:
        self._descriptor = descriptor
        self._tensors: dict[str, TensorRows] = {}
        self._others: dict[str, Any] = {}
        makers: dict[str, Callable[[], ArrayInfo]] = {}
        for name, value in _entries(loaded, path):
            if name in makers or name in self._others:
                msg = f"{path} has two entries called {quoted(name)}; rename one of its keys"
                raise InvalidValueError(msg)
            if not isinstance(value, torch.Tensor):
                self._others[name] = value
                continue
            try:
                tensor = TensorRows.of(name, value, records, path, descriptor, sparse=sparse)
            except (UnsupportedError, InvalidValueError) as error:
                makers[name] = raising(error)
            else:
                self._tensors[name] = tensor
                makers[name] = tensor.info
        others = LateAttributes(lambda: json_attributes(self._others.items(), "the file"))
        super().__init__(makers, others)

    def read(self, name: str, start: int, stop: int) -> Array:
        """Return rows of a tensor."""
        return self._tensors[name].rows(start, stop)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class TorchTarget:
    """A file with room for all tensors, whose values are written in any order."""

    def __init__(
        self, path: Path, arrays: Mapping[str, ArrayInfo], entries: Mapping[str, Any]
    ) -> None:
        self._file = NewFile(path)
        try:
            _save_without_values(entries, self._file.path)
            self._descriptor = os.open(self._file.path, os.O_RDWR | os.O_CLOEXEC)
            records = Records(self._file.path, self._descriptor)
        except BaseException:
            self._file.abort()
            raise
        self._records = dict(zip(arrays, records.data(), strict=True))
        self._dtypes = {name: dtypes.native(info.dtype) for name, info in arrays.items()}

    def write(self, part: Part) -> None:
        """Write the next rows of some tensors."""
        for name, rows in part.items():
            values = np.ascontiguousarray(rows, self._dtypes[name])
            self._records[name].write(self._descriptor, values)

    def commit(self) -> None:
        """Complete the file, and give it its name."""
        try:
            finish_records(self._descriptor, self._records.values())
        finally:
            self._close()
        self._file.commit()

    def abort(self) -> None:
        """Remove what was written; do nothing after `commit`."""
        self._close()
        self._file.abort()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _tells_offsets(loaded: Any, path: Path) -> bool:
    """Return whether torch tells where the values are, which older versions do not."""
    storages = (
        each.untyped_storage()
        for _, each in _entries(loaded, path)
        if isinstance(each, torch.Tensor) and each.layout == torch.strided
    )
    return all(hasattr(each, "_checkpoint_offset") for each in itertools.islice(storages, 1))


def _load(path: Path, device: str, *, mmap: bool = False) -> Any:
    """Load a file on the device ``meta``, without values, or with them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript, before it is refused
            return torch.load(path, map_location=device, weights_only=True, mmap=mmap)
    except OSError:
        raise
    except NotImplementedError as error:
        msg = (
            f"{path} holds tensors that torch cannot load without their values, such as "
            "quantized ones; convert them, for example with dequantize(), and save it again"
        )
        raise UnsupportedError(msg) from error
    except Exception as error:
        what = _without_advice(str(error))
        msg = (
            f"{path} cannot be read as tensors: {what}; nothing of it was executed; it is "
            "damaged, not a file of torch.save, or holds other objects: save its state_dict()"
        )
        raise InvalidValueError(msg) from error


def _without_advice(text: str) -> str:
    """Return what torch found, without its advice to load the file with less safety."""
    found = re.search(r"(?:WeightsUnpickler error|Unsupported operand|GLOBAL)[^\n]*", text)
    if found is None and "weights_only" in text:
        return "its pickle calls what the restricted unpickler forbids"
    what = found.group() if found else text.partition("\n")[0]
    return re.split(r"\.? (?:Please |This file can still)", what)[0][:300]


def _save_without_values(entries: Mapping[str, Any], path: Path) -> None:
    with torch.serialization.skip_data():
        torch.save(dict(entries), path)


def _entries(loaded: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield all tensors, and the largest entries that contain none, with their names.

    The name of a file with a single tensor is that of the file.
    """
    if not isinstance(loaded, dict | list | tuple):
        yield path.name.rpartition(".")[0] or path.name, loaded
        return
    holders = _TensorHolders()
    stack: list[tuple[str, Any, int]] = [("", loaded, 0)]
    for _ in range(MAX_ARRAYS):
        if not stack:
            return
        name, value, depth = stack.pop()
        if isinstance(value, torch.Tensor) or (depth and value not in holders):
            yield name, value
            continue
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
        if depth == MAX_DEPTH:
            break
        for key, each in reversed(items):
            stack.append((f"{name}.{key}" if depth else str(key), each, depth + 1))
    what = f"{MAX_ARRAYS:,} entries or {MAX_DEPTH} levels"
    msg = f"{path} has more than {what}; save its state_dict() alone"
    raise InvalidValueError(msg)


class _TensorHolders:
    """The containers that hold a tensor, in themselves or further down.

    Each is visited once, however many paths lead to it, back to itself perhaps.
    """

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}

    def __contains__(self, value: object) -> bool:
        if isinstance(value, torch.Tensor):
            return True
        if not isinstance(value, dict | list | tuple):
            return False
        if id(value) not in self._known:
            self._known[id(value)] = False
            values = value.values() if isinstance(value, dict) else value
            self._known[id(value)] = any([each in self for each in values])  # noqa: C419
        return self._known[id(value)]


def _torch_dtype(name: str, info: ArrayInfo) -> torch.dtype:
    """Return the dtype of a tensor for an array.

    Raises
    ------
    UnsupportedError
        There is none.
    """
    found = dtypes.of_numpy(info.dtype)
    dtype = getattr(torch, found.torch or "", None) if found is not None else None
    if isinstance(dtype, torch.dtype):
        return dtype
    why = "torch has no such dtype"
    fix = "cast it with dtype=, or choose a format that has it, such as .npk or .npy"
    raise unsupported_array(name, str(info.dtype), LABEL, why, fix)
