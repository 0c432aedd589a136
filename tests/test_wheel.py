"""The package as users install it: without the checkout, with its machines and bundled traces."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.places import ROOT


@pytest.mark.slow
def test_an_installed_wheel_runs_a_bundled_trace_outside_the_checkout(tmp_path):
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(ROOT),
    ]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("simhw-*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "simhw", "run", "--trace", "small_cnn.npz", "--pe", "tensordash", "--details"]
    command += ["--html", "page.html"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=elsewhere, env=environment)
    assert run.returncode == 0, run.stderr
    assert str(installed / "simhw" / "bundled_traces" / "small_cnn.npz") in run.stdout
    assert "tensordash-dense" in run.stdout
    # Its templates, style and script are no Python files.
    assert "<script>" in (elsewhere / "page.html").read_text(encoding="utf-8")
    # What the wheel brings of the checkout: the simulator, the workloads and the traces, and no tests.
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {
        "simhw",
        "simhw_workloads",
    }
