"""`frameworks`: what can be handed over to whom, and what is installed."""

from __future__ import annotations

import functools
import sys
from typing import NamedTuple

import numpy as np

from ..adapters import FRAMEWORKS, Framework


class FrameworkInfo(NamedTuple):
    """A framework that `share` knows.

    Attributes
    ----------
    name : str
        As `share` and `explain` take it.
    package : str
        What is imported when it is first needed; empty for a protocol that needs none.
    installed : bool
        Whether its package, and what it needs besides, is there to be imported.
    version : str
        Of the installed package; empty where there is none.
    install : str
        The command that installs it; empty where nothing is missing.
    """

    name: str
    package: str
    installed: bool
    version: str
    install: str


def frameworks() -> tuple[FrameworkInfo, ...]:
    """List the frameworks that arrays come from and go to; none is imported.

    Returns
    -------
    tuple of FrameworkInfo
        In the order in which an object is asked which one it belongs to.

    See Also
    --------
    explain : whether a hand-over copies, and why.

    Examples
    --------
    >>> import numpack
    >>> numpy, torch, *others = numpack.frameworks()
    >>> numpy.name, numpy.installed, torch.name, torch.package
    ('numpy', True, 'torch', 'torch')
    """
    return tuple(map(_info, FRAMEWORKS))


def _info(framework: Framework) -> FrameworkInfo:
    package = framework.imports[0] if framework.packages else ""
    installed = all(map(_is_there, framework.imports))
    return FrameworkInfo(
        name=framework.name,
        package=package,
        installed=installed,
        version=_version(framework) if installed else "",
        install="" if installed else f"pip install '{framework.install}'",
    )


def _is_there(package: str) -> bool:
    top = package.partition(".")[0]
    if top in sys.modules:
        return sys.modules[top] is not None
    from importlib.util import find_spec  # noqa: PLC0415 -- it takes a millisecond to import

    return find_spec(top) is not None


def _version(framework: Framework) -> str:
    if framework.name == "numpy":
        return np.__version__
    if not framework.packages:
        return ""
    return _version_of(framework.imports[0].partition(".")[0])


@functools.cache
def _version_of(package: str) -> str:
    """Find the version of the distribution that a package comes from, by whatever name."""
    from importlib import metadata  # noqa: PLC0415 -- it loads as long as half of numpack

    found = metadata.packages_distributions().get(package)
    return metadata.version(found[0]) if found else ""
