"""A progress bar, or what goes on, on a terminal; everywhere a line on work that takes minutes, before it does."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import mean
from typing import TypeVar

Item = TypeVar("Item")

LONG_SECONDS = 120.0
"""From here on work says how long it takes before it starts."""
_SETTLED_SECONDS, _SETTLED_STEPS = 5.0, 5
"""So long, and so many steps, are looked at before all are told; steps that take `_PATIENCE_SECONDS` together are
enough, however few.
"""
_PATIENCE_SECONDS = 30.0


def track(items: Iterable[Item], description: str, total: int, announced: bool = False) -> Iterator[Item]:
    """Pass ``items`` on, with a bar on standard error that vanishes at the end; no bar where that is not a terminal.

    Where the first items show that all will take long, a line says so, unless that was `announced` before.
    """
    if not announced:
        items = _paced(items, Pace(f"{description} ({total:,} parts)", total, mean))
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as track_on_terminal

    yield from track_on_terminal(items, description, total, console=Console(stderr=True), transient=True)


def _paced(items: Iterable[Item], pace: "Pace") -> Iterator[Item]:
    for item in items:
        yield item
        pace.step()


@contextmanager
def working(on: str) -> Iterator[None]:
    """Say on a terminal what goes on in seconds of work without parts to count; the line vanishes at the end."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(on)):
        yield


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
    """Announces a long row of equal steps, once, by the time of its first ones.

    Parameters
    ----------
    what : str
        Of the line that is printed.
    total : int
        Steps; the first is the one that `step` is called after first.
    average : callable
        Of the steps' times: the median where one of them may be another kind of step, the mean where several end
        together.
    clock : callable
        Seconds.
    """

    def __init__(
        self,
        what: str,
        total: int,
        average: Callable[[Sequence[float]], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total, self._average, self._clock = what, total, average, clock
        self._last: float | None = None
        self._seconds: list[float] = []
        self._told = False

    def step(self) -> None:
        """Count a step that is done."""
        now = self._clock()
        # The first step loads and compiles: the time begins at its end.
        if self._last is not None and not self._told:
            self._seconds.append(now - self._last)
            looked_at = sum(self._seconds)
            if looked_at >= (_SETTLED_SECONDS if len(self._seconds) >= _SETTLED_STEPS else _PATIENCE_SECONDS):
                self._told = True
                announce(self._what, self._average(self._seconds) * self._total)
        self._last = now
