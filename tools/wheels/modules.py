"""Check the extension modules of a wheel, also of one that cannot be run here.

auditwheel checks the versions of the symbols that modules import. It does not see a symbol that
nothing defines: a module is linked without its interpreter, and fails only when it is loaded.
"""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from .targets import GLIBC

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from elftools.elf.gnuversions import GNUVerNeedSection, GNUVerSymSection
    from elftools.elf.sections import SymbolTableSection

    from .targets import Target

_ELF_MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}
_GLIBC_FILES = re.compile(r"(lib(c|m|dl|rt|pthread)|ld-linux-(x86-64|aarch64))\.so\.\d+")


@dataclass(frozen=True)
class Module:
    """What the dynamic linker needs to know of a module.

    ``undefined`` are imported symbols that no library is named for; ``glibc`` is the newest
    version of glibc that a symbol needs.
    """

    machine: str
    libraries: frozenset[str]
    search_path: str
    exported: frozenset[str]
    undefined: frozenset[str]
    glibc: tuple[int, ...]


def read_module(stream: BinaryIO) -> Module:
    """Read the headers and the dynamic symbols of an ELF file."""
    elf = ELFFile(stream)
    dynamic = next(s for s in elf.iter_sections() if isinstance(s, DynamicSection))
    symbols = cast("SymbolTableSection", elf.get_section_by_name(".dynsym"))
    versions = cast("GNUVerSymSection | None", elf.get_section_by_name(".gnu.version"))
    exported, undefined = set(), set()
    for number, symbol in enumerate(symbols.iter_symbols()):
        if not symbol.name or symbol["st_info"]["bind"] != "STB_GLOBAL":
            continue
        if symbol["st_shndx"] != "SHN_UNDEF":
            exported.add(symbol.name)
        elif versions is None or not isinstance(versions.get_symbol(number)["ndx"], int):
            undefined.add(symbol.name)  # VER_NDX_GLOBAL or _LOCAL: of no library's version
    return Module(
        machine=_ELF_MACHINES.get(elf["e_machine"], elf["e_machine"]),
        libraries=frozenset(_strings(dynamic, "needed")),
        search_path=":".join(_strings(dynamic, "rpath") + _strings(dynamic, "runpath")),
        exported=frozenset(exported),
        undefined=frozenset(undefined),
        glibc=_newest_glibc(elf),
    )


def _strings(dynamic: DynamicSection, name: str) -> list[str]:
    """Return the values of an entry such as DT_NEEDED."""
    return [getattr(tag, name) for tag in dynamic.iter_tags(f"DT_{name.upper()}")]


def _newest_glibc(elf: ELFFile) -> tuple[int, ...]:
    """Return the newest version that a symbol needs, such as (2, 28), or ()."""
    section = cast("GNUVerNeedSection | None", elf.get_section_by_name(".gnu.version_r"))
    if section is None:
        return ()
    names = [aux.name for _, auxiliaries in section.iter_versions() for aux in auxiliaries]
    found = [re.fullmatch(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?", name) for name in names]
    return max((tuple(map(int, each.groups())) for each in found if each), default=())


def problems(name: str, module: Module, target: Target) -> list[str]:
    """Return why a module would not load on the target, or [].

    Parameters
    ----------
    name : str
        The module's path in the wheel.
    """
    initializer = f"PyInit_{name.rpartition('/')[2].partition('.')[0]}"
    foreign = sorted(each for each in module.libraries if not _GLIBC_FILES.fullmatch(each))
    unknown = sorted(each for each in module.undefined if not each.startswith(("Py", "_Py")))
    reasons = {
        f"its name does not end in {target.suffix}": not name.endswith(target.suffix),
        f"it is for {module.machine}": module.machine != target.machine,
        f"it needs {', '.join(foreign)}": bool(foreign),
        f"it has the search path {module.search_path}": bool(module.search_path),
        f"it does not export {initializer}": initializer not in module.exported,
        f"nothing defines {', '.join(unknown)}": bool(unknown),
        f"it needs glibc {'.'.join(map(str, module.glibc))}": module.glibc > GLIBC,
    }
    return [f"{name}: {reason}" for reason, applies in reasons.items() if applies]


def check_wheel(wheel: Path, target: Target) -> list[str]:
    """Return the `problems` of all modules in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".so")]
        if not names:
            return [f"{wheel.name} has no extension modules"]
        found = [
            problems(name, read_module(io.BytesIO(archive.read(name))), target)
            for name in names
        ]
    return [reason for each in found for reason in each]
