"""HDF5 files that lead out of themselves, without end, or to more than there is."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from numpack import NumPack, UnsupportedError, convert
from numpack.errors import InvalidValueError


def names(path="x.h5", **options):
    convert(path, "s.npk", **options)
    with NumPack("s.npk", mode="r") as store:
        return set(store)


def test_other_files_are_never_opened():
    Path("secret").write_bytes(bytes(range(24)))
    with h5py.File("other.h5", "w") as file:
        file["x"] = np.arange(3)
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("external", (3,), "i8", external=[("secret", 0, 24)])
        file.create_virtual_dataset("virtual", layout)
        file["link"] = h5py.ExternalLink("other.h5", "/x")
        file["soft"] = h5py.SoftLink("/link")
        file["dangling"] = h5py.SoftLink("/nothing")
        file["fine"] = np.arange(4)
    for name in ("external", "virtual", "link"):
        with pytest.raises(UnsupportedError, match=f"'{name}'.*other"):
            convert("x.h5", "s.npk", arrays=[name])
        assert not Path("s.npk").exists()
    assert names(arrays=["fine"]) == {"fine"}
    with pytest.raises(UnsupportedError):
        convert("x.h5", "s.npk")


def test_cycles_and_diamonds_of_groups_end():
    with h5py.File("x.h5", "w") as file:
        file["x"] = np.arange(3)
        group = file
        for number in range(40):  # 2 ** 40 paths
            inner = group.create_group(f"a{number}")
            group[f"b{number}"] = inner
            group = inner
        group["back"] = file["/"]
        group["y"] = np.arange(3)
    found = names()
    assert len(found) == 2
    assert "x" in found


def test_groups_without_end_are_refused():
    with h5py.File("x.h5", "w") as file:
        file["/".join(["g"] * 100 + ["x"])] = np.arange(3)
    with pytest.raises(InvalidValueError, match="64 levels of groups"):
        convert("x.h5", "s.npk")


def test_a_dataset_out_of_proportion_is_refused_unless_asked_for():
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("x", (1 << 50,), "u1", chunks=(1 << 20,), fillvalue=7)
        file.create_dataset("y", (10,), "u1", chunks=(5,), fillvalue=7)
    with pytest.raises(
        InvalidValueError, match="'x' takes 1,125,899,906,842,624 bytes.*sparse"
    ):
        convert("x.h5", "s.npk")
    assert names(arrays=["y"]) == {"y"}


def test_unsafe_names_are_refused():
    with h5py.File("x.h5", "w") as file:
        group = h5py.h5g.create(file.id, b"..")
        h5py.Group(group)["x"] = np.arange(3)
    with pytest.raises(InvalidValueError, match="called '..'; names must not be"):
        convert("x.h5", "s.npk")


def test_special_files_are_not_opened():
    os.mkfifo("x.h5")
    with pytest.raises(InvalidValueError, match="not a regular file"):
        convert("x.h5", "s.npk")
    os.unlink("x.h5")
    os.mkdir("x.h5")
    with pytest.raises(IsADirectoryError):
        convert("x.h5", "s.npk")
