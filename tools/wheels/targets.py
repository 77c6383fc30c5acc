"""What a wheel is built for, and what Meson has to know to build it.

Each wheel is cross-compiled, also those for the machine that builds them, so that the wheels
that can be tested are made in the same way as those that cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MACHINES = ("x86_64", "aarch64")
# The oldest glibc that has statx, with which the store queries the sizes of files. Wheels of
# NumPy 2.3 and newer need 2.27 or 2.28 too.
GLIBC = (2, 28)


@dataclass(frozen=True)
class Target:
    """A version of CPython, such as "3.12", and a machine of 64-bit Linux.

    Examples
    --------
    >>> from wheels.targets import Target
    >>> str(Target("3.12", "aarch64")), Target("3.12", "aarch64").platform
    ('cp312-aarch64', 'manylinux_2_28_aarch64')
    """

    version: str
    machine: str

    @property
    def tag(self) -> str:
        """The tag of the interpreter and of its ABI."""
        return "cp" + self.version.replace(".", "")

    @property
    def platform(self) -> str:
        """The platform tag of the wheel."""
        return f"manylinux_{GLIBC[0]}_{GLIBC[1]}_{self.machine}"

    @property
    def suffix(self) -> str:
        """The end of the file name of an extension module."""
        return f".cpython-{self.version.replace('.', '')}-{self.machine}-linux-gnu.so"

    def __str__(self) -> str:
        """Return both tags, as the name of a folder."""
        return f"{self.tag}-{self.machine}"

    def compiler(self, zig: Path) -> list[str]:
        """Return the command of the C compiler: for the oldest processors, and an old glibc.

        Without optimization, Zig would add checks for undefined behavior.
        """
        triple = f"{self.machine}-linux-gnu.{GLIBC[0]}.{GLIBC[1]}"
        options = ["-mcpu=baseline", "-fno-sanitize=undefined"]
        return [str(zig), "cc", "-target", triple, *options]

    def cross_file(self, zig: Path, python: Path) -> str:
        """Return Meson's cross file.

        Parameters
        ----------
        zig : Path
            The compiler's executable.
        python : Path
            The interpreter in the environment that has the build requirements.
        """
        return f"""\
[binaries]
c = {self.compiler(zig)}
ar = {[str(zig), "ar"]}
python = {str(python)!r}
numpy-config = {str(python.with_name("numpy-config"))!r}

[built-in options]
c_link_args = ['-Wl,--strip-all']

[host_machine]
system = 'linux'
cpu_family = {self.machine!r}
cpu = {self.machine!r}
endian = 'little'
"""

    def build_details(self, headers: Path) -> dict[str, object]:
        """Return the content of a build-details.json (PEP 739) for the target's Python.

        Its headers are those of the same version on the building machine; see
        `wheels.headers.check_sizes`.
        """
        return {
            "schema_version": "1.0",
            "base_prefix": str(headers),
            "platform": f"linux-{self.machine}",
            "language": {"version": self.version},
            "implementation": {"name": "cpython"},
            "abi": {
                "flags": [],
                "extension_suffix": self.suffix,
                "stable_abi_suffix": ".abi3.so",
            },
            "libpython": {"link_extensions": False},
            "c_api": {"headers": str(headers)},
        }

    def environment(self) -> dict[str, str]:
        """Return the variable from which meson-python takes the platform of the wheel's tag."""
        return {"_PYTHON_HOST_PLATFORM": f"linux-{self.machine}"}
