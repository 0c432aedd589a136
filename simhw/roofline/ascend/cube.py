"""Products on the cubes: fractals of 16 x 16 x 16, fed through L1 and L0, drained through the unified buffer.

Three stages follow each other for every block: reading operands from memory or L2 into L1; computing, where the loads
into L0 run beside the cube; and writing back, from L0C to the unified buffer and on to the L2.  Double buffers let
stages of neighbouring blocks overlap, but the library's schedules hide little: the share `exposed` adds to the longest.
The load unit unfolds a convolution's input on its way from L1 to L0A, so that way binds where there are few columns to
use a row for.
"""

from dataclasses import dataclass

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
    """The plan with the shortest longest stage; of equals, that with the least work beside it."""
    dram_bytes = off_chip_bytes(product, hardware)
    plans = (
        _plan(share, block, product, hardware, achieved, dram_bytes)
        for share in shares(product, hardware.cores)
        for block in blocks(share, product, hardware)
    )
    best = min(plans, key=lambda plan: (max(plan.stages), sum(plan.stages)))
    return Prediction(
        operator=operator,
        seconds=achieved.operator_s + achieved.overlapped(*best.stages),
        times_s={**best.times, "launch": achieved.operator_s},
        mapping=_mapping(best, product, hardware),
        peak_flops_per_s=hardware.matrix_flops_per_s(product.number),
        dram_bytes=dram_bytes,
    )


def _mapping(plan: Schedule, product: CubeProduct, hardware: AscendHardware) -> str:
    units, rows, columns, reduction = plan.share.split
    split = f"cores {units} units x {rows} rows x {columns} columns" + (
        f" x {reduction} of the reduction" if reduction > 1 else ""
    )
    return (
        f"{product.padding}; {split}; blocks {plan.block.m * hardware.cube_rows} x {plan.block.n * hardware.cube_rows}"
    )


def _plan(
    share: CoreShare,
    block: CubeBlock,
    product: CubeProduct,
    hardware: AscendHardware,
    achieved: Achieved,
    dram_bytes: float,
) -> Schedule:
    results = share.units * share.m * share.n
    cube = results * share.k * hardware.cube_cycles(product.number) / achieved.cube
    left, right = l0_fractals(share, block, product, hardware)
    fractal = fractal_bytes(product, hardware)
    loads = max(left * fractal / hardware.l1_to_l0a, right * fractal / hardware.l1_to_l0b)
    values = results * hardware.cube_rows**2
    form = FORMATS[product.number]
    out_width = form.accumulator_bytes if product.accumulates else form.bytes
    drain = values * form.accumulator_bytes / hardware.l0c_to_ub + values * out_width / min(
        hardware.ub_to_l2, hardware.l2_write
    )
    l2 = sum(l1_bytes(share, block, product, hardware)) / hardware.l2_read / hardware.clock_hz
    dram = dram_bytes / (hardware.dram_bytes_per_s * achieved.dram)
    times: dict[Limit, float] = {
        "matrix": cube / hardware.clock_hz,
        "buffer": max(loads, drain) / hardware.clock_hz,
        "l2": l2,
        "dram": dram,
    }
    return Schedule(
        share, block, times, (max(l2, dram), max(cube, loads) / hardware.clock_hz, drain / hardware.clock_hz)
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
