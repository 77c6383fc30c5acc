"""Python's headers for a target, and a check that they describe it.

A wheel for another machine is compiled with the headers of the same version of Python on the
building machine. Between 64-bit machines of Linux the installed headers differ in one file,
pyconfig.h, and there in nothing that changes an extension module: the sizes of types are the
same. `check_sizes` lets the target's compiler compare them; docs/releasing.md lists the rest.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .targets import Target

_LOCATE = """
import sysconfig
print(sysconfig.get_path("include"), sysconfig.get_config_var("MULTIARCH") or "", sep="\\n")
"""
_NUMPY = ("short", "int", "long", "float", "double", "long double", "long long")
_TYPES = {
    "_BOOL": "_Bool",
    "LONG_DOUBLE": "long double",
    "LONG_LONG": "long long",
    "VOID_P": "void *",
    **{name.upper(): name for name in ("short", "int", "long", "float", "double")},
    **{name.upper(): name for name in ("fpos_t", "off_t", "pid_t", "size_t", "time_t")},
    **{name.upper(): name for name in ("pthread_t", "pthread_key_t", "uintptr_t", "wchar_t")},
}
_PREFACE = """\
#include <Python.h>
#include <numpy/_numpyconfig.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>
#include <wchar.h>
#if defined(WORDS_BIGENDIAN) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "pyconfig.h or the machine is big-endian"
#endif
"""


class HeadersError(Exception):
    """There are no headers, or they describe another machine."""


def copy_headers(python: Path, folder: Path) -> Path:
    """Copy an interpreter's headers to a folder and return the folder.

    Debian keeps the pyconfig.h of each machine in a folder of the machine, and beside the other
    headers one that includes it.
    """
    located = subprocess.check_output([python, "-c", _LOCATE], text=True).split("\n")
    include = Path(located[0])
    if not (include / "Python.h").exists():
        raise HeadersError(
            f"{python} has no headers in {include}; install them, on Debian the package "
            f"{include.name}-dev"
        )
    shutil.copytree(include, folder)
    of_machine = include.parent / located[1] / include.name / "pyconfig.h"
    if of_machine.exists():
        shutil.copyfile(of_machine, folder / "pyconfig.h")
    return folder


def size_assertions(pyconfig: str) -> str:
    """Return a C file that compiles if the sizes in pyconfig.h and NumPy's are the target's.

    Parameters
    ----------
    pyconfig : str
        The text of pyconfig.h, each of whose ``SIZEOF_`` macros is compared.
    """
    lines = [_PREFACE]
    for name in re.findall(r"^#define SIZEOF_(\w+)", pyconfig, re.MULTILINE):
        if name not in _TYPES:
            raise HeadersError(f"pyconfig.h defines SIZEOF_{name}, of an unknown type")
        lines.append(_assertion(f"SIZEOF_{name}", _TYPES[name]))
    lines += [_assertion(f"NPY_SIZEOF_{t.upper().replace(' ', '')}", t) for t in _NUMPY]
    lines += [_assertion(f"NPY_SIZEOF_{t}", "intptr_t") for t in ("INTP", "PY_INTPTR_T")]
    return "\n".join([*lines, ""])


def _assertion(macro: str, type_name: str) -> str:
    return f'_Static_assert({macro} == sizeof({type_name}), "{macro}");'


def check_sizes(target: Target, zig: Path, headers: Path, numpy_flags: list[str]) -> None:
    """Compile `size_assertions` for a target.

    Raises
    ------
    HeadersError
        With the compiler's messages, if a size differs.
    """
    source = headers.with_name("sizes.c")
    source.write_text(size_assertions((headers / "pyconfig.h").read_text()))
    flags = ["-c", "-o", str(source.with_suffix(".o")), f"-I{headers}", *numpy_flags]
    command = [*target.compiler(zig), *flags, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HeadersError(f"{headers} does not describe {target}:\n{done.stderr}")
