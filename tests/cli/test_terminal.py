"""What commands print is whole and plain in a pipe, and steers no terminal."""

import argparse
import json
import re
from collections.abc import Iterator
from io import StringIO
from math import nan
from pathlib import Path

import pytest
from rich.console import Console

from simhw import Trace
from simhw.cli import main, parser
from simhw.cli.document import Document
from simhw.cli.terminal import facts, show
from simhw.quantities import ratio
from simhw.report.printing import print_items
from simhw.report.sheet import Item, Sheet
from simhw.trace.metadata import Metadata
from tests.cli_runs import LONG_NAME, SUBCOMMANDS, output, result, rows
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
    assert main(["compare", "--trace", "evil", "--pe", "evil.yaml", "--details"]) == 0
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


WIDE = Sheet(
    [("layer", False), ("operation", False), *((f"figure {number}", True) for number in range(9)), ("note", False)],
    [["conv", "forward", *(f"{number}.000 ± 0.001" for number in range(9)), "a note of some words that can be folded"]],
    total_last=True,
)


def on_a_terminal(columns: int, *items: Item) -> list[str]:
    written = StringIO()
    print_items(Console(file=written, force_terminal=True, width=columns, color_system=None), items)
    return [line.rstrip() for line in written.getvalue().splitlines()]


@pytest.mark.parametrize("columns", [60, 100])
def test_a_wide_table_is_cut_into_several_that_fit(columns: int) -> None:
    lines = on_a_terminal(columns, WIDE)
    assert max(map(len, lines)) <= columns
    # Every piece begins with the columns that name its rows, and none of the figures is lost or folded.
    named = [line for line in lines if line.startswith(" conv  forward ")]
    assert len(named) == sum("layer operation" in line for line in lines) > 1
    assert re.findall(r"\d\.000 ± 0\.001", "".join(named)) == WIDE.rows[0][2:-1]


@pytest.mark.parametrize("columns", [60, 100])
def test_lines_are_folded_between_words_and_facts_below_their_value(columns: int) -> None:
    told = "word " * 30
    lines = on_a_terminal(columns, told.strip(), *facts([("machine", told.strip()), ("of", "it")]))
    assert max(map(len, lines)) <= columns
    assert "".join(lines).replace(" ", "").count("word") == 60
    first = next(index for index, line in enumerate(lines) if line.startswith("machine  word"))
    assert lines[first + 1].startswith(" " * len("machine  ") + "word")


def test_no_color_leaves_no_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted, set_to in ((True, ""), (False, "1")):
        monkeypatch.setenv("NO_COLOR", set_to)
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
        written = StringIO()
        monkeypatch.setattr("sys.stdout", written)
        show(WIDE)
        assert ("\x1b" in written.getvalue()) == wanted


def executing(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    if parser.get_default("execute") is not None:
        yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice, each in action.choices.items():
                yield from executing(each, f"{name} {choice}")


def test_every_command_has_json() -> None:
    commands = dict(executing(parser()))
    assert {" run", " compare", " roofline", " roofline ranks", " trace stats", " machine list"} <= commands.keys()
    assert [name for name, each in commands.items() if "--json" not in each.format_help()] == []


def test_json_is_one_document_with_numbers_as_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "run", "--pe", "fpraker", "--details", "--sample", "0.05", "--json")
    document = json.loads(text)
    assert document["command"] == "simhw run --trace some --pe fpraker --details --sample 0.05 --json"
    assert {"name": "holds", "value": "2 layers, 5 operations, whole tensors"} in document["facts"]
    (table,) = [table for table in document["tables"] if table["name"] == "performance of fpraker"]
    total = dict(zip(table["columns"], table["rows"][-1], strict=True))
    expected = result(sample=0.05).total
    assert total["operation"] == "total"
    assert total["MACs"] == expected.macs
    assert total["speed-up"] == expected.speedup
    assert total["speed-up ci95"] == expected.speedup_half_width > 0
    assert total["busy"] == expected.busy


def test_json_escapes_names_and_has_null_for_what_is_missing() -> None:
    document = Document("simhw")
    columns = [("layer", False), ("a", True), ("b", True), ("c", True)]
    document.add(
        ["", "a line", Sheet(columns, [["\x9b31m", "-", "1,234", "12.5%"], ["l", ratio(nan), "-5", "1 of 2"]])]
    )
    text = document.text()
    assert "\x9b" not in text
    (table,) = json.loads(text)["tables"]
    assert table["rows"] == [["\x9b31m", None, 1234, 0.125], ["l", None, -5, "1 of 2"]]
    assert json.loads(text)["lines"] == ["a line"]


def test_a_command_that_fails_prints_no_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--trace", "nothing", "--pe", "fpraker", "--json"]) == 2
    assert capsys.readouterr().out == ""
    assert main(["machine", "show", "--yaml", "fpraker", "--json"]) == 2
