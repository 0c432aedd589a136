"""docs/sweeps.md: its sweep file and its commands, run as printed."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from simhw.cli import main
from tests.places import ROOT


@pytest.mark.slow
def test_the_first_sweep_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    file, commands = re.search(r"^```yaml\n(.*?)^```.*?^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL).groups()
    Path("sweep.yaml").write_text(file, encoding="utf-8")
    for command in commands.splitlines():
        assert main(shlex.split(command)[1:]) == 0, command
    out = capsys.readouterr().out
    (points,) = re.search(r"asks for [\dx ()+]+ = (\d+) points", text).groups()
    ran, equal = (int(re.search(pattern, out)[1]) for pattern in (r"(\d+) points run", r"(\d+) more are equal"))
    assert ran + equal == int(points)
    assert Path("sweep.png").stat().st_size
    assert "latin_hypercube" in Path("sweep.html").read_text(encoding="utf-8")
    assert len(pd.read_csv("sweep.csv")) == ran


@pytest.mark.slow
def test_the_example_in_python_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    _, section = text.split("## From Python\n")
    names: dict[str, object] = {}
    for code in re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
        exec(compile(code, "docs/sweeps.md", "exec"), names)
    assert "overall_speedup" in capsys.readouterr().out
    assert len(names["points"]) == 3  # type: ignore[arg-type]
    # Forward, input gradient, weight gradient and total of each.
    assert len(names["operations"]) == 12  # type: ignore[arg-type]
