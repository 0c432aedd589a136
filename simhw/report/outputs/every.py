"""All the files that `simhw run` and `simhw compare` write."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from simhw.files.writing import check_target
from simhw.report.outputs.output import Finished, Output
from simhw.report.outputs.picture import PICTURE
from simhw.report.outputs.requests import REQUESTS
from simhw.report.outputs.saved import SAVED
from simhw.report.outputs.table import TABLE
from simhw.report.outputs.tidy import TIDY
from simhw.report.outputs.timeline import TIMELINE
from simhw.report.outputs.web_page import WEB_PAGE

if TYPE_CHECKING:
    from simhw.machine.machine import Machine
    from simhw.trace.trace import Trace

OUTPUTS: tuple[Output, ...] = (TABLE, TIDY, PICTURE, TIMELINE, REQUESTS, SAVED, WEB_PAGE)


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the options of every file that a command writes."""
    for output in _of(command):
        parser.add_argument(output.option, metavar="FILE", help=output.help)
        output.add_options(parser)


def check_targets(arguments: argparse.Namespace) -> None:
    """Find out whether the files could be written; quick, and before anything is read.

    Raises
    ------
    SimhwError
        One could not.
    """
    for output in _of(arguments.command):
        if (path := output.path(arguments)) is not None:
            check_target(path, output.suffixes)


def check(arguments: argparse.Namespace, trace: "Trace", machines: "list[Machine]") -> None:
    """Check the options against what is to be simulated, before it is.

    Raises
    ------
    SimhwError
        They do not fit.
    """
    for output in _of(arguments.command):
        output.check(arguments, trace, machines)


def write(finished: Finished) -> list[str]:
    """Write every file that is asked for, and give a line on each.

    Call it before anything is printed: the reader of a pipe may leave early, and the files are to be written all the
    same.
    """
    named = [(output, output.path(finished.arguments)) for output in _of(finished.arguments.command)]
    return [output.write(path, finished) for output, path in named if path is not None]


def _of(command: str) -> Iterator[Output]:
    return (output for output in OUTPUTS if command in output.commands)
