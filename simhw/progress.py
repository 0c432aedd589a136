"""A progress bar on a terminal, silence elsewhere."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Pass ``items`` on, with a bar on standard error that vanishes at the end; no bar where that is not a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as track_on_terminal

    yield from track_on_terminal(items, description, total, console=Console(stderr=True), transient=True)
