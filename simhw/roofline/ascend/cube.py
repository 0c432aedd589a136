"""Products on the cubes: fractals of 16 x 16 x 16, fed through L1 and L0, drained through the unified buffer.

Three stages follow each other for every block: reading operands from memory or L2 into L1; computing, where the loads
into L0 run beside the cube; and writing back, from L0C to the unified buffer and on to the L2.  Double buffers let
stages of neighbouring blocks overlap, but the library's schedules hide little: the share `exposed` adds to the longest.
The load unit unfolds a convolution's input on its way from L1 to L0A, so that way binds where there are few columns to
use a row for.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import inf

from simhw.roofline.ascend.blocks import (
    CoreShare,
    CubeBlock,
    blocks,
    fractal_bytes,
    l0_fractals,
    l1_bytes,
    shares,
)
from simhw.roofline.ascend.hardware import Achieved, AscendHardware
from simhw.roofline.ascend.layout import CubeProduct
from simhw.roofline.numbers import FORMATS
from simhw.roofline.operators import Operator
from simhw.roofline.prediction import Limit, Prediction


@dataclass(frozen=True)
class Schedule:
    """A split of the cores and a block, and the seconds that each resource needs."""

    share: CoreShare
    block: CubeBlock
    times: dict[Limit, float]
    stages: tuple[float, float, float]


def predict_product(
    operator: Operator, product: CubeProduct, hardware: AscendHardware, achieved: Achieved
) -> Prediction:
    """How long a product takes by its best plan."""
    dram_bytes = off_chip_bytes(product, hardware)
    best = best_plan(product, hardware, achieved)
    return Prediction(
        operator=operator,
        seconds=achieved.operator_s + achieved.overlapped(*best.stages),
        times_s={**best.times, "launch": achieved.operator_s},
        mapping=_mapping(best, product, hardware),
        peak_flops_per_s=hardware.matrix_flops_per_s(product.number),
        dram_bytes=dram_bytes,
    )


@lru_cache(maxsize=1 << 14)
def best_plan(product: CubeProduct, hardware: AscendHardware, achieved: Achieved) -> Schedule:
    """The plan with the shortest longest stage; of equals, that with the least work beside it, and of those the first.

    Remembered: sizes that pad to the same fractals, such as neighbouring ranks, are one product.
    """
    dram_s = off_chip_bytes(product, hardware) / (hardware.dram_bytes_per_s * achieved.dram)
    best: Schedule | None = None
    least = inf, inf
    for share in shares(product, hardware.cores):
        cube, drain = _cube_cycles(share, product, hardware, achieved), _drain_cycles(share, product, hardware)
        # No block makes a stage shorter than these.
        if max(dram_s, cube / hardware.clock_hz, drain / hardware.clock_hz) > least[0]:
            continue
        for block in blocks(share, product, hardware):
            plan = _plan(share, block, product, hardware, cube, drain, dram_s)
            order = max(plan.stages), sum(plan.stages)
            if order < least:
                best, least = plan, order
    assert best is not None, "one core and one fractal are always a plan"
    return best


def _mapping(plan: Schedule, product: CubeProduct, hardware: AscendHardware) -> str:
    units, rows, columns, reduction = plan.share.split
    split = f"cores {units} units x {rows} rows x {columns} columns" + (
        f" x {reduction} of the reduction" if reduction > 1 else ""
    )
    return (
        f"{product.padding}; {split}; blocks {plan.block.m * hardware.cube_rows} x {plan.block.n * hardware.cube_rows}"
    )


def _cube_cycles(share: CoreShare, product: CubeProduct, hardware: AscendHardware, achieved: Achieved) -> float:
    """Cycles of the cube for a core's part."""
    results = share.units * share.m * share.n
    return results * share.k * hardware.cube_cycles(product.number) / achieved.cube


def _drain_cycles(share: CoreShare, product: CubeProduct, hardware: AscendHardware) -> float:
    """Cycles in which a core's results leave it."""
    values = share.units * share.m * share.n * hardware.cube_rows**2
    form = FORMATS[product.number]
    out_width = form.accumulator_bytes if product.accumulates else form.bytes
    return values * form.accumulator_bytes / hardware.l0c_to_ub + values * out_width / min(
        hardware.ub_to_l2, hardware.l2_write
    )


def _plan(
    share: CoreShare,
    block: CubeBlock,
    product: CubeProduct,
    hardware: AscendHardware,
    cube: float,
    drain: float,
    dram_s: float,
) -> Schedule:
    """One plan; `cube` and `drain` are the cycles of its share, whatever the block."""
    left, right = l0_fractals(share, block, product, hardware)
    fractal = fractal_bytes(product, hardware)
    loads = max(left * fractal / hardware.l1_to_l0a, right * fractal / hardware.l1_to_l0b)
    l2_s = sum(l1_bytes(share, block, product, hardware)) / hardware.l2_read / hardware.clock_hz
    times: dict[Limit, float] = {
        "matrix": cube / hardware.clock_hz,
        "buffer": max(loads, drain) / hardware.clock_hz,
        "l2": l2_s,
        "dram": dram_s,
    }
    return Schedule(
        share, block, times, (max(l2_s, dram_s), max(cube, loads) / hardware.clock_hz, drain / hardware.clock_hz)
    )


def off_chip_bytes(product: CubeProduct, hardware: AscendHardware) -> float:
    """Weights, and what the L2 does not hold of the activations.

    It holds its size of what passes from one operator to the next.  Of a gradient of weights, the layer's input (the
    right operand) was written in the forward pass, too long ago to be there.
    """
    passing = product.a_bytes + product.out_bytes
    distant = product.b_bytes
    if not product.weights and not product.accumulates:
        passing, distant = passing + distant, 0.0
    return max(0.0, passing - hardware.l2_bytes) + distant
