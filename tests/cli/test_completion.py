"""The script of `simhw completion` completes commands, options, names and files in a real shell."""

import shutil
import subprocess
from pathlib import Path

import pytest

from simhw.cli import completion, main
from tests.cli_runs import fails

BASH = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture
def few_workloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workloads that need no PyTorch, which takes seconds to load."""
    monkeypatch.setattr(completion, "_workload_names", lambda: ["lrd", "haet"])


def script_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "simhw.sh"
    script.write_text(capsys.readouterr().out)
    return script


def completed(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    command = (
        f"source {script}; COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; "
        f"_shtab_simhw simhw {words[-1]!r} {words[-2]!r}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", command], cwd=script.parent, capture_output=True, text=True, check=True)
    return done.stdout.split()


@BASH
@pytest.mark.usefixtures("few_workloads")
def test_bash_completes_commands_options_choices_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = script_of(tmp_path, capsys)
    (tmp_path / "mine.npz").touch()
    assert completed(script, "simhw", "com") == ["compare", "completion"]
    assert completed(script, "simhw", "machine", "iso") == ["iso-area"]
    assert completed(script, "simhw", "run", "--det") == ["--details"]
    assert completed(script, "simhw", "run", "--memory", "id") == ["ideal"]
    assert completed(script, "simhw", "run", "--trace", "mi") == ["mine.npz"]


@BASH
@pytest.mark.usefixtures("few_workloads")
def test_bash_completes_names_and_beside_them_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    # A name that bash would run, were it in the script, and one that is a word.
    for name in ("fpr;touch run", "$(touch run)", "fprint"):
        (traces / f"{name}.npz").touch()
    monkeypatch.setenv("SIMHW_TRACES", str(traces))
    script = script_of(tmp_path, capsys)
    (tmp_path / "fprm.yaml").touch()
    assert completed(script, "simhw", "run", "--pe", "fpr") == ["fpraker", "fpraker-literal", "fprm.yaml"]
    assert completed(script, "simhw", "machine", "iso-area", "--baseline", "bf") == ["bf16"]
    assert completed(script, "simhw", "run", "--trace", "sm") == ["small_cnn"]
    assert completed(script, "simhw", "trace", "info", "fpr") == ["fprint", "fprm.yaml"]
    assert not (tmp_path / "run").exists()
    assert completed(script, "simhw", "roofline", "--device", "ascend") == ["ascend310", "ascend910"]
    assert completed(script, "simhw", "roofline", "--model", "resnet5") == ["resnet50"]
    assert completed(script, "simhw", "roofline", "--compare", "v100-") == ["v100-pcie"]
    assert completed(script, "simhw", "workloads", "run", "l") == ["lrd"]


@BASH
@pytest.mark.slow
def test_bash_completes_the_workloads_that_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "lrd" in completed(script_of(tmp_path, capsys), "simhw", "workloads", "show", "lr")


@pytest.mark.usefixtures("few_workloads")
@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script_with_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "compare" in script
    assert "iso-area" in script
    assert "lrd haet" in script


def test_a_script_is_no_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert "leave --json out" in fails(capsys, "completion", "bash", "--json")
