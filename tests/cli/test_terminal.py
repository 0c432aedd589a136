"""What commands print is whole and plain in a pipe, and steers no terminal."""

from pathlib import Path

import pytest

from simhw import Trace
from simhw.cli import main
from simhw.trace.metadata import Metadata
from tests.cli_runs import LONG_NAME, SUBCOMMANDS, output, rows
from tests.trace_files import convolution

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_a_pipe_gets_rows_whole_and_plain(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = output(capsys, command, "--pe", "fpraker", "--per-layer")
    assert "\x1b" not in text
    assert "…" not in text
    assert [row[0] for row in rows(text, LONG_NAME)] == [LONG_NAME] * 2
    assert [row[:2] for row in rows(text, "conv")] == [
        ["conv", name] for name in ("forward", "input_grad", "weight_grad")
    ]


def test_a_file_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Trace([convolution()], Metadata(model="\x1b[31mred", dataset="[blue]x")).save("evil.npz")
    Path("evil.yaml").write_text('extends: tensordash\nname: "evil\\e[2J"\n')
    assert main(["compare", "--trace", "evil", "--pe", "evil.yaml"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "[blue]x" in text
    assert rows(text, "evil?[2J")


def test_an_error_that_quotes_a_file_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Path("\x1b[31mred.yaml").write_text("extends: nothing")
    assert main(["run", "--trace", "some", "--pe", "\x1b[31mred.yaml"]) == 2
    line = capsys.readouterr().err
    assert "\x1b" not in line
    assert "red.yaml" in line
