"""Which measurements a fit may see.

Shapes are divided, not rows: what was measured of one shape (operations, numbers, layouts) goes to one half, so that no
score meets a shape that a fit has seen.  Shapes stand in a file in an order that has nothing to do with time, so the
halves are alike.
"""

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar


class Shaped(Protocol):
    """A measurement that knows its shape."""

    @property
    def shape(self) -> Hashable:
        """What all measurements of one kernel or network share."""


Row = TypeVar("Row", bound=Shaped)


def halves(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Rows to fit to, and rows to score on: shapes are numbered as they first appear, even ones are fitted."""
    order: dict[Hashable, int] = {}
    for row in rows:
        order.setdefault(row.shape, len(order))
    fitted = [row for row in rows if order[row.shape] % 2 == 0]
    scored = [row for row in rows if order[row.shape] % 2 == 1]
    return fitted, scored
