"""`simhw completion`: a script with which a shell completes simhw's commands, options and file names."""

import argparse
from typing import Any

from simhw.errors import SimhwError

SHELLS = ("bash", "zsh", "tcsh")
FILES = {"FILE", "FOLDER", "TRACE", "MACHINE"}
"""What the values are called that are completed as files; machines and traces may also be names."""


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "completion",
        help="print a script that completes commands and options in a shell",
        description="Print a script that completes simhw's commands, options and file names in a shell.",
        epilog="Example: simhw completion bash > ~/.local/share/bash-completion/completions/simhw",
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.json:
        raise SimhwError("completion prints a script, --json a document: leave --json out")
    import shtab

    # Only when it runs: the top parser is made of this module too.
    top: argparse.ArgumentParser = arguments.parser()
    _complete_files(top, shtab.FILE)
    print(shtab.complete(top, shell=arguments.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser, files: object) -> None:
    """Have the options of a parser, and of those below it, that take files complete their names."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _complete_files(each, files)
        elif action.metavar in FILES:
            # An attribute that shtab looks for.
            action.complete = files  # type: ignore[attr-defined]
