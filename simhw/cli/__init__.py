"""The command line: one module per command, each adding its parser and doing its heavy imports only when it runs."""

import argparse
import gc
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from simhw.cli import (
    capture,
    compare,
    completion,
    doctor,
    explain,
    machine,
    report,
    reproduce,
    roofline,
    rtl,
    run,
    sweep,
    trace,
    workloads,
)
from simhw.cli.encoding import spell_out_what_cannot_be_encoded
from simhw.cli.parser import Parser
from simhw.cli.terminal import as_json, printable
from simhw.errors import SimhwError
from simhw.version import __version__

COMMANDS = (
    run,
    compare,
    explain,
    sweep,
    report,
    roofline,
    workloads,
    reproduce,
    capture,
    trace,
    machine,
    rtl,
    doctor,
    completion,
)


NEW_OBJECTS = 200_000
"""Objects that Python makes before it looks for garbage among them: more than a short run does, and next to all of them
stay.  What it makes by default, 700, costs a run with two machines a tenth of its time, 20,000 still a fortieth.
"""


def parser() -> Parser:
    """The whole command line's parser."""
    top = Parser(
        prog="simhw",
        description="How much faster and cheaper does a training step get on which hardware, and why?",
        epilog="Example: simhw run --trace resnet50.npz --pe fpraker",
    )
    top.add_argument("--version", action="version", version=f"simhw {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    for each in _executing(top):
        # No default of its own: a subcommand's would undo what was given before its name.
        each.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print facts, tables and lines as one JSON document, with numbers as numbers",
        )
    return top


def _executing(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands that do something, in this one and below it."""
    if parser.get_default("execute") is not None:
        yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _executing(each)


@contextmanager
def _seldom_collecting(own_process: bool) -> Iterator[None]:
    """Look for garbage seldom; who called the command keeps his own thresholds."""
    before = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        if own_process:
            # Else the process would look through all objects now and as it ends, several times: 0.3 s, for memory that
            # goes anyway.
            gc.freeze()
        gc.set_threshold(*before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0, or 2 where the user's input cannot be used.

    Parameters
    ----------
    argv : sequence of str, optional
        The command's words; by default those of this process, which is then taken to be the command's own.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    spell_out_what_cannot_be_encoded()
    with _seldom_collecting(argv is None):
        return _run(given)


def _run(given: Sequence[str]) -> int:
    try:
        command_line = shlex.join(["simhw", *given])
        known = argparse.Namespace(command_line=command_line, json=False, own_document=False, parser=parser)
        arguments = parser().parse_args(given, known)
        with as_json(command_line) if arguments.json and not arguments.own_document else nullcontext():
            result: int = arguments.execute(arguments)
    except SimhwError as error:
        print(f"simhw: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"simhw: interrupted; {stop or 'nothing was written'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe (head, less) has left: not an error of ours, and nothing more can be said to it.
        sys.stderr.close()
        return 0
    return result
