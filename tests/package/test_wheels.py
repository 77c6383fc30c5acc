"""The parts of ``make wheels``; .ci/run builds wheels with it and tests them."""

from __future__ import annotations

import configparser
import io
import json
import os
import platform
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from wheels import cython_once
from wheels.headers import HeadersError, check_sizes, copy_headers, size_assertions
from wheels.modules import check_wheel, problems, read_module
from wheels.pythons import PythonNotFoundError, find_python
from wheels.targets import MACHINES, Target

import numpack._core.pages

HERE = Target(sysconfig.get_python_version(), platform.machine())
OTHER = Target(HERE.version, "aarch64" if HERE.machine == "x86_64" else "x86_64")


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def compiler(tmp_path):
    """Zig's arguments, given to the C compiler of the machine."""
    return script(tmp_path / "zig", 'shift 5; exec cc "$@"')


def test_target_describes_the_running_python():
    assert HERE.suffix == sysconfig.get_config_var("EXT_SUFFIX")
    assert numpack._core.pages.__file__.endswith(HERE.suffix)


@for_each("machine", MACHINES)
def test_cross_file_is_read_back(machine):
    target = Target("3.12", machine)
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(target.cross_file(Path("/z/zig"), Path("/e/python")))
    binaries = {name: eval(value) for name, value in parser["binaries"].items()}
    assert binaries["c"][:2] == ["/z/zig", "cc"]
    assert f"{machine}-linux-gnu.2.28" in binaries["c"]
    assert "-mcpu=baseline" in binaries["c"]
    assert binaries["python"] == "/e/python"
    assert binaries["numpy-config"] == "/e/numpy-config"
    assert eval(parser["host_machine"]["cpu_family"]) == machine


def test_build_details_have_the_fields_that_meson_reads():
    details = json.loads(json.dumps(OTHER.build_details(Path("/headers"))))
    assert details["schema_version"] == "1.0"
    assert details["abi"]["extension_suffix"] == OTHER.suffix
    assert details["c_api"]["headers"] == "/headers"
    assert details["platform"] == OTHER.environment()["_PYTHON_HOST_PLATFORM"]


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """No interpreters but those that a test makes."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def test_python_on_path_is_found(alone):
    assert find_python_after(alone, {"bin/python3.12": "3.12 0"}) == alone / "bin/python3.12"


def test_newest_python_of_pyenv_is_found(alone):
    texts = {f"pyenv/versions/3.12.{n}/bin/python3.12": "3.12 0" for n in (2, 10, 9)}
    texts["pyenv/versions/3.12.11rc1/bin/python3.12"] = "3.12 0"
    assert find_python_after(alone, texts).parts[-3] == "3.12.10"


def test_python_of_uv_is_found(alone):
    found = alone / "uv-python" / "python3.12"
    assert find_python_after(alone, {"bin/uv": found, found: "3.12 0"}) == found


def find_python_after(folder: Path, texts: dict) -> Path:
    for name, text in texts.items():
        script(folder / name, f"echo {text}")
    return find_python("3.12")


def test_other_pythons_are_refused(alone):
    """A shim for no version, another version, and one without the GIL."""
    script(alone / "bin/python3.12", "exit 127")
    script(alone / "pyenv/versions/3.12.1/bin/python3.12", "echo 3.11 0")
    script(alone / "pyenv/versions/3.12.2/bin/python3.12", "echo 3.12 1")
    with pytest.raises(PythonNotFoundError, match=r"Python 3\.12 is not .* `uv python install"):
        find_python("3.12")


def test_headers_describe_this_machine(tmp_path, compiler):
    headers = copy_headers(Path(sys.executable), tmp_path / "headers")
    flags = [f"-I{np.get_include()}"]
    check_sizes(HERE, compiler, headers, flags)
    config = headers / "pyconfig.h"
    config.write_text(config.read_text().replace("SIZEOF_WCHAR_T 4", "SIZEOF_WCHAR_T 2"))
    with pytest.raises(HeadersError, match="SIZEOF_WCHAR_T"):
        check_sizes(HERE, compiler, headers, flags)


def test_configuration_of_debian_is_that_of_the_machine(tmp_path):
    include = tmp_path / "include"
    for name, text in [
        ("python3.12/Python.h", ""),
        ("python3.12/pyconfig.h", "wrapper"),
        ("x86_64-linux-gnu/python3.12/pyconfig.h", "sizes"),
    ]:
        (include / name).parent.mkdir(parents=True, exist_ok=True)
        (include / name).write_text(text)
    python = script(tmp_path / "python", f"echo {include}/python3.12; echo x86_64-linux-gnu")
    assert (copy_headers(python, tmp_path / "copy") / "pyconfig.h").read_text() == "sizes"


def test_unknown_sizes_are_refused():
    assert "SIZEOF_LONG == sizeof(long)" in size_assertions("#define SIZEOF_LONG 8\n")
    with pytest.raises(HeadersError, match="SIZEOF_INT128"):
        size_assertions("#define SIZEOF_INT128 16\n")


def test_python_without_headers_is_refused(tmp_path):
    python = script(tmp_path / "python", "echo /none/python3.12; echo")
    with pytest.raises(HeadersError, match=r"python3\.12-dev"):
        copy_headers(python, tmp_path / "headers")


def shared(source: str, path: Path, *flags: str) -> Path:
    """Compile a shared library."""
    command = ["cc", "-shared", "-fPIC", "-nostdlib", "-x", "c", "-", "-o", str(path)]
    subprocess.run([*command, "-x", "none", *flags], input=source, text=True, check=True)
    return path


def test_sound_module_has_no_problems(tmp_path):
    path = shared(
        "void *PyModuleDef_Init(void *);"
        "unsigned long strlen(const char *);"
        "void *PyInit_sound(void) { return PyModuleDef_Init((void *)strlen); }",
        tmp_path / f"sound{HERE.suffix}",
        "-lc",
    )
    with path.open("rb") as stream:
        module = read_module(stream)
    assert module.libraries == {"libc.so.6"}
    assert module.undefined == {"PyModuleDef_Init"}
    assert module.glibc in [(2, 2), (2, 17)]  # the first of x86-64 and of aarch64
    assert problems(f"a/{path.name}", module, HERE) == []


def test_problems_of_a_module_are_found(tmp_path):
    shared("int foreign(void) { return 1; }", tmp_path / "libforeign.so")
    path = shared(
        "int foreign(void), missing(void);int f(void) { return foreign() + missing(); }",
        tmp_path / "bad.so",
        f"-L{tmp_path}",
        "-lforeign",
        "-Wl,-rpath,/opt/lib",
    )
    found = "\n".join(problems("bad.so", read_module(io.BytesIO(path.read_bytes())), OTHER))
    for reason in (
        f"its name does not end in {OTHER.suffix}",
        f"it is for {HERE.machine}",
        "it needs libforeign.so",
        "it has the search path /opt/lib",
        "it does not export PyInit_bad",
        "nothing defines foreign, missing",
    ):
        assert f"bad.so: {reason}" in found


def test_modules_of_the_installed_package_are_read(tmp_path):
    """They are linked for the machine's own glibc; nothing else is wrong with them."""
    wheel = tmp_path / "numpack.whl"
    root = Path(numpack.__file__).parents[1]
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in (root / "numpack").rglob("*.so"):
            archive.write(path, path.relative_to(root))
    found = check_wheel(wheel, HERE)
    assert [reason for reason in found if "it needs glibc 2." not in reason] == []
    assert len(check_wheel(wheel, OTHER)) >= 20


def test_wheel_without_modules_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("a.py", "")
    assert check_wheel(tmp_path / "a.whl", HERE) == ["a.whl has no extension modules"]


@pytest.fixture
def translate(tmp_path, monkeypatch):
    """Run `cython_once` with a Cython that counts its calls; return status and count."""
    script(
        tmp_path / "bin" / "cython",
        'echo called >> "$CALLS"; test -e fails && exit 3; for last; do :; done; '
        'cat "$SOURCE" > "$last"',
    )
    source = tmp_path / "src" / "package" / "a.pyx"
    source.parent.mkdir(parents=True)
    source.write_text("cimport b")
    source.with_name("b.pxd").write_text("")
    (tmp_path / "results").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CYTHON_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("SOURCE", str(source))

    def run(output: str, *options: str) -> tuple[int, int]:
        status = cython_once.main(["-M", *options, str(source), "-o", str(tmp_path / output)])
        return status, (tmp_path / "calls").read_text().count("called")

    return run


def test_sources_are_translated_once(tmp_path, translate):
    assert translate("1.c") == (0, 1)
    assert translate("2.c") == (0, 1)
    assert (tmp_path / "1.c").read_bytes() == (tmp_path / "2.c").read_bytes() == b"cimport b"
    assert translate("3.c", "-X") == (0, 2)
    (tmp_path / "src" / "package" / "b.pxd").write_text("cdef int x")
    assert translate("4.c") == (0, 3)


def test_failed_translation_is_not_kept(tmp_path, translate):
    (tmp_path / "fails").touch()
    assert translate("1.c") == (3, 1)
    (tmp_path / "fails").unlink()
    assert translate("1.c") == (0, 2)
