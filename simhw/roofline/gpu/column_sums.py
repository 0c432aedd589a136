"""Sums over the rows of a matrix, as PyTorch's reduction kernel lays them out: the gradient of a bias.

A thread sums a few neighbouring columns over part of the rows.  A block is at most 32 threads wide; the rest of it
shares the rows.  Where a thread would still have many rows, several blocks share them, and the last of them adds
up what the others left in memory: with few columns and very many rows that takes longer than all else.  Source: PyTorch
2, aten/src/ATen/native/cuda/Reduce.cuh, `setReduceConfig` (recalled).
"""

from dataclasses import dataclass
from math import ceil

from simhw.machine.described import Section
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.quantities import Rate, Seconds

WARP = 32
MOST_THREADS = 512
THREADS_PER_SM = 2048
LEAST_ROWS, MOST_ROWS = 16, 256
"""Rows of a thread: fewer are not worth another block, with more there is always one."""
SHARED_FROM = 16
"""A block's threads share the rows where each gets so many at least."""


class ColumnSums(Section):
    """Costs of the kernel.

    Attributes
    ----------
    start_s : float
        Of a block, its threads' sum included.
    shared_s : float
        More, where several blocks share the rows: they meet in memory.
    thread_row_s : float
        Of a thread for each of its rows.
    partial_s : float
        Of the last block's threads for each partial sum that they read.
    loads_per_s : float
        Loads of all multiprocessors, each of a few neighbouring columns.
    """

    start_s: Seconds
    shared_s: Seconds
    thread_row_s: Seconds
    partial_s: Seconds
    loads_per_s: Rate


@dataclass(frozen=True)
class SumLayout:
    """How the rows of a matrix are shared.

    Attributes
    ----------
    vector : int
        Neighbouring columns that a load takes.
    thread_rows : int
        Rows that a thread sums one after another.
    blocks : int
        Blocks that share the rows of the same columns.
    partials : int
        Partial sums that a thread of the last of them reads; 0 where there is one block.
    """

    vector: int
    thread_rows: int
    blocks: int
    partials: int


@dataclass(frozen=True)
class SumTimes:
    """Seconds of the kernel, without its launch.

    Attributes
    ----------
    fixed_s : float
        To begin, and to meet in memory.
    adding_s : float
        To add up, during which data move.
    """

    fixed_s: float
    adding_s: float


def sum_layout(columns: int, rows: int, hardware: GpuHardware) -> SumLayout:
    """The layout for the sums of `columns` columns over `rows` rows."""
    vector = 4 if columns % 4 == 0 else 2 if columns % 2 == 0 else 1
    most = MOST_THREADS // vector
    across = columns // vector
    width = min(_power_of_two(across), WARP)
    height = min(_power_of_two(rows), most // width)
    width = min(_power_of_two(across), most // height)
    each, blocks, partials = rows, 1, 0
    if rows >= height * SHARED_FROM or rows >= MOST_ROWS:
        each = ceil(rows / height)
        grid = ceil(across / width)
        target = hardware.sms * (THREADS_PER_SM // (width * height))
        if each >= MOST_ROWS and grid <= target:
            blocks = max(min(ceil(target / grid), ceil(each / LEAST_ROWS)), ceil(each / MOST_ROWS))
            each = ceil(each / blocks)
            partials = ceil(blocks / height) if blocks > 1 else 0
    return SumLayout(vector, each, blocks, partials)


def column_sums_s(columns: int, rows: int, costs: ColumnSums, hardware: GpuHardware) -> SumTimes:
    """Seconds of the kernel."""
    layout = sum_layout(columns, rows, hardware)
    meeting_s = costs.shared_s + layout.partials * costs.partial_s if layout.blocks > 1 else 0.0
    loads = columns * rows / layout.vector
    return SumTimes(costs.start_s + meeting_s, max(layout.thread_rows * costs.thread_row_s, loads / costs.loads_per_s))


def _power_of_two(value: int) -> int:
    """The largest that is not above."""
    return 1 << (max(value, 1).bit_length() - 1)
