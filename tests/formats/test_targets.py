"""What is replaced: files, folders, links, and what is neither."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.files import contents

from numpack import NumPack, convert, pack
from numpack.errors import InvalidValueError, StoreError
from numpack.formats import FORMATS

ARRAYS = {"x": np.arange(3.0)}
SUFFIXES = [suffix for entry in FORMATS for suffix in entry.suffixes]
FOLDERS = (".npk", ".zarr")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_file_is_not_replaced(suffix):
    target = Path(f"x{suffix}")
    os.mkfifo(target)
    with pytest.raises((InvalidValueError, StoreError), match=rf"x{suffix}"):
        convert(ARRAYS, target)
    assert target.is_fifo()
    target.unlink()
    if suffix not in FOLDERS:
        target.mkdir()
        with pytest.raises(InvalidValueError, match="is a folder, and a regular file"):
            convert(ARRAYS, target)
    assert not [name for name in os.listdir() if name.startswith(".")]


def test_a_package_of_a_store_replaces_no_fifo():
    convert(ARRAYS, "s.npk")
    os.mkfifo("s.npkz")
    with pytest.raises(InvalidValueError, match="is a device, a FIFO or a socket"):
        pack("s.npk")
    assert Path("s.npkz").is_fifo()


def test_a_target_that_becomes_a_fifo_meanwhile_is_kept():
    convert(ARRAYS, "x.npy")

    def interfere(*_):
        Path("x.npy").unlink()
        os.mkfifo("x.npy")

    with pytest.raises(InvalidValueError, match="is a device, a FIFO or a socket"):
        convert(ARRAYS, "x.npy", progress=interfere)
    assert Path("x.npy").is_fifo()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_links_are_followed_by_all_formats(suffix):
    Path(f"link{suffix}").symlink_to(f"real{suffix}")
    convert(ARRAYS, f"link{suffix}")
    assert Path(f"link{suffix}").is_symlink()
    assert Path(f"real{suffix}").exists()
    Path(f"loop{suffix}").symlink_to(f"loop{suffix}")
    Path(f"none{suffix}").symlink_to(f"none/real{suffix}")
    before = contents(".")
    with pytest.raises(OSError, match=rf"symbolic links: 'loop{suffix}'"):
        convert(ARRAYS, f"loop{suffix}")
    with pytest.raises(FileNotFoundError, match="none"):
        convert(ARRAYS, f"none{suffix}")
    assert contents(".") == before


def test_a_link_to_an_empty_folder_becomes_one_to_a_store():
    Path("real").mkdir()
    Path("s.npk").symlink_to("real")
    convert(ARRAYS, "s.npk")
    assert Path("s.npk").is_symlink()
    with NumPack("real", mode="r") as npk:
        assert list(npk) == ["x"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_permissions_of_what_is_replaced_are_kept(suffix):
    target, mode = Path(f"x{suffix}"), 0o640
    if suffix in FOLDERS:
        target.mkdir()
        mode = 0o750
    else:
        target.touch()
    target.chmod(mode)
    convert(ARRAYS, target)
    assert target.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".bin"])
def test_sources_that_are_no_files_are_refused_at_once(suffix):
    os.mkfifo(f"x{suffix}")
    with pytest.raises(InvalidValueError, match="is not a regular file"):
        convert(f"x{suffix}", "s.npk", **({"dtype": "u2"} if suffix == ".bin" else {}))


def test_small_arrays_are_saved_together_in_their_order(monkeypatch):
    saved = []
    save = NumPack.save
    monkeypatch.setattr(
        NumPack, "save", lambda self, new: (saved.append(list(new)), save(self, new))
    )
    arrays = {f"a{number}": np.full(5, number) for number in range(100)}
    arrays["big"] = np.arange(3 << 19)
    arrays["last"] = np.array(7)
    convert(arrays, "s.npk")
    assert len(saved) == 2
    with NumPack("s.npk", mode="r") as npk:
        assert list(npk) == list(arrays)
        for name, array in arrays.items():
            assert np.array_equal(npk[name], array)
