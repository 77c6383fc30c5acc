"""Files of ``torch.save``, against torch's own reader and writer."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.utils.serialization
from support.formats.arrays import OTHERS, TEXT, TIMES, assert_same
from support.formats.conformance import FormatConformance

from numpack import NumPack, UnsupportedError, convert, share
from numpack.errors import InvalidValueError


class TestTorch(FormatConformance):
    suffix = ".pt"
    label = "torch"
    refused_dtypes = frozenset({*TIMES, *TEXT, *OTHERS, "int4"})

    @pytest.fixture
    def run(self, run_with_torch):
        def run(*arguments, **keywords):
            run_with_torch(*arguments, **keywords)
            for name in ("stdout", "stderr"):
                Path(name).unlink()

        return run

    def write(self, path, arrays):
        tensors = {name: share(array.copy(), "torch") for name, array in arrays.items()}
        torch.save(tensors, path)

    def read(self, path):
        tensors = torch.load(path, weights_only=True, mmap=True)
        return {name: np.array(share(tensor, "numpy")) for name, tensor in tensors.items()}


def converted(path="x.pt", **options):
    convert(path, "s.npk", **options)
    with NumPack("s.npk", mode="r") as store:
        return dict(store), dict(store.attrs.store)


def test_a_checkpoint_becomes_arrays_by_the_path_of_their_keys():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "list": [torch.ones(2), {"x": torch.zeros(3)}],
        "epoch": 3,
        "best": float("inf"),
        "parameter": next(model.parameters()),
    }
    torch.save(state, "x.pt")
    arrays, attrs = converted()
    assert_same(arrays["model.0.weight"], model[0].weight.detach().numpy())
    assert_same(arrays["parameter"], model[0].weight.detach().numpy())
    assert_same(arrays["model.1.num_batches_tracked"], np.array(1))
    assert_same(arrays["optimizer.state.0.step"], np.array(1, "f4"))
    assert_same(arrays["list.0"], np.ones(2, "f4"))
    assert_same(arrays["list.1.x"], np.zeros(3, "f4"))
    assert (attrs["epoch"], attrs["best"]) == (3, "Infinity")
    assert attrs["optimizer.param_groups"][0]["lr"] == 0.5
    convert("s.npk", "y.pt")
    again = torch.load("y.pt", weights_only=True)
    assert again["epoch"] == 3
    assert torch.equal(again["model.0.weight"], model[0].weight)


def test_strided_shared_and_lazily_computed_tensors():
    base = torch.arange(3_000_000, dtype=torch.float32).reshape(1000, 3000)
    wave = torch.ones(3, dtype=torch.complex64) * (1 + 2j)
    tensors = {
        "whole": base,
        "transposed": base.T,
        "sliced": base[5:900:7, 1::3],
        "expanded": torch.ones(1).expand(4, 5),
        "conjugate": wave.conj(),
        "negative": wave.clone().conj().imag,
        "empty": base[:0],
    }
    torch.save(tensors, "x.pt")
    for name, array in converted()[0].items():
        assert_same(array, tensors[name].resolve_conj().resolve_neg().contiguous().numpy())


def test_a_single_tensor_and_the_format_before_1_6():
    torch.save(torch.arange(3), "one.pt")
    assert_same(converted("one.pt")[0]["one"], np.arange(3))
    tensors = {
        "x": torch.ones(3, dtype=torch.bfloat16),
        "n": {"y": torch.arange(6).view(2, 3).T},
    }
    torch.save(tensors, "x.pth", _use_new_zipfile_serialization=False)
    arrays, _ = converted("x.pth")
    assert arrays["x"].dtype == "bfloat16"
    assert_same(arrays["n.y"], tensors["n"]["y"].contiguous().numpy())


def test_tensors_that_numpy_lacks_are_refused_by_name():
    torch.save({"sparse": torch.eye(3).to_sparse(), "x": torch.ones(2)}, "x.pt")
    with pytest.raises(UnsupportedError, match="'sparse' .* no sparse_coo tensors.*arrays="):
        convert("x.pt", "s.npk")
    assert list(converted(arrays=["x"])[0]) == ["x"]


def test_entries_that_json_lacks_are_refused_unless_left_out():
    torch.save({"x": torch.ones(2), "dtype": torch.float32}, "x.pt")
    with pytest.raises(UnsupportedError, match="an attribute of the file.*'dtype'.*"):
        convert("x.pt", "s.npk")
    assert converted(attrs=False)[1] == {}


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_pickles_are_never_executed():
    for zipped in (True, False):
        torch.save(
            {"x": torch.ones(2), "evil": Evil()}, "x.pt", _use_new_zipfile_serialization=zipped
        )
        with pytest.raises(
            InvalidValueError, match=r"x\.pt .*nothing of it was executed"
        ) as raised:
            convert("x.pt", "s.npk")
        assert "weights_only" not in str(raised.value), "torch's advice to execute it"
        assert "still be loaded" not in str(raised.value)
    Path("x.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InvalidValueError, match=r"x\.pt"):
        convert("x.pt", "s.npk")
    assert not Path("executed").exists()
    assert not Path("s.npk").exists()


def test_whole_modules_and_scripts_are_refused():
    torch.save(torch.nn.Linear(2, 2), "x.pt")
    with pytest.raises(InvalidValueError, match=r"save its state_dict"):
        convert("x.pt", "s.npk")
    with zipfile.ZipFile("x.pt", "w") as archive:  # as of TorchScript
        archive.writestr("x/constants.pkl", b"\x80\x02)R.")
        archive.writestr("x/data.pkl", b"\x80\x02}.")
        archive.writestr("x/version", b"3\n")
    with pytest.raises(InvalidValueError, match=r"x\.pt"):
        convert("x.pt", "s.npk")


def repacked(change):
    """Write the members of a file again, with some changed."""
    torch.save({"x": torch.arange(1000)}, "good.pt")
    with zipfile.ZipFile("good.pt") as archive, zipfile.ZipFile("x.pt", "w") as target:
        for info in archive.infolist():
            change(target, info.filename.replace("good/", "x/"), archive.read(info))


def test_archives_that_were_repacked_or_compressed_are_refused():
    repacked(lambda target, name, data: target.writestr(name, data, zipfile.ZIP_DEFLATED))
    with pytest.raises(InvalidValueError, match="is compressed"):
        convert("x.pt", "s.npk")

    def shorten(target, name, data):
        target.writestr(name, data[:800] if name.endswith("data/0") else data)

    repacked(shorten)
    with pytest.raises(InvalidValueError, match=r"'x' are not where|x\.pt"):
        convert("x.pt", "s.npk")

    def big_endian(target, name, data):
        target.writestr(name, b"big" if name.endswith("byteorder") else data)

    repacked(big_endian)
    with pytest.raises(InvalidValueError, match="big-endian"):
        convert("x.pt", "s.npk")


def test_bombs_of_references_and_strides_end():
    values = [1]
    for _ in range(21):
        values = [values, values]
    torch.save({"x": torch.ones(1), "values": values}, "x.pt")
    with pytest.raises(UnsupportedError, match="more than 1,048,576 members"):
        convert("x.pt", "s.npk")
    assert list(converted(attrs=False)[0]) == ["x"]
    tensors = [torch.ones(1)]
    for _ in range(21):
        tensors = [tensors, tensors]
    torch.save({"tensors": tensors}, "x.pt")
    with pytest.raises(InvalidValueError, match="1,000,000 entries or 64 levels"):
        convert("x.pt", "s.npk")
    torch.save({"x": torch.ones(1).expand(1 << 40)}, "x.pt")
    with pytest.raises(InvalidValueError, match="'x' takes 4,398,046,511,104 bytes"):
        convert("x.pt", "s.npk")


def test_a_storage_that_is_shorter_than_its_tensor():
    class Claim:
        def __reduce__(self):
            storage = torch.storage.TypedStorage(
                wrap_storage=torch.ones(2).untyped_storage(),
                dtype=torch.float32,
                _internal=True,
            )
            return torch._utils._rebuild_tensor_v2, (
                storage,
                0,
                (1000,),
                (1,),
                False,
                OrderedDict(),
            )

    torch.save({"x": Claim()}, "x.pt")
    with pytest.raises(InvalidValueError, match=r"x"):
        convert("x.pt", "s.npk")


def test_names_that_collide():
    torch.save({"a": {"b": torch.ones(1)}, "a.b": torch.ones(2)}, "x.pt")
    with pytest.raises(InvalidValueError, match="two entries called 'a.b'"):
        convert("x.pt", "s.npk")
    with NumPack("t.npk") as store:
        store.save({"x": np.arange(3)})
        store.attrs.store["x"] = 1
    with pytest.raises(UnsupportedError, match="attribute of the file has the same name"):
        convert("t.npk", "x.pt")


def test_written_archives_are_intact_for_other_programs():
    arrays = {"x": np.arange(5_000_000), "y": np.ones((2, 3)), "e": np.ones((0, 2))}
    convert(arrays, "x.pt")
    with zipfile.ZipFile("x.pt") as archive:
        assert archive.testzip() is None
    with torch.serialization.safe_globals([]):
        assert torch.load("x.pt", map_location="meta", weights_only=True)["x"].shape == (
            5_000_000,
        )
    config = torch.utils.serialization.config.load
    config.calculate_storage_offsets = True
    try:
        found = torch.load("x.pt", mmap=True, weights_only=True)
    finally:
        config.calculate_storage_offsets = False
    for name, array in arrays.items():
        assert_same(found[name].numpy(), array)
        assert found[name].data_ptr() % 64 == 0


def test_versions_of_torch_that_do_not_tell_where_values_are(monkeypatch):
    base = torch.arange(12.0).reshape(3, 4)
    torch.save({"x": base, "t": base.T, "b": base.bfloat16()}, "x.pt")
    monkeypatch.setattr("numpack.formats.torch._tells_offsets", lambda *_: False)
    arrays, _ = converted()
    assert_same(arrays["x"], base.numpy())
    assert_same(arrays["t"], np.ascontiguousarray(base.numpy().T))
    assert_same(arrays["b"], share(base.bfloat16(), "numpy"))
