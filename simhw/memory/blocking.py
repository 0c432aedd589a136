"""Blocking: an order of an operation's loops, outermost first, and how many blocks each is cut into.

Copies are always outermost: they share nothing.  What a blocking costs is told by `simhw.memory.traffic`; the one that
costs least is found by `simhw.memory.search`.
"""

from dataclasses import dataclass
from math import prod

from simhw.memory.space import DIMS, Dim


@dataclass(frozen=True)
class Blocking:
    """Loops, outermost first, and the number of blocks of each.

    Attributes
    ----------
    order : tuple of str
        "g" and then "p", "c", "o" in any order.
    blocks : tuple of int
        In the order of `order`.
    """

    order: tuple[Dim, ...]
    blocks: tuple[int, ...]

    def __str__(self) -> str:
        return f"{''.join(self.order)}:{'x'.join(map(str, self.blocks))}"

    @property
    def steps(self) -> int:
        """Blocks of all loops together: what the tiles work on between two exchanges of blocks."""
        return prod(self.blocks)

    def count(self, dim: Dim) -> int:
        """Blocks of one loop."""
        return self.blocks[self.order.index(dim)]


def parse_blocking(text: str) -> Blocking | None:
    """A blocking as a machine file writes it, ``gpoc:1x4x2x1``; None for ``auto``.

    Raises
    ------
    ValueError
        The text is neither.
    """
    if text == "auto":
        return None
    order, _, counts = text.partition(":")
    parts = counts.split("x")
    if (
        sorted(order) != sorted(DIMS)
        or order[0] != "g"
        or len(parts) != len(DIMS)
        or not all(part.isdecimal() and int(part) > 0 for part in parts)
    ):
        raise ValueError(
            f"blocking {text!r} is neither auto nor loops and counts, such as gpoc:1x4x2x1: g (copies) first, then p "
            "(positions), "
            "c (input channels) and o (output channels), outermost first, each with the number of blocks it is cut into"
        )
    return Blocking(tuple(order), tuple(int(part) for part in parts))  # type: ignore[arg-type]  # letters were checked
