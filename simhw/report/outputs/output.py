"""What a file is that `simhw run` or `simhw compare` writes: its option, its checks, and how it is written.

Modules that make one are imported for every command's help: what is heavy is imported when a file is written.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simhw.machine.machine import Machine
    from simhw.results.comparison import Comparison
    from simhw.results.step import Results
    from simhw.results.traces import TraceComparison
    from simhw.trace.trace import Trace


@dataclass(frozen=True)
class Finished:
    """A command that has simulated all that it was asked for.

    Attributes
    ----------
    arguments : Namespace
        The options, as the command's parser gave them; ``command`` is its name.
    trace : Trace
    results : list of Results
        One per machine; where there are several traces, one per trace and machine.
    whole : Results, Comparison or TraceComparison
        All of them together.
    """

    arguments: argparse.Namespace
    trace: "Trace"
    results: "list[Results]"
    whole: "Results | Comparison | TraceComparison"


def no_options(_: argparse.ArgumentParser) -> None:
    """Add nothing beside an output's own option."""


def no_check(_: argparse.Namespace, __: "Trace", ___: "list[Machine]") -> None:
    """Find nothing wrong."""


@dataclass(frozen=True)
class Output:
    """A file that a command writes beside what it prints.

    Attributes
    ----------
    option : str
        Such as "--plot"; it takes the file's name.
    suffixes : tuple of str
        What the file's name may end in, such as (".png", ".svg").
    help : str
        What is written, for the help of the command.
    write : callable
        Writes the file of that name and gives the line that says so.
    commands : tuple of str
        Which commands take the option.
    add_options : callable
        Adds options that say what the file shows.
    check : callable
        Called before anything is simulated, with options, trace and machines, whether the file is asked for or not;
        raises `SimhwError` where they do not fit.
    """

    option: str
    suffixes: tuple[str, ...]
    help: str
    write: Callable[[str, Finished], str]
    commands: tuple[str, ...] = ("run", "compare")
    add_options: Callable[[argparse.ArgumentParser], None] = no_options
    check: "Callable[[argparse.Namespace, Trace, list[Machine]], None]" = no_check

    def path(self, arguments: argparse.Namespace) -> str | None:
        """The file's name; None where it is not asked for, or the command does not take the option."""
        path: str | None = getattr(arguments, self.option.removeprefix("--").replace("-", "_"), None)
        return path
