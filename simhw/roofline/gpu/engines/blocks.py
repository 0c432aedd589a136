"""Thread blocks of an engine: each multiplies a tile of the result, and the busiest multiprocessor decides."""

from functools import lru_cache
from math import ceil
from typing import NamedTuple

from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.implicit_gemm import LoweredProduct
from simhw.roofline.gpu.tiles import overlapped
from simhw.roofline.numbers import BYTES, Number


class Cut(NamedTuple):
    """Products cut into tiles: blocks in all, and their mean reduction."""

    rows: int
    columns: int
    blocks: int
    depth: float


class BlockRates(NamedTuple):
    """What a multiprocessor reaches.

    Attributes
    ----------
    share : float
        Of the peak arithmetic rate.
    staged_bytes_per_cycle : float
        Infinite where staging never binds.
    start_steps : float
        Beside the reduction, in steps of it at the peak.
    alone : float
        A lone block takes the time of so many that share a multiprocessor.
    """

    share: float
    staged_bytes_per_cycle: float
    start_steps: float
    alone: float = 1.0


class TimedBlocks(NamedTuple):
    """Seconds in all, of arithmetic (starts included) and of staging; what ran."""

    seconds: float
    matrix_s: float
    staging_s: float
    cut: Cut
    parts: int

    @property
    def mapping(self) -> str:
        """In words."""
        split = f", reduction split {self.parts} ways" if self.parts > 1 else ""
        return f"{self.cut.rows}x{self.cut.columns} tiles, {self.cut.blocks} blocks{split}"


@lru_cache(maxsize=1 << 15)
def cut(products: tuple[LoweredProduct, ...], rows: int, columns: int) -> Cut:
    """All products in tiles of rows x columns."""
    blocks = steps = 0
    for each in products:
        here = each.count * ceil(each.m / rows) * ceil(each.n / columns)
        blocks += here
        steps += here * each.k
    return Cut(rows, columns, max(blocks, 1), steps / max(blocks, 1))


def timed_blocks(
    tiles: Cut, parts: int, number: Number, rates: BlockRates, overlap: float, hardware: GpuHardware
) -> TimedBlocks:
    """Time of the blocks of a cut whose reduction is split into parts."""
    busiest = max(ceil(tiles.blocks * parts / hardware.sms), rates.alone)
    depth = tiles.depth / parts
    flops = 2.0 * tiles.rows * tiles.columns * busiest
    peak = hardware.clock_hz * hardware.matrix_flops_per_cycle[number]
    start_s = flops * rates.start_steps / peak
    matrix_s = flops * depth / (peak * rates.share)
    staged = BYTES[number] * (tiles.rows + tiles.columns) * busiest * depth
    staging_s = staged / (hardware.clock_hz * rates.staged_bytes_per_cycle)
    return TimedBlocks(
        overlapped(matrix_s, staging_s, overlap) + start_s, matrix_s + start_s, staging_s + start_s, tiles, parts
    )
