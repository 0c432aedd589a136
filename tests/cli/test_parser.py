"""Every option of every command that holds one value refuses a second one."""

import argparse
from collections.abc import Iterator

import pytest

from simhw.cli import main, parser
from tests.cli_runs import fails


def commands(
    top: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every parser, with the words that lead to it."""
    yield path, top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, each in action.choices.items():
                yield from commands(each, (*path, name))


def single_valued() -> list[tuple[tuple[str, ...], str, str]]:
    """(words of the command, option, a value that it takes) of every option that stores one value."""
    return [
        (path, action.option_strings[0], str(next(iter(action.choices))) if action.choices else "8")
        for path, each in commands(parser())
        for action in each._actions
        if action.option_strings and isinstance(action, argparse._StoreAction)
    ]


OPTIONS = single_valued()


def test_all_commands_are_looked_through() -> None:
    found = {(*path, option) for path, option, _ in OPTIONS}
    assert {
        ("run", "--trace"),
        ("run", "--batch"),
        ("roofline", "--device"),
        ("trace", "info", "--nonfinite"),
    } <= found


@pytest.mark.parametrize(
    ("path", "option", "value"), OPTIONS, ids=[" ".join((*path, option)) for path, option, _ in OPTIONS]
)
def test_option_given_twice_is_refused_by_name(
    path: tuple[str, ...], option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"simhw: {option}: given twice" in fails(capsys, *path, option, value, f"{option}={value}")


def test_value_given_twice_in_short_is_refused_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--trace: given twice" in fails(capsys, "run", "--trace", "a", "--tra", "b", "--pe", "fpraker")


def test_repeatable_options_and_each_option_once_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        "--trace",
        "small_cnn",
        "--pe",
        "fpraker",
        "--pe",
        "tensordash",
        "--set",
        "tile.rows=4",
        "--set",
        "tiles=3",
        "--seed",
        "1",
    )
    assert main(["compare", *arguments, "--memory", "ideal", "--sample", "0.01"]) == 0
    assert "fpraker" in capsys.readouterr().out
