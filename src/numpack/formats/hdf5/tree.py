"""The groups, datasets, links and attributes of an HDF5 file.

Source: the h5py documentation of groups and of dimension scales, the HDF5 specification of
dimension scales, and the PyTables user's guide, appendix "PyTables file format".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import h5py

from ...errors import InvalidValueError
from ..common.attributes import DIMS, json_attributes
from ..common.trees import MAX_ARRAYS, MAX_DEPTH, check_name_read
from .types import LABEL, RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"
_OF_SCALES = frozenset({"CLASS", "NAME"})
_OF_PYTABLES = frozenset(
    {"CLASS", "VERSION", "FLAVOR", "EXTDIM", "NROWS", "PYTABLES_FORMAT_VERSION"}
)


class Found(NamedTuple):
    """A member of a file.

    Attributes
    ----------
    name : str
        Its path.
    item : object
        A group or a dataset of h5py; or ``None``.
    link : str
        Where a link leads that is not followed.
    """

    name: str
    item: Any
    link: str = ""


def is_of_pytables(file: Any) -> bool:
    """Return whether a file was written by PyTables, as those of pandas are."""
    return "PYTABLES_FORMAT_VERSION" in file.attrs


def walk(file: Any, path: Path) -> Iterator[Found]:
    """Yield the groups and the datasets of a file, and the links out of it.

    Soft links are left out, since what they name is found under its own name. Each group is
    visited once, however many links lead to it.

    Raises
    ------
    InvalidValueError
        A name is empty, ``"."`` or ``".."``, or there are too many members.
    """
    visited = {_address(file)}
    stack: list[tuple[str, Any]] = [("", file)]
    is_pytables = is_of_pytables(file)
    count = 0
    while stack:
        prefix, group = stack.pop()
        subgroups = []
        for key in group:
            count += 1
            name = f"{prefix}{key}"
            check_name_read(key, LABEL, path)
            if count > MAX_ARRAYS or prefix.count("/") > MAX_DEPTH:
                what = f"{MAX_ARRAYS:,} members or {MAX_DEPTH} levels of groups"
                msg = f"{path} has more than {what}; choose a part of it with h5py"
                raise InvalidValueError(msg)
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.SoftLink):
                continue
            if not isinstance(link, h5py.HardLink):
                yield Found(name, None, f"{getattr(link, 'filename', 'another file')}")
                continue
            item = group[key]
            if isinstance(item, h5py.Group):
                is_index = is_pytables and key.startswith("_i_")
                if not is_index and _address(item) not in visited:
                    visited.add(_address(item))
                    subgroups.append((f"{name}/", item))
                    yield Found(name, item)
            elif isinstance(item, h5py.Dataset) and not _is_bare_dimension(item):
                yield Found(name, item)
        stack += reversed(subgroups)


def _address(item: Any) -> tuple[int, int]:
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr


def _is_bare_dimension(dataset: Any) -> bool:
    """Return whether a dataset is a dimension of netCDF, without values."""
    if not h5py.h5ds.is_scale(dataset.id):
        return False
    return bool(h5py.h5ds.get_scale_name(dataset.id).startswith(_NO_VARIABLE))


def group_attributes(item: Any, name: str, *, is_pytables: bool) -> dict[str, Any]:
    """Return the attributes of a group, or of a file, as JSON values."""
    skipped = RESERVED | (_OF_PYTABLES if is_pytables else frozenset())
    owner = f"the group {name!r}" if name else "the file"
    return json_attributes(_items(item, skipped, owner), owner)


def dataset_attributes(dataset: Any, name: str, *, is_pytables: bool) -> dict[str, Any]:
    """Return the attributes of a dataset as JSON values; `dims` are the names of its axes."""
    skipped = RESERVED | (_OF_PYTABLES if is_pytables else frozenset())
    if h5py.h5ds.is_scale(dataset.id):
        skipped |= _OF_SCALES
    found = json_attributes(_items(dataset, skipped, repr(name)), repr(name))
    dims = _dims(dataset)
    if dims:
        found[DIMS] = dims
    enum = h5py.check_enum_dtype(dataset.dtype)
    if enum is not None:
        found["enum"] = {str(key): int(value) for key, value in enum.items()}
    return found


def _items(item: Any, skipped: frozenset[str], owner: str) -> Iterator[tuple[str, Any]]:
    """Yield attributes, except references, which mean nothing outside of their file."""
    is_pytables = "CLASS" in skipped
    for key in item.attrs:
        if key in skipped or (is_pytables and key.startswith("FIELD_")):
            continue
        type_id = item.attrs.get_id(key)
        try:
            dtype = type_id.dtype
        except TypeError as error:
            msg = (
                f"the attribute {key!r} of {owner} has a type that h5py does not read "
                f"({error}); leave the attributes out with attrs=False"
            )
            raise InvalidValueError(msg) from error
        if h5py.check_ref_dtype(dtype) is not None:
            continue
        value = item.attrs[key]
        if isinstance(value, h5py.Empty):
            if is_pytables and key == "TITLE":
                continue
            value = "" if value.dtype.kind == "S" else None
        yield key, value


def _dims(dataset: Any) -> list[str] | None:
    """Return the names of all axes: their labels, or the names of their dimension scales."""
    if not dataset.shape:
        return None
    if len(dataset.shape) == 1 and h5py.h5ds.is_scale(dataset.id):
        return [_base(dataset.name)]
    if not ("DIMENSION_LIST" in dataset.attrs or "DIMENSION_LABELS" in dataset.attrs):
        return None
    names = [dim.label or (_base(dim[0].name) if len(dim) else "") for dim in dataset.dims]
    return names if all(names) else None


def _base(name: str | None) -> str:
    return (name or "").rpartition("/")[2]
