"""A product as thread blocks: each computes a tile of the output, several share a multiprocessor, and all run in waves.

A block walks through the reduction in steps; per step it stages a column of one operand and a row of the other in
shared memory and multiplies them.  Where the tiles do not fill the multiprocessors a library splits the reduction, too.
"""

from dataclasses import dataclass
from math import ceil

from simhw.machine.described import Section
from simhw.roofline.quantities import Count


class GemmTile(Section):
    """A kernel of the library.

    Attributes
    ----------
    n, m : int
        Contiguous columns and rows of the output that one block computes.
    threads : int
        Of a block.
    resident : int
        Blocks that a multiprocessor holds, as registers and shared memory allow.
    slices : int
        Parts of the reduction that groups of a block's threads compute side by side.
    few : bool
        The library takes it only where its blocks are no more than the multiprocessors.
    """

    n: Count
    m: Count
    threads: Count
    resident: Count
    slices: Count = 1
    few: bool = False

    @property
    def name(self) -> str:
        """As the library's kernels are called: columns first."""
        return f"{self.n}x{self.m}" + (f"_sliced1x{self.slices}" if self.slices > 1 else "")


@dataclass(frozen=True)
class Grid:
    """The blocks of a product.

    Attributes
    ----------
    across, down : int
        Tiles along the columns and rows of the output.
    split, batch : int
        Parts of the reduction, and independent products.
    depth : int
        Reduction of one block, in whole steps.
    """

    across: int
    down: int
    split: int
    batch: int
    depth: int

    @property
    def blocks(self) -> int:
        """Thread blocks in all."""
        return self.across * self.down * self.split * self.batch


def grid_of(m: int, n: int, k: int, batch: int, tile: GemmTile, split: int, step: int) -> Grid:
    """Cover an (m, n) output with tiles and its reduction of k with `split` parts of whole steps."""
    depth = ceil(ceil(k / split) / step) * step
    return Grid(ceil(n / tile.n), ceil(m / tile.m), split, batch, depth)


@dataclass(frozen=True)
class Waves:
    """How blocks share the multiprocessors.

    Attributes
    ----------
    full : int
        Waves in which every multiprocessor holds as many blocks as it can.
    last : int
        Blocks of the busiest multiprocessor in what remains.
    resident : int
        Blocks of a full wave on one multiprocessor.
    """

    full: int
    last: int
    resident: int

    @property
    def queued(self) -> int:
        """Blocks of the busiest multiprocessor, one wave after the other."""
        return self.full * self.resident + self.last

    @property
    def count(self) -> int:
        """Waves in all."""
        return self.full + (self.last > 0)


def waves(blocks: int, resident: int, sms: int) -> Waves:
    """Blocks over multiprocessors; a multiprocessor takes the next block when one ends."""
    full, rest = divmod(blocks, sms * resident)
    return Waves(full, ceil(rest / sms), resident)


def splits(tiles: int, k: int, resident: int, sms: int, shortest: int, most: int) -> list[int]:
    """Parts into which a library may split a reduction: none, or as many as fill one or two waves.

    Parameters
    ----------
    tiles : int
        Blocks without a split.
    shortest : int
        Reduction that a block keeps at least.
    most : int
        Parts at most.
    """
    longest = min(most, k // shortest)
    wanted = {max(1, sms * held // tiles) for held in {1, 2, resident, 2 * resident}}
    return sorted({1} | {min(parts, longest) for parts in wanted if min(parts, longest) > 1})


def overlapped(first: float, second: float, overlap: float) -> float:
    """Two times that hide each other in part: never shorter than the longer, never longer than the sum."""
    longer, shorter = max(first, second), min(first, second)
    return float(longer * (1.0 + (shorter / longer) ** overlap) ** (1.0 / overlap)) if longer > 0.0 else 0.0
