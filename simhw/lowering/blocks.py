"""The cells that a sampled trace draws from a family, by their size."""

from dataclasses import dataclass

from simhw.lowering.family import Family, SampledBlock
from simhw.trace.layer import BLOCK_ROWS


@dataclass(frozen=True)
class BlockClass:
    """The cells of a family that have one size: where their rows of X and of Y start, and how many they are."""

    products: int
    x_starts: range
    y_starts: range
    x_rows: int
    y_rows: int

    @property
    def cells(self) -> int:
        return self.products * len(self.x_starts) * len(self.y_starts)

    def place(self, cell: int) -> tuple[int, int, int]:
        """Product and first rows of one cell, numbered from 0 to `cells` - 1."""
        rest, y = divmod(cell, len(self.y_starts))
        product, x = divmod(rest, len(self.x_starts))
        return product, self.x_starts[x], self.y_starts[y]

    def holds(self, block: SampledBlock) -> bool:
        """True where the block is one of these."""
        return block.x_start in self.x_starts and block.y_start in self.y_starts


def block_classes(family: Family) -> list[BlockClass]:
    """A family's cells by size: whole ones, and those at either edge where 16 does not divide its rows."""
    return [BlockClass(family.count, xs, ys, x, y) for xs, x in _starts(family.m) for ys, y in _starts(family.n)]


def _starts(rows: int) -> list[tuple[range, int]]:
    """First rows of the whole blocks, then of the block that is left, and how many rows they have."""
    whole = rows // BLOCK_ROWS * BLOCK_ROWS
    parts = [(range(0, whole, BLOCK_ROWS), BLOCK_ROWS), (range(whole, rows, BLOCK_ROWS), rows - whole)]
    return [(starts, size) for starts, size in parts if starts]
