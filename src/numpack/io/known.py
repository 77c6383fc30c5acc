"""`frameworks`: the frameworks that arrays convert between, and which are installed."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from ..adapters import FRAMEWORKS, Framework

if TYPE_CHECKING:
    from ..adapters._options import Target


class FrameworkInfo(NamedTuple):
    """A framework that `share` supports.

    Attributes
    ----------
    name : str
        The target of `share` and `explain`.
    package : str
        The package that is imported at first use; empty for a protocol that needs none.
    installed : bool
        Whether its package, and any others it needs, can be imported.
    version : str
        Version of the installed package; empty if there is none.
    install : str
        The command that installs it; empty if nothing is missing.

    Examples
    --------
    >>> import numpack
    >>> [each.package for each in numpack.frameworks() if each.name == "arrow"]
    ['pyarrow']
    """

    name: Target
    package: str
    installed: bool
    version: str
    install: str


def frameworks() -> tuple[FrameworkInfo, ...]:
    """List the frameworks that arrays convert between, without importing any.

    Returns
    -------
    tuple of FrameworkInfo
        In the order in which they are tried for an object of unknown type.

    See Also
    --------
    explain : whether a conversion copies, and why.

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
    installed = all(map(_is_installed, framework.imports))
    return FrameworkInfo(
        name=cast("Target", framework.name),  # a test compares the two
        package=package,
        installed=installed,
        version=_version(framework) if installed else "",
        install="" if installed else f"pip install '{framework.install}'",
    )


def _is_installed(package: str) -> bool:
    top = package.partition(".")[0]
    if top in sys.modules:
        return sys.modules[top] is not None
    from importlib.util import find_spec  # noqa: PLC0415 -- takes a millisecond to import

    return find_spec(top) is not None


def _version(framework: Framework) -> str:
    if framework.name == "numpy":
        return np.__version__
    if not framework.packages:
        return ""
    return _version_of(framework.imports[0].partition(".")[0])


@functools.cache
def _version_of(package: str) -> str:
    """Return the version of the distribution that provides a package."""
    from importlib import metadata  # noqa: PLC0415 -- takes as long to import as half of numpack

    found = metadata.packages_distributions().get(package)
    return metadata.version(found[0]) if found else ""
