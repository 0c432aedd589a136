"""The command line: one module per command, each adding its parser and doing its heavy imports only when it runs."""

import argparse
import shlex
import sys
from collections.abc import Sequence

from simhw.cli import capture, compare, machine, reproduce, roofline, run, trace, workloads
from simhw.cli.encoding import spell_out_what_cannot_be_encoded
from simhw.cli.parser import Parser
from simhw.cli.terminal import printable
from simhw.errors import SimhwError
from simhw.version import __version__

COMMANDS = (run, compare, roofline, workloads, reproduce, capture, trace, machine)


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
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0, or 2 where the user's input cannot be used."""
    given = list(sys.argv[1:] if argv is None else argv)
    spell_out_what_cannot_be_encoded()
    try:
        arguments = parser().parse_args(given, argparse.Namespace(command_line=shlex.join(["simhw", *given])))
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
