"""Loader with the other frameworks as target."""

from __future__ import annotations

import numpy as np
from support.each import assert_each

from numpack import Loader, NumPack, share

N = 100


def test_batches_have_the_values_in_every_framework():
    def check(target, shuffle):
        with NumPack("s.npk", drop_if_exists=True) as npk:
            npk.save({"y": np.arange(N, dtype="f4")})
            seen = []
            for batch in Loader(npk, "y", batch_size=16, target=target, shuffle=shuffle):
                seen.append(np.array(share(batch, "numpy")))
            found = np.concatenate(seen)
        assert np.array_equal(np.sort(found) if shuffle else found, np.arange(N))

    targets = (
        "jax",
        "tensorflow",
        "arrow",
        "pandas",
        "polars",
        "xarray",
        "onnxruntime",
        "nanoarrow",
    )
    assert_each([(t, s) for t in targets for s in (True, False)], check)


def test_batches_for_jax_are_shared_and_stay_as_they_are():
    import jax

    source = {"x": np.arange(4000, dtype="f4").reshape(-1, 4)}
    given = Loader(source, "x", batch_size=10, target="jax")
    kept = list(given)
    assert len({each.unsafe_buffer_pointer() for each in kept}) == len(kept)
    assert all(each.unsafe_buffer_pointer() % 64 == 0 for each in kept)
    together = jax.numpy.concatenate(kept)[:, 0]
    assert np.array_equal(np.sort(np.asarray(together)), np.arange(0, 4000, 4))
    total = 0.0
    for batch in given:
        total += jax.jit(lambda x: (x * 2).sum())(batch)
    assert float(total) == float(source["x"].sum() * 2)
    cpu = jax.devices("cpu")[0]
    batch = next(iter(Loader(source, "x", batch_size=10, target="jax", device=cpu)))
    assert batch.devices() == {cpu}
