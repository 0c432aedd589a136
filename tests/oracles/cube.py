"""Every plan of a product on an Ascend's cubes, timed one by one: what leaves none out and remembers nothing."""

from collections.abc import Iterator

from simhw.roofline.ascend.blocks import CoreShare, CubeBlock, blocks, fractal_bytes, l0_fractals, l1_bytes, shares
from simhw.roofline.ascend.cube import off_chip_bytes
from simhw.roofline.ascend.hardware import Achieved, AscendHardware
from simhw.roofline.ascend.layout import CubeProduct
from simhw.roofline.numbers import FORMATS

Stages = tuple[float, float, float]
Plan = tuple[Stages, CoreShare, CubeBlock]


def fastest_plan(product: CubeProduct, hardware: AscendHardware, achieved: Achieved) -> Plan:
    """Seconds of reading, computing and writing back of the plan with the shortest longest stage; of equals, that
    with the least in all, and of those the first.
    """
    return min(plans(product, hardware, achieved), key=lambda plan: (max(plan[0]), sum(plan[0])))


def plans(product: CubeProduct, hardware: AscendHardware, achieved: Achieved) -> Iterator[Plan]:
    """All of them."""
    for share in shares(product, hardware.cores):
        for block in blocks(share, product, hardware):
            yield _stages(share, block, product, hardware, achieved), share, block


def _stages(
    share: CoreShare, block: CubeBlock, product: CubeProduct, hardware: AscendHardware, achieved: Achieved
) -> Stages:
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
    l2_s = sum(l1_bytes(share, block, product, hardware)) / hardware.l2_read / hardware.clock_hz
    dram_s = off_chip_bytes(product, hardware) / (hardware.dram_bytes_per_s * achieved.dram)
    return max(l2_s, dram_s), max(cube, loads) / hardware.clock_hz, drain / hardware.clock_hz
