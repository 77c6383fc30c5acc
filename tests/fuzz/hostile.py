"""Hostile values: too large, paths that lead elsewhere, wrong types."""

from __future__ import annotations

import json
import random
from typing import Any

DEEP, LONG, HUGE, NAN = "@@deep@@", "@@long@@", "@@huge@@", "@@nan@@"
_RAW = {
    DEEP: b"[" * 40_000 + b"]" * 40_000,
    LONG: b"1" + b"0" * 5000,
    HUGE: b"1e999",
    NAN: b"NaN",
}

INTS = [-1, 0, 1, 2, 3, 7, 8, 63, 64, 255, 256, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1]
INTS += [2**40, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**40, -(2**31), -(2**63)]
IDS = ["", ".", "..", "/", "a/b", "x\0y", "../../canary/victim", "/../canary/victim", "../lock"]
IDS += ["00000001-deadbeef", "00000001-DEADBEEF", "1-deadbeef", "00000001-deadbeef\n", "-", "é"]
IDS += [
    "../../canary",
    "../commits.log\0",
    "../numpack.json\0",
    "00000001",
    "\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0661-deadbeef",
]
IDS += ["99999999999999999999-deadbeef", "x" * 300, "\ud800", "00000001-deadbeef/../x"]
_FIELD = {"names": ["a"], "formats": ["<f8"], "offsets": [0], "itemsize": 8}
DTYPES: list[Any] = [
    *(
        "|O",
        "O",
        "|O8",
        "T",
        "StringDType()",
        "<f16",
        "<c32",
        "g",
        "G",
        "V",
        "|V0",
        "V2147483648",
    ),
    *("<U1000000000", "S2147483648", "<U536870912", "<M8[5ns]", "<M8[as]", "<M8", "<M8[25s/3]"),
    *(
        "float64",
        "bfloat16",
        "int4",
        "uint2",
        "float8_e4m3fn",
        ">f8",
        "f8",
        "<f8,<f8",
        "(2,)<f8",
    ),
    *("", "n", "p", "P", "q", "q,O", "a", "=f8", "|S-1", "<f3", "{'a': 'O'}", "object", "<i4 "),
    *("S0", "U0", "|b1", "<f8", "|u1", "<i4", "datetime64[ns]", "bool", "str", "void", "|S5\0"),
    *(["<f8", [2]], ["<f8", [-1]], ["<f8", [2**31]], ["<f8", [2**20, 2**20]], ["|O", [1]]),
    *(["<f8"], [], [[]], ["<f8", 2], ["<f8", []], ["<f8", [0]], [["<f8", [2]], [2]]),
    {**_FIELD, "offsets": [2**31 - 1]},
    {**_FIELD, "offsets": [-8]},
    {**_FIELD, "offsets": [1]},
    {**_FIELD, "itemsize": 2**31 - 1},
    {**_FIELD, "itemsize": 4},
    {**_FIELD, "itemsize": 0},
    {**_FIELD, "formats": ["|O"]},
    {**_FIELD, "formats": [["|O", [2]]], "itemsize": 16},
    {**_FIELD, "names": [1]},
    {
        **_FIELD,
        "names": ["a", "a"],
        "formats": ["<f8", "<f8"],
        "offsets": [0, 8],
        "itemsize": 16,
    },
    {
        **_FIELD,
        "names": ["a", "b"],
        "formats": ["<f8", "<f8"],
        "offsets": [0, 4],
        "itemsize": 16,
    },
    {**_FIELD, "names": ["a", "b"], "formats": ["|O", "<f8"], "offsets": [0, 0], "itemsize": 8},
    {**_FIELD, "titles": ["a"]},
    {**_FIELD, "titles": [1]},
    {**_FIELD, "titles": ["t", "u"]},
    {**_FIELD, "aligned": True},
    {"names": [], "formats": [], "offsets": [], "itemsize": 0},
    {"names": [], "formats": [], "offsets": [], "itemsize": 2**40},
    {"a": ["<f8", 0]},
    {},
]
OTHER: list[Any] = [
    None,
    True,
    False,
    1.5,
    -0.0,
    "x",
    "",
    [],
    {},
    [1],
    {"x": 1},
    DEEP,
    LONG,
    HUGE,
]
OTHER += [NAN, "\ud800", "\0", "x" * 2000, [[1]], 1e308]


def changed(rng: random.Random, value: Any, key: Any = None) -> Any:
    """Return a replacement for a value, of the same type or of another."""
    if key == "dtype" and rng.random() < 0.7:
        return rng.choice(DTYPES)
    if key in ("id", "store") and rng.random() < 0.8:
        return rng.choice(IDS)
    if rng.random() < 0.15:
        return rng.choice(OTHER)
    if type(value) is int:
        return rng.choice(
            [value - 1, value + 1, value * 2, -value, value ^ 1, rng.choice(INTS)]
        )
    if isinstance(value, str):
        return rng.choice(
            [rng.choice(IDS), value[:-1], value + "x", value.upper(), value[::-1]]
        )
    if isinstance(value, list):
        return _changed_list(rng, value)
    if isinstance(value, dict):
        return _changed_dict(rng, value)
    return rng.choice(OTHER)


def _changed_list(rng: random.Random, value: list[Any]) -> list[Any]:
    value = list(value)
    at = rng.randrange(len(value) + 1)
    match rng.randrange(5):
        case 0:
            value.insert(at, rng.choice(INTS))
        case 1:
            del value[at : at + 1]
        case 2:
            value[at:at] = value[at : at + 1] or [0]
        case 3:
            value = value * rng.choice([2, 33, 65])
        case _:
            value[at : at + 1] = [rng.choice([*INTS, *OTHER])]
    return value


def _changed_dict(rng: random.Random, value: dict[str, Any]) -> dict[str, Any]:
    value = dict(value)
    keys = list(value) or ["x"]
    key = rng.choice(keys)
    match rng.randrange(4):
        case 0:
            value.pop(key, None)
        case 1:
            value[rng.choice([*IDS, "x", "rows", "dropped"])] = value.get(
                key, rng.choice(OTHER)
            )
        case 2:
            value[key] = value.get(rng.choice(keys))
        case _:
            value[
                rng.choice(
                    [
                        "rows",
                        "dropped",
                        "dropped_crc32",
                        "tail",
                        "revision",
                        "writable",
                        "journal",
                        "id",
                        "shape",
                        "extra",
                    ]
                )
            ] = rng.choice([*INTS, *OTHER])
    return value


def mutate(rng: random.Random, document: Any) -> None:
    """Mutate one value of a JSON document."""
    places: list[tuple[Any, Any]] = []
    _collect(document, places)
    if places:
        container, key = rng.choice(places)
        container[key] = changed(rng, container[key], key)


def _collect(document: Any, places: list[tuple[Any, Any]]) -> None:
    members = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(members):
        places.append((document, key))
        if isinstance(value, dict | list):
            _collect(value, places)


def dumps(document: Any) -> bytes:
    """Encode JSON as the format does, with invalid tokens inserted."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    raw = text.encode("utf-8", "surrogatepass")
    for name, value in _RAW.items():
        raw = raw.replace(b'"' + name.encode() + b'"', value)
    return raw
