"""TensorFlow: what is shared, copied and refused, without aborting the process."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from adapters.conformance import COPY, REFUSE, SHARE, FromNumpy, ToNumpy
from support.arrays import NATIVE
from support.arrays import values as values_of
from support.each import for_each
from support.memory import address, is_private_copy_on_write, shares_pages
from support.oracles import tensorflow as oracle

from numpack import (
    CopyWarning,
    NumPack,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyArray,
    explain,
    share,
)
from numpack._core.memory import aligned_copy, aligned_empty
from numpack.adapters import tensorflow as module
from numpack.io import from_dlpack


def aligned(name: str, shape: tuple[int, ...] = (4, 6)) -> np.ndarray:
    return aligned_copy(values_of(name, shape))


def at_offset(offset: int) -> np.ndarray:
    array = np.ndarray((10,), "f4", aligned_empty((128,), np.dtype("u1")), offset)
    array[...] = np.arange(10)
    return array


def update_in_place(tensor: tf.Tensor, value: float = 50.0) -> None:
    tf.raw_ops.InplaceUpdate(x=tensor, i=[0], v=[value])


# NumPy to TensorFlow


@for_each("offset", range(4, 68, 4))
def test_unaligned_memory_is_copied_and_the_fix_copies_nothing(offset):
    array = at_offset(offset)
    assert explain(array, "tensorflow").shares_memory is (offset == 64)
    tensor = share(array, "tensorflow", copy=None if offset == 64 else True)
    assert float(tf.reduce_sum(tensor + 1)) == 55


@pytest.mark.parametrize(
    "change", [lambda a: a.T, lambda a: a[:, ::-1], lambda a: a.byteswap()]
)
def test_the_fix_in_the_message_copies_nothing(change):
    array = change(aligned("float32"))
    route = explain(array.view(array.dtype.newbyteorder()), "tensorflow")
    assert "numpack.ZeroCopyArray(array, copy=True)" in route.fix
    assert explain(ZeroCopyArray(array, copy=True), "tensorflow").shares_memory


def test_fixes_of_refusals_work():
    times = np.array([1, 2], "M8[s]")
    assert share(times.view("i8"), "tensorflow", copy=True).dtype == tf.int64
    assert tf.constant(np.array(["é"]).tolist()).numpy().tolist() == ["é".encode()]


def test_the_current_device_does_not_matter():
    with tf.device("CPU:0"):
        assert "CPU:0" in share(aligned("float8_e5m2"), "tensorflow").device


# TensorFlow to NumPy


def test_a_temporary_tensor_keeps_its_memory():
    array = share(tf.range(1000.0) + 1, "numpy")
    _ = [tf.range(1000.0) * n for n in range(20)]
    assert array[:3].tolist() == [1, 2, 3]


def test_from_dlpack_returns_read_only_tensors():
    assert not from_dlpack(tf.constant([1.0])).flags.writeable


@for_each("shape", [(), (3,), (0, 2)])
@for_each("name", ["float32", "bfloat16"])
def test_a_variable_is_converted_to_its_present_value(name, shape):
    variable = tf.Variable(tf.ones(shape, name))
    array = share(variable, "numpy", copy=False)
    variable.assign_add(tf.ones(shape, name))
    assert not array.size or (array == 1).all()
    assert array.shape == shape
    assert array.dtype.name == name


def test_a_variable_updated_in_parts_is_copied_with_a_warning():
    variable = tf.Variable([1.0, 2.0])
    variable.scatter_nd_update([[0]], [9.0])
    route = explain(variable, "numpy")
    assert (route.nbytes, route.fix) == (
        8,
        "read it once, and pass the result of variable.value()",
    )
    with pytest.warns(CopyWarning, match="updated in parts"):
        assert share(variable, "numpy").tolist() == [9, 2]
    assert explain(variable.value(), "numpy").shares_memory


def test_reading_a_variable_is_not_recorded_by_a_tape():
    variable = tf.Variable([1.0])
    with tf.GradientTape() as tape:
        share(variable, "numpy")
    assert tape.watched_variables() == ()


def test_updates_of_a_variable_do_not_change_its_source():
    array = aligned("float32", (6,))
    before = array.copy()
    variable = tf.Variable(share(array, "tensorflow"))
    variable.assign_sub(tf.ones(6))
    variable[1:3].assign([7.0, 7.0])
    variable.scatter_nd_add([[0]], [3.0])
    assert array.tolist() == before.tolist()


REFUSED = {
    "string": (lambda: tf.constant(["a"]), "tensor.numpy"),
    "string variable": (lambda: tf.Variable(["a"]), "tensor.numpy"),
    "ragged": (lambda: tf.ragged.constant([[1], [2, 3]]), "to_tensor"),
    "sparse": (lambda: tf.sparse.from_dense([[1, 0]]), "to_dense"),
    "slices": (
        lambda: tf.IndexedSlices(tf.constant([1.0]), tf.constant([0])),
        "convert_to_tensor",
    ),
    "quantized": (lambda: tf.bitcast(tf.constant([1], tf.int8), tf.qint8), "bitcast"),
    "resource": (lambda: tf.Variable([1.0]).handle, "read the values"),
}


@for_each("kind", REFUSED)
@for_each("convert", [lambda x: share(x, "numpy"), from_dlpack])
def test_tensors_without_numbers_are_refused_and_do_not_abort(kind, convert):
    make_one, fix_for = REFUSED[kind]
    obj = make_one()
    with pytest.raises(UnsupportedError, match=fix_for):
        convert(obj)
    assert not explain(obj, "numpy").supported


def test_other_tensorflow_objects_are_of_the_wrong_type():
    with pytest.raises(WrongTypeError, match=r"expects a tf\.Tensor"):
        share(tf.data.Dataset.range(3), "numpy")


def test_symbolic_tensors_are_refused():
    variable, seen = tf.Variable(1.0), []

    @tf.function(autograph=False)
    def traced(tensor):
        for each in (tensor, variable):
            with pytest.raises(UnsupportedError, match="no values yet"):
                share(each, "numpy")
        seen.append(share(eager, "numpy", copy=False))
        return tensor + share(aligned("float32", (2,)), "tensorflow", copy=False)

    eager = tf.constant(3, tf.bfloat16)
    assert traced(tf.constant(1.0)).numpy().tolist() == [2, 3]
    assert seen[0] == 3


def test_device_memory_is_not_treated_as_host_memory():
    tensor = SimpleNamespace(backing_device="/job:localhost/replica:0/task:0/device:GPU:0")
    obstacle = module._device_obstacle(tensor)
    assert "GPU:0" in obstacle.reason
    tensor.backing_device = "/job:localhost/replica:0/task:0/device:CPU:1"
    assert module._device_obstacle(tensor) is None


# Writers and read-only memory


def test_in_place_writes_do_not_reach_a_read_only_map(tmp_path):
    (tmp_path / "a.bin").write_bytes(np.arange(4, dtype="f4").tobytes())
    mapped = np.memmap("a.bin", "f4", "r")
    assert explain(mapped, "tensorflow").steps[0].action == "mapped copy-on-write"
    tensor = share(mapped, "tensorflow", copy=False)
    assert shares_pages(address(mapped), oracle.address(tensor))
    assert is_private_copy_on_write(oracle.address(tensor))
    update_in_place(tensor)
    assert (mapped[0], np.fromfile("a.bin", "f4")[0], float(tensor[0])) == (0, 0, 50)


@pytest.mark.parametrize("lazy", [False, True])
def test_in_place_writes_do_not_reach_a_store(lazy):
    with NumPack("s.npk") as npk:
        npk.save({"a": np.arange(100, dtype="f4")})
        tensor = share(npk.load("a", lazy=True) if lazy else npk.load("a"), "tensorflow")
        update_in_place(tensor)
    with NumPack("s.npk") as npk:
        assert npk.load("a")[0] == 0
    assert float(tensor[0]) == 50


def test_kernels_do_not_reuse_shared_memory_for_results():
    array = aligned("float32", (6,))
    before = array.tolist()
    compiled = tf.function(tf.negative, jit_compile=True)
    function = tf.function(lambda x: tf.negative(tf.reshape(tf.add(x, 1.0), (2, 3))))
    tf.config.experimental.set_synchronous_execution(False)
    try:
        for _ in range(20):
            tf.negative(share(array, "tensorflow"))
            tf.nn.relu(tf.bitcast(share(array, "tensorflow"), tf.float32))
            function(share(array, "tensorflow"))
            last = compiled(share(array, "tensorflow"))
        assert last.numpy().tolist() == [-each for each in before]
    finally:
        tf.config.experimental.set_synchronous_execution(True)
    assert array.tolist() == before


def test_first_conversion_does_not_initialize_tensorflow(run_python):
    out = run_python(
        """
import numpy as np, numpack
from numpack._core.memory import aligned_empty
a = aligned_empty((6,), np.dtype("f4")); a[...] = 1
assert numpack.explain(a, "tensorflow").shares_memory
import tensorflow as tf
tf.config.threading.set_inter_op_parallelism_threads(2)  # refused once TensorFlow has begun
for each in (a, a[:0], a[1:1], a.view("u1")[1:5].view("f4"), a.astype(">f4"), a[::-1]):
    t = numpack.share(each, "tensorflow", copy=True)
    print(float(tf.reduce_sum(t + 1)))
kept = numpack.share(numpack.share(a, "tensorflow"), "numpy")
""",
    )
    assert [float(line) for line in out.split()][:3] == [12, 0, 0]


KNOWN_LOWPREC = [
    *("bfloat16", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz"),
    *("float8_e5m2", "float8_e5m2fnuz", "float4_e2m1fn"),
    *("int4", "uint4", "int2", "uint2"),
]
KNOWN = [*NATIVE, *KNOWN_LOWPREC]


def is_shareable(array: np.ndarray) -> bool:
    """Check the rule of docs/exchange.md: C order, native, 64-byte aligned; or empty."""
    flags = array.flags
    is_aligned = flags.c_contiguous and array.dtype.isnative and address(array) % 64 == 0
    return array.size == 0 or is_aligned


class TestFromNumpy(FromNumpy):
    target = "tensorflow"
    back_is_read_only = True

    def kinds(self, name):
        both = name in ("float32", "bfloat16", "float8_e5m2")  # the others are slow
        return super().kinds(name) if both else ("writable",)

    def expected(self, name, layout, array):
        if name not in KNOWN or layout == "masked":
            return REFUSE
        return SHARE if is_shareable(array) else COPY

    def refusal(self, name, layout):
        return "filled" if name in KNOWN else "TensorFlow has no such dtype|filled"

    def after_release(self):
        share(self.one(), self.target)  # TensorFlow releases memory with a delay


class TestToNumpy(ToNumpy):
    source = "tensorflow"
    names = KNOWN
