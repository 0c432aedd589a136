"""A progress bar on a terminal; everywhere a line on work that takes minutes, before it does."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

LONG_SECONDS = 120.0
"""From here on work says how long it takes before it starts."""
_SETTLED_SECONDS = 2.0
"""The first steps pay for what is made once; from here on their time is that of the others."""


def track(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Pass ``items`` on, with a bar on standard error that vanishes at the end; no bar where that is not a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as track_on_terminal

    yield from track_on_terminal(items, description, total, console=Console(stderr=True), transient=True)


def tell(text: str) -> None:
    """Say something beside the results: a line on standard error, terminal or not."""
    print(f"simhw: {text}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """A time as people say it: seconds, minutes or hours in two digits."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 100 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} seconds"


def announce(what: str, seconds: float, known: str = "about") -> None:
    """Say that work will take long, before it starts; work of less than `LONG_SECONDS` starts in silence.

    Parameters
    ----------
    what : str
        Such as "--check".
    seconds : float
        Estimated.
    known : str
        How well: "about", "at most".
    """
    if seconds >= LONG_SECONDS:
        tell(f"{what} will take {known} {duration(seconds)}")


class Pace:
    """Announces a long row of equal steps by the time that its first ones took, once.

    Parameters
    ----------
    what : str
        Of the line that is printed.
    total : int
        Steps; the first is the one that `step` is called after first.
    clock : callable
        Seconds.
    """

    def __init__(self, what: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._begun: float | None = None
        self._done = 0
        self._told = False

    def step(self) -> None:
        """Count a step that is done."""
        now = self._clock()
        if self._begun is None:
            # The first step loads and compiles: it is not counted, its end is where the time begins.
            self._begun = now
            return
        self._done += 1
        if not self._told and (elapsed := now - self._begun) >= _SETTLED_SECONDS:
            self._told = True
            announce(self._what, elapsed / self._done * self._total)
