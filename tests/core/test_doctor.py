"""`numpack doctor` where there is NumPy and nothing else, and its parts."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import numpack
from numpack import InvalidValueError
from numpack.__main__ import main
from numpack.doctor import Probe, examine, report

BARE = """
import sys
absent = "torch jax pyarrow ml_dtypes tensorflow cupy onnxruntime xarray pandas polars duckdb"
for name in (*absent.split(), *"nanoarrow arro3 safetensors scipy rich".split()):
    sys.modules[name] = None
from numpack.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_alone_with_numpy_it_says_what_could_be_installed(run_python):
    text = run_python(BARE, "doctor")
    assert f"numpack {numpack.__version__}, Python" in text
    assert f"NumPy {np.__version__}" in text
    assert "torch                  pip install 'numpack[torch]'" in text
    assert "float32, 1,000 values" in text
    assert "Not installed: torch, jax" in text
    matrix = {line.split()[0]: line.split()[1:] for line in text.splitlines() if "= " in line}
    assert {"numpy", "dlpack", "buffer"} <= matrix.keys()
    assert matrix["numpy"][0] == "="
    assert float(matrix["numpy"][1]) > 0  # microseconds
    words = " ".join(text.split())
    assert "!!" not in words.replace("!! explain was wrong", "")


def test_for_programs(run_python):
    found = json.loads(run_python(BARE, "doctor", "--json", "--dtype", "int16"))
    assert found["dtype"] == "int16"
    assert found["environment"]["numpack"] == numpack.__version__
    known = {each["name"]: each for each in found["frameworks"]}
    assert known["torch"]["install"] == "pip install 'numpack[torch]'"
    assert not known["torch"]["installed"]
    assert known["numpy"]["installed"]
    probes = {(each["source"], each["target"]): each for each in found["probes"]}
    way = probes["numpy", "dlpack"]
    assert way["verdict"] == "shared"
    assert way["confirmed"] is True
    assert way["ns"] > 0
    assert way["nbytes"] == 0


def test_as_a_command():
    """What pip installs is the same as ``python -m numpack``."""
    module = [sys.executable, "-m", "numpack", "--version"]
    done = subprocess.run(module, capture_output=True, text=True, check=True)
    assert done.stdout == f"numpack {numpack.__version__}\n"
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="numpack")
    assert script.load() is main


def test_a_broken_installation_is_reported(run_python, tmp_path):
    """It may raise anything when it is imported, and even ask the interpreter to end."""
    broken = {"torch": "raise RuntimeError('driver too old')", "xarray": "raise SystemExit(3)"}
    for name, body in broken.items():
        (tmp_path / f"{name}.py").write_text(body)
    absent = BARE.replace("torch ", "").replace("xarray ", "")
    text = run_python("import sys; sys.path.insert(0, '')\n" + absent, "doctor")
    assert "torch cannot be imported: RuntimeError: driver too old" in text
    assert "xarray cannot be imported: SystemExit: 3" in text
    assert "numpy             = " in text


def test_the_way_out_is_told(run_python):
    text = run_python(BARE, "doctor", "--dtype", "datetime64[s]")
    assert "dlpack holds no datetime64[s]: DLPack has no name for this dtype; " in " ".join(
        text.split()
    )


def test_an_unknown_dtype_is_a_wrong_call(capsys):
    with pytest.raises(InvalidValueError, match="no dtype is called 'float7'"):
        examine("float7")
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--dtype", "float7"])
    assert stop.value.code == 2
    assert "no dtype is called 'float7'" in capsys.readouterr().err


def test_where_nothing_goes_is_said_once(capsys):
    closed = probed("refused", confirmed=None)._replace(target="scipy", reason="why", fix="way")
    report._draw_plain(
        report._without_refusing_targets(found(probed("shared", confirmed=True), closed)), 80
    )
    text = capsys.readouterr().out
    assert "scipy holds no float32: why; way" in text
    assert text.count("scipy") == 1
    assert "[1]" not in text


def probed(verdict: str, *, confirmed: bool | None) -> Probe:
    return Probe("numpy", "dlpack", verdict, confirmed, 0, "", "", 1500)


def found(*probes: Probe) -> report.Report:
    return report.Report({"numpack": "0"}, "float32", (), {}, probes)


def test_what_explain_got_wrong_is_told(capsys):
    lie = found(probed("shared", confirmed=False))
    assert lie.contradictions == lie.probes
    report._draw_plain(lie, 80)
    text = capsys.readouterr().out
    assert "= 1.5 !!" in text
    assert "from numpy to dlpack: explain predicted shared, but the memory shows" in text


def test_what_cannot_be_seen_is_marked(capsys):
    unseen = found(probed("copied", confirmed=None))
    assert unseen.contradictions == ()
    report._draw_plain(unseen, 80)
    assert "copy 1.5 ?" in capsys.readouterr().out


def test_no_line_is_wider_than_the_terminal(capsys):
    targets = [f"framework{number}" for number in range(12)]
    probes = [Probe("numpy", to, "shared", True, 0, "", "", 10**7) for to in targets]
    report._draw_plain(found(*probes), 60)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 60
    assert all(to in text for to in targets)


def test_nor_is_what_installs_a_framework(run_python, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = run_python(BARE, "doctor")
    assert max(map(len, text.splitlines())) <= 60
