"""`numpack doctor` with NumPy alone, and the parts of its report."""

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
"""
MAIN = BARE + "sys.exit(main(sys.argv[1:]))"
RUNS = {
    "plain": ["doctor"],
    "narrow": ["doctor"],
    "json": ["doctor", "--json", "--dtype", "int16"],
    "refused": ["doctor", "--dtype", "datetime64[s]"],
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Run each of `RUNS` in one process without frameworks, and return what it prints."""
    script = (
        BARE
        + """
import contextlib, io, json, os
outputs = {}
for name, arguments in json.loads(sys.argv[1]).items():
    if name == "narrow":
        os.environ["COLUMNS"] = "60"
    else:
        os.environ.pop("COLUMNS", None)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert not main(arguments)
    outputs[name] = printed.getvalue()
print(json.dumps(outputs))
"""
    )
    command = [sys.executable, "-W", "error", "-c", script, json.dumps(RUNS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_report_with_numpy_alone_lists_installable_frameworks(outputs):
    text = outputs["plain"]
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


def test_json_report(outputs):
    make_report = json.loads(outputs["json"])
    assert make_report["dtype"] == "int16"
    assert make_report["environment"]["numpack"] == numpack.__version__
    known = {each["name"]: each for each in make_report["frameworks"]}
    assert known["torch"]["install"] == "pip install 'numpack[torch]'"
    assert not known["torch"]["installed"]
    assert known["numpy"]["installed"]
    probes = {(each["source"], each["target"]): each for each in make_report["probes"]}
    probe = probes["numpy", "dlpack"]
    assert probe["verdict"] == "shared"
    assert probe["confirmed"] is True
    assert probe["ns"] > 0
    assert probe["nbytes"] == 0


def test_console_script():
    """The script that pip installs does the same as ``python -m numpack``."""
    module = [sys.executable, "-m", "numpack", "--version"]
    done = subprocess.run(module, capture_output=True, text=True, check=True)
    assert done.stdout == f"numpack {numpack.__version__}\n"
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="numpack")
    assert script.load() is main


def test_broken_installation_is_reported(run_python, tmp_path):
    """Importing it may raise anything, even SystemExit."""
    broken = {"torch": "raise RuntimeError('driver too old')", "xarray": "raise SystemExit(3)"}
    for name, body in broken.items():
        (tmp_path / f"{name}.py").write_text(body)
    absent = MAIN.replace("torch ", "").replace("xarray ", "")
    text = run_python("import sys; sys.path.insert(0, '')\n" + absent, "doctor")
    assert "torch cannot be imported: RuntimeError: driver too old" in text
    assert "xarray cannot be imported: SystemExit: 3" in text
    assert "numpy             = " in text


def test_refusal_is_reported_with_its_fix(outputs):
    text = outputs["refused"]
    assert "dlpack holds no datetime64[s]: DLPack has no name for this dtype; " in " ".join(
        text.split()
    )


def test_unknown_dtype_is_a_usage_error(capsys):
    with pytest.raises(InvalidValueError, match="no dtype is called 'float7'"):
        examine("float7")
    assert main(["doctor", "--dtype", "float7"]) == 2
    assert "no dtype is called 'float7'" in capsys.readouterr().err


def test_target_that_refuses_everything_is_reported_once():
    closed = make_probe("refused", confirmed=None)._replace(
        target="scipy", reason="why", fix="way"
    )
    text = report.to_text(make_report(make_probe("shared", confirmed=True), closed), 80)
    assert "scipy holds no float32: why; way" in text
    assert text.count("scipy") == 1
    assert "[1]" not in text


def make_probe(verdict: str, *, confirmed: bool | None) -> Probe:
    return Probe("numpy", "dlpack", verdict, confirmed, 0, "", "", 1500)


def make_report(*probes: Probe) -> report.Report:
    return report.Report({"numpack": "0"}, "float32", (), {}, probes)


def test_contradiction_of_explain_is_reported():
    contradiction = make_report(make_probe("shared", confirmed=False))
    assert contradiction.contradictions == contradiction.probes
    text = report.to_text(contradiction, 80)
    assert "= 1.5 !!" in text
    assert "from numpy to dlpack: explain predicted shared, but the memory shows" in text


def test_unconfirmed_probe_is_marked():
    unconfirmed = make_report(make_probe("copied", confirmed=None))
    assert unconfirmed.contradictions == ()
    assert "copy 1.5 ?" in report.to_text(unconfirmed, 80)


def test_matrix_fits_the_terminal():
    targets = [f"framework{number}" for number in range(12)]
    probes = [Probe("numpy", to, "shared", True, 0, "", "", 10**7) for to in targets]
    text = report.to_text(make_report(*probes), 60)
    assert max(map(len, text.splitlines())) <= 60
    assert all(to in text for to in targets)


def test_report_fits_the_terminal(outputs):
    text = outputs["narrow"]
    assert max(map(len, text.splitlines())) <= 60
