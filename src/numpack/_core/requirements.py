"""Packages that are needed in a minimum version, imported on first use."""

from __future__ import annotations

import importlib
import re
from typing import NoReturn

from ..errors import MissingDependencyError


def require(user: str, requirement: str, install: str) -> None:
    """Import a package.

    Parameters
    ----------
    user : str
        What needs the package, for the message.
    requirement : str
        Its name, or with a minimum version: ``"pyarrow>=18"``.
    install : str
        The argument of ``pip install`` that brings it.

    Raises
    ------
    MissingDependencyError
        It cannot be imported, or is older.
    """
    package, _, oldest = requirement.partition(">=")
    try:
        version = getattr(importlib.import_module(package), "__version__", "")
    except Exception as error:  # noqa: BLE001 -- a broken package may raise anything
        why = f"which cannot be imported ({error})"
        _refuse(user, package, why, install, error)
    if version and _numbers(version) < _numbers(oldest):
        why = f"of version {oldest} or newer, and {version} is installed"
        _refuse(user, package, why, install)


def _refuse(
    user: str, package: str, why: str, install: str, cause: Exception | None = None
) -> NoReturn:
    msg = f"{user} needs the package {package}, {why}; install it with: pip install '{install}'"
    raise MissingDependencyError(msg, name=package) from cause


def _numbers(version: str) -> list[int]:
    """Return the numbers of a release: ``[2, 13, 0]`` for ``"2.13.0+cpu"``."""
    release = re.match(r"[0-9.]*", version)
    return [int(number) for number in release.group().split(".") if number] if release else []
