"""What simhw tells a user who can do something about it: one line, no traceback, exit code 2 from the CLI."""

import reprlib
from collections.abc import Sequence

LONGEST_MESSAGE = 390
"""Characters of a message: a line of at most 400 with the program's name.  What it quotes may come from a stranger's
file.
"""
_KEPT_END = 130

_quoted = reprlib.Repr()
_quoted.maxstring = _quoted.maxother = _quoted.maxlong = 80


class SimhwError(Exception):
    """Base of every error that a user's input can cause; its text is one line that says what, where and what to do."""

    def __str__(self) -> str:
        text = " ".join(super().__str__().split())
        if len(text) <= LONGEST_MESSAGE:
            return text
        # The file and the problem stand at the beginning, what to do at the end.
        return f"{text[: LONGEST_MESSAGE - _KEPT_END - 5]} ... {text[-_KEPT_END:]}"


def reason(error: Exception) -> str:
    """Why the system could not do something, without the file's name and the number that it puts around."""
    return str(getattr(error, "strerror", None) or error)


def quoted(value: object) -> str:
    """A value of a user or a file as an error may quote it: at most some 80 characters, printable ones alone."""
    if isinstance(value, int) and value.bit_length() > 256:  # which Python may refuse to write
        return f"an integer of {value.bit_length():,} bits"
    return (
        ascii(value) if isinstance(value, str) and len(value) <= 80 and not value.isprintable() else _quoted.repr(value)
    )


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names with commas between; of more than so many the first ones, and how many there are besides."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


class TraceError(SimhwError):
    """A trace file or its contents cannot be used."""


class ShapeError(SimhwError, ValueError):
    """Arrays whose shapes or types do not fit each other or the geometry of their layer."""


class MachineError(SimhwError):
    """A machine file, an override or a combination of switches cannot be used."""


class ResultsError(SimhwError):
    """A saved result cannot be used."""


class CaptureError(SimhwError):
    """A training step cannot be captured faithfully."""


class WorkloadError(SimhwError):
    """A workload's data or options cannot be used."""


class CheckError(SimhwError):
    """A result differs from its replay, so one of the two is wrong: a bug of simhw, not of the input."""
