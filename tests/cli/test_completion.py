"""The script of `simhw completion` completes commands, options and files in a real shell."""

import shutil
import subprocess
from pathlib import Path

import pytest

from simhw.cli import main
from tests.cli_runs import fails


def completed(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    command = (
        f"source {script}; COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; "
        f"_shtab_simhw simhw {words[-1]!r} {words[-2]!r}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", command], cwd=script.parent, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_options_choices_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "simhw.sh"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "mine.npz").touch()
    assert completed(script, "simhw", "com") == ["compare", "completion"]
    assert completed(script, "simhw", "machine", "iso") == ["iso-area"]
    assert completed(script, "simhw", "run", "--det") == ["--details"]
    assert completed(script, "simhw", "run", "--memory", "id") == ["ideal"]
    assert completed(script, "simhw", "run", "--trace", "mi") == ["mine.npz"]


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script_with_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "compare" in script
    assert "iso-area" in script


def test_a_script_is_no_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert "leave --json out" in fails(capsys, "completion", "bash", "--json")
