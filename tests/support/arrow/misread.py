"""Arrow arrays whose values pyarrow's own conversion to NumPy gets wrong or refuses."""

from __future__ import annotations

import pyarrow as pa


def extension(kind: pa.DataType, storage: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, storage)


def user_extension(storage: pa.Array) -> pa.Array:
    return extension(pa.opaque(storage.type, "t", "v"), storage)


MISREAD = {
    "sliced list view": (pa.array([None, [1], [2]], pa.list_view(pa.int64()))[1:], [[1], [2]]),
    "sliced large list view": (
        pa.array([None, [1], [2]], pa.large_list_view(pa.int64()))[1:],
        [[1], [2]],
    ),
    "list view in a struct": (
        pa.array([None, {"a": [1]}], pa.struct([("a", pa.list_view(pa.int64()))]))[1:],
        [{"a": [1]}],
    ),
    "dictionary in an extension type": (
        user_extension(pa.array(["a", "b", "a"]).dictionary_encode()),
        ["a", "b", "a"],
    ),
    "extension type in an extension type": (
        user_extension(extension(pa.json_(pa.string()), pa.array(["{}"]))),
        ["{}"],
    ),
    "dictionary of string views": (
        pa.DictionaryArray.from_arrays(
            pa.array([0, 1, None], pa.int8()), pa.array(["a", "b"], pa.string_view())
        ),
        ["a", "b", None],
    ),
    "dictionary with a null in it": (
        pa.chunked_array(
            [
                pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None])),
                pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(["b"])),
            ]
        ),
        ["a", None, "b"],
    ),
    "a null that comes later": (
        pa.array([["a"], None], pa.list_(pa.string_view(), 1)),
        [["a"], None],
    ),
    "union": (
        pa.UnionArray.from_sparse(
            pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]
        ),
        [1, "b"],
    ),
}
