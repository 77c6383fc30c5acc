"""In-place writes to arrays of a store are private, and not read back by the store."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa
import pytest
import torch

from numpack import NumPack

TENSORS = {
    "a row": lambda lazy: torch.from_numpy(lazy[0]),
    "an array": lambda lazy: torch.from_numpy(np.asarray(lazy)),
    "as_tensor": lambda lazy: torch.as_tensor(np.asarray(lazy)),
    "DLPack": torch.from_dlpack,
    "DLPack of a view": lambda lazy: torch.from_dlpack(np.from_dlpack(lazy)),
    "Arrow": lambda lazy: torch.from_numpy(
        pa.array(np.asarray(lazy).reshape(-1)).to_numpy(zero_copy_only=True)
    ),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_every_epoch_reads_the_stored_values(tmp_path, kind):
    with NumPack(tmp_path / "s.npk") as store, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch warns about read-only arrays
        store.save({"x": np.full((8, 4), 7, "f4")})
        lazy = store.load("x", lazy=True)
        for _ in range(3):
            tensor = TENSORS[kind](lazy)
            assert (tensor == 7).all()
            tensor -= 5
            assert (tensor == 2).all()
            assert (store.share("x", "torch") == 7).all()
            assert (store.getitem("x", [0]) == 7).all()
            assert (store.load("x", lazy=True)[0] == 7).all()
        assert store.verify()


def test_tensor_over_the_file_can_replace_overlapping_rows(tmp_path):
    rows = np.arange(8, dtype="f4").reshape(4, 2)
    with NumPack(tmp_path / "s.npk") as store:
        store.save({"x": rows})
        store.replace({"x": store.share("x", "torch")[:-1]}, slice(1, None))
        rows = np.concatenate([rows[:1], rows[:-1]])
        assert np.array_equal(store.load("x"), rows)
        arrow = store.share("x", "arrow", layout="tensor")
        store.replace({"x": arrow[1:]}, slice(None, -1))
        assert np.array_equal(store.load("x"), np.concatenate([rows[1:], rows[-1:]]))
        assert store.verify()
