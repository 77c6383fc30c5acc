"""What errors advise, which is written for Python, in the words of the command line."""

from __future__ import annotations

import ast
import json
import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_OPTIONS = (
    "nulls|ragged|strings|types|delimiter|header|skip_rows|encoding|comments|block_size|"
    "max_nbytes|sparse|encode|flatten|shape|offset"
)
_NOT_IN_A_WORD = r"(?<![\w'\"/=-])"
_VALUE = r"(?P<value>'[^']*'|\{[^{}]*\}|\w*)"


def _option(found: re.Match[str]) -> str:
    """Return the option of a format as it is written in a shell."""
    name, text = found["name"], found["value"]
    try:
        value = ast.literal_eval(text) if text else "…"
    except (SyntaxError, ValueError):
        value = text
    return f"--option {name}={value if isinstance(value, str) else _quoted(json.dumps(value))}"


def _unpack(found: re.Match[str]) -> str:
    return f"`numpack unpack {_quoted(ast.literal_eval(found['value']))}`"


def _quoted(text: str) -> str:
    return text if text.isalnum() else shlex.quote(text)


_FIXES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^NumPack: ", ""),
    (r", and mode='[^']*' writes; pass mode=\"r\"(?:, or|; NumPack\.publish)", r"; or"),
    (r"name it, such as format='npy'", "name it with --from or --to, such as --to npy"),
    (r"read it with format=\('(\w*)', None\)", r"read it with --from \1"),
    (r"(read it|its format) with format='?(\w*)'?", r"\1 with --from \2"),
    (r"; or writes one", "; `numpack publish` writes one"),
    (r"; or make a store", "; make a store"),
    (r"numpack\.unpack\((?P<value>'[^']*'|\"[^\"]*\")\)", _unpack),
    (r"numpack\.pack\(store, path\)", "`numpack pack`"),
    (r"(?<!`)NumPack\.publish", "`numpack publish`"),
    (r"NumPack\.begin", "NumPack.begin in Python"),
    (r"NumPack\(path, upgrade=True\)", "NumPack(path, upgrade=True) in Python"),
    (r"; open it with mode='r\+'(?:, and without at=)?", ""),
    (r"; mode='r' reads it", ""),
    (r", or open the store with mode='r' to read it only", ""),
    (r"lock_timeout must not be (.*); None waits forever", r"--wait must not be \1"),
    (r"\(lock_timeout\)", "(--wait)"),
    (r"in storage_options or in the env", "in the env"),
    (
        r"storage_options are the configuration of the store as obstore takes it.*",
        "--option takes the configuration of the store as obstore does",
    ),
    (r"skip_signature=True", "--option skip_signature=true"),
    (r"pathlib\.Path\(path\).*as_uri\(\) for a folder.*", "file:///path for a folder"),
    (_NOT_IN_A_WORD + r"overwrite=True", "--overwrite"),
    (_NOT_IN_A_WORD + r"attrs=False", "--no-attrs"),
    (_NOT_IN_A_WORD + r"append=True", "--append"),
    (_NOT_IN_A_WORD + r"(?:arrays|columns)=(?:\[name\])?", "--array"),
    (_NOT_IN_A_WORD + r"rename=", "--rename"),
    (_NOT_IN_A_WORD + r"dtype=(?:'([^']*)')?", r"--dtype \1"),
    (_NOT_IN_A_WORD + r"(pass|with) format=(?:'([^']*)')?", r"\1 --from \2"),
    (_NOT_IN_A_WORD + r"format=(?:'([^']*)')?", r"--to \1"),
    (_NOT_IN_A_WORD + r"source_options= or target_options=", "another of the formats"),
    (_NOT_IN_A_WORD + rf"(?P<name>{_OPTIONS})={_VALUE}", _option),
    (r"(--(?:from|to|dtype)) (?=[,;.:]|\s|$)", r"\1"),
)


def worded(text: str, command: str = "") -> str:
    """Return a message whose advice names options of the command line, or of a command.

    Examples
    --------
    >>> worded("choose one with arrays=[name], or pass nulls='mask'")
    'choose one with --array, or pass --option nulls=mask'
    """
    for pattern, replacement in _FIXES:
        text = re.sub(pattern, replacement, text)
    if command == "explain":  # where --option is of an object store
        text = re.sub(r"--option (?!skip_signature)", "--read-option ", text)
        text = re.sub(r"--dtype (\w+)", r"--read-option dtype=\1", text)
    return text
