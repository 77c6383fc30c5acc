"""Dtypes in the log."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.store import hostile
from support.store.hostile import ID, entry, snapshot

from numpack.store.format import dtype_codes, schema

DATA = f"data/{ID}.bin"
STORE = Path("s.npk")


def write(*lines, **files: bytes) -> None:
    hostile.write(STORE, *lines, files=files.get("files"))


def test_written_dtypes_are_read_back():
    dtypes = [*np.typecodes["All"].replace("O", "").replace("g", "").replace("G", "")]
    dtypes += ["S0", "U0", "V0", "S7", "U3", "M8[25s]", "m8[7ns]", "M8[Y]", "m8", ">f4", ">U2"]
    dtypes += [np.dtype([]), [(("t", "a"), "f4"), ("b", "M8[D]", (2, 0))], "i4,(2,3)f8,S3"]
    dtypes += [{"names": [""], "formats": ["i2"], "offsets": [3], "itemsize": 9}]
    dtypes += [{"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2], "itemsize": 4}]
    dtypes += [[("a", np.dtype(("f4", (2,))), (3,))], np.dtype("i1,f8", align=True)]
    for dtype in map(np.dtype, dtypes):
        stored = schema.storable_dtype(np.zeros(2, dtype))
        code = json.loads(json.dumps(schema.encode_dtype(stored)))
        assert dtype_codes.itemsize(code) == stored.itemsize
        assert schema.decode_dtype(code) == stored


def test_ml_dtypes_is_needed_only_for_values(run_python):
    write(
        snapshot({"w": entry(dtype="bfloat16", shape=[8]), "x": entry(id=hostile.OTHER_ID)}),
        files={DATA: bytes(16), f"data/{hostile.OTHER_ID}.bin": bytes(16)},
    )
    run_python(
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import numpy as np, numpack\n"
        "store = numpack.NumPack('s.npk'); store.open()\n"
        "assert store.get_metadata()['arrays']['w']['dtype'] == 'bfloat16'\n"
        "assert store.get_metadata()['arrays']['w']['size_bytes'] == 16\n"
        "assert store.get_shape('w') == (8,) and store.verify()\n"
        "store.drop('w', [0]); assert store.get_shape('w') == (7,)\n"
        "store.append({'x': np.ones(1, 'u1')}); store.update('x'); store.sync()\n"
        "for call in (store.load, lambda n: store.load(n, lazy=True)):\n"
        "    try: call('w'); raise SystemExit('read')\n"
        "    except numpack.MissingDependencyError: pass\n"
        "store.drop('w'); store.reset(); store.close()\n"
    )


LOG = Path("s.npk/commits.log")


@pytest.mark.parametrize(
    ("dtype", "code"),
    [
        (">i4", "<i4"),
        ("?", "|b1"),
        ("M8[25ms]", "<M8[25ms]"),
        ("S3", "|S3"),
        ("U3", "<U3"),
        (
            np.dtype([("a", ">i4"), ("b", "u1", (2, 3))]),
            {
                "names": ["a", "b"],
                "formats": ["<i4", ["|u1", [2, 3]]],
                "offsets": [0, 4],
                "itemsize": 10,
            },
        ),
    ],
)
def test_dtypes_are_encoded_as_little_endian(store, dtype, code):
    store.save({"x": np.zeros(1, dtype)})
    put = json.loads(LOG.read_bytes().splitlines()[2])["put"]
    assert put["x"]["dtype"] == code
