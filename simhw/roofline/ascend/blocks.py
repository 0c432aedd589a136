"""How the cores share a product, and the blocks in which each computes its part.

The result is split over images (or groups), rows and columns; the gradient of weights also over its reduction.  A core
computes blocks of m0 by n0 fractals: L0C holds the accumulators of two (one fills while one drains), L0A and L0B two
slices each of the operands, L1 one operand's rows or columns, as many as fit its half, while the other streams through
the other half.  Few shapes of blocks are worth trying, so all are, and the fastest is taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from simhw.roofline.ascend.hardware import AscendHardware
from simhw.roofline.ascend.layout import CubeProduct, up
from simhw.roofline.numbers import BYTES, FORMATS

COPIES = 2  # of every buffer: one is filled while the other is used


@dataclass(frozen=True)
class CoreShare:
    """The largest part that one core has: `units` products of (m, k) by (k, n) fractals, and how the cores
    are split.
    """

    units: int
    m: int
    n: int
    k: int
    split: tuple[int, int, int, int]


@dataclass(frozen=True)
class CubeBlock:
    """Fractals of the result computed at a time."""

    m: int
    n: int


def shares(product: CubeProduct, cores: int) -> Iterator[CoreShare]:
    """Every split of the cores by powers of two over (units, rows, columns, reduction), none cut finer than
    a fractal.
    """
    units = product.groups if product.accumulates else product.groups * product.batch
    depth = product.batch * product.k if product.accumulates else product.k
    for over_n in _powers(min(cores, product.n)):
        for over_m in _powers(min(cores // over_n, product.m)):
            left = cores // (over_n * over_m)
            over_units = min(left, units)
            over_k = min(left // over_units, depth) if product.accumulates else 1
            split = (over_units, over_m, over_n, over_k)
            yield CoreShare(
                up(units, over_units), up(product.m, over_m), up(product.n, over_n), up(depth, over_k), split
            )


def blocks(share: CoreShare, product: CubeProduct, hardware: AscendHardware) -> Iterator[CubeBlock]:
    """Shapes whose accumulators and operand slices fit the buffers twice, none larger than the share."""
    accumulators = hardware.l0c_bytes // (COPIES * hardware.cube_rows**2 * FORMATS[product.number].accumulator_bytes)
    slice_bytes = COPIES * fractal_bytes(product, hardware)
    tall, wide = hardware.l0a_bytes // slice_bytes, hardware.l0b_bytes // slice_bytes
    for n in _powers(min(wide, share.n, accumulators)):
        yield CubeBlock(min(tall, share.m, accumulators // n), n)
    if share.n <= min(wide, accumulators):
        yield CubeBlock(min(tall, share.m, accumulators // share.n), share.n)


def fractal_bytes(product: CubeProduct, hardware: AscendHardware) -> int:
    """Bytes of a fractal of an operand."""
    return hardware.cube_rows * hardware.cube_depth[product.number] * BYTES[product.number]


def _powers(limit: int) -> Iterator[int]:
    power = 1
    while power <= limit:
        yield power
        power *= 2


def l0_fractals(share: CoreShare, block: CubeBlock, product: CubeProduct, hardware: AscendHardware) -> tuple[int, int]:
    """Fractals loaded into L0A and L0B: one operand may stay while the other's blocks pass, if its whole reduction
    fits.
    """
    half = hardware.l0a_bytes // (COPIES * fractal_bytes(product, hardware))
    left, right = share.units * share.m * share.k, share.units * share.n * share.k
    left_passes, right_passes = up(share.n, block.n), up(share.m, block.m)
    if block.n * share.k <= half and not product.accumulates:
        return left * left_passes, right
    if block.m * share.k <= half:
        return left, right * right_passes
    return left * left_passes, right * right_passes


def l1_bytes(share: CoreShare, block: CubeBlock, product: CubeProduct, hardware: AscendHardware) -> tuple[float, float]:
    """Bytes of the left and right operand that a core reads into L1: whichever operand stays, the other passes again
    and again.
    """
    units = product.groups if product.accumulates else product.groups * product.batch
    reduction = share.k / (product.batch * product.k if product.accumulates else product.k)
    row = product.a_bytes / (units * product.m) * reduction
    column = product.b_bytes / (product.groups * product.n) * reduction
    images = 1 if product.accumulates else min(share.units, product.batch)  # which have the right operand in common
    own_groups = up(share.units, images)
    left = share.units * share.m * row
    right = own_groups * share.n * column
    rows = share.m * images
    half = hardware.l1_bytes // COPIES
    choices = [(left * up(share.n, block.n), right * up(rows, block.m))]
    columns_kept, rows_kept = int(half // column), int(half // row)
    if columns_kept >= block.n:
        choices.append((left * up(share.n, columns_kept), right))
    if rows_kept >= block.m:
        choices.append((left, right * up(rows, rows_kept)))
    return min(choices, key=sum)
