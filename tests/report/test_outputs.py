"""The files that a command writes: one of a new kind needs its module and its name in the list, and nothing else."""

import argparse
import json
from pathlib import Path

import pytest

from simhw.cli import main
from simhw.errors import SimhwError
from simhw.report.outputs import every
from simhw.report.outputs.output import Finished, Output
from tests.cli_runs import fails

RUN = ("run", "--trace", "some", "--pe", "fpraker")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--summary-digits", type=int, default=2)


def check(arguments: argparse.Namespace, _: object, machines: list[object]) -> None:
    if arguments.summary_digits > 9 * len(machines):
        raise SimhwError("--summary-digits: give at most 9 per machine")


def write(path: str, finished: Finished) -> str:
    digits = finished.arguments.summary_digits
    speedups = {each.machine.name: round(each.total.speedup, digits) for each in finished.results}
    Path(path).write_text(json.dumps(speedups))
    return f"summary of {len(finished.trace.layers)} layers written to {path}"


@pytest.fixture
def summary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a new kind of output, of `simhw run` alone, goes."""
    own = Output("--summary", (".json",), "write the speed-ups", write, ("run",), add_options, check)
    monkeypatch.setattr(every, "OUTPUTS", (*every.OUTPUTS, own))
    return folder / "s.json"


def test_a_new_output_is_written_and_said(summary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--pe", "tensordash", "--summary", str(summary), "--summary-digits", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"summary of 2 layers written to {summary}"
    assert list(json.loads(summary.read_text())) == ["fpraker", "tensordash"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--summary", "s.txt"), "s.txt: the name must end in one of .json"),
        (("--summary", "nowhere/s.json"), "there is no folder nowhere"),
        (("--summary-digits", "10"), "give at most 9 per machine"),
    ],
)
def test_its_options_are_checked_before_anything_is_simulated(
    summary: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.setattr("simhw.simulation.api.simulate", lambda *_, **__: pytest.fail("simulated"))
    assert words in fails(capsys, *RUN, *options)
    assert not summary.exists()


def test_a_command_that_does_not_write_it_does_not_take_it(summary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", *RUN[1:], "--summary", str(summary)])
    assert "unrecognized arguments: --summary" in capsys.readouterr().err


def test_every_option_is_that_of_one_output() -> None:
    for command in ("run", "compare"):
        named = [output.option for output in every.OUTPUTS if command in output.commands]
        assert len(set(named)) == len(named) >= 2
