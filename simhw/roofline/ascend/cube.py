"""Products on the cubes: fractals of 16 x 16 x 16, fed through L1 and L0, drained through the unified buffer.

All stages run at the same time on different blocks, so the slowest decides.  The load unit unfolds a convolution's input
on its way from L1 to L0A, so that way binds where there are few columns to use a row for.
"""

from simhw.roofline.ascend.blocks import ACCUMULATOR_BYTES, Block, Share, blocks, fractal_bytes, l0_fractals, l1_bytes, shares
from simhw.roofline.ascend.hardware import Achieved, Hardware
from simhw.roofline.ascend.layout import Product
from simhw.roofline.operators import BYTES, Operator
from simhw.roofline.prediction import Limit, Prediction


def predict_product(operator: Operator, product: Product, hardware: Hardware, achieved: Achieved) -> Prediction:
    """The fastest split and block of a product."""
    best: tuple[tuple[float, float], Share, Block, dict[Limit, float], float] | None = None
    for share in shares(product, hardware.cores):
        for block in blocks(share, product, hardware):
            times, dram_bytes = _times(share, block, product, hardware, achieved)
            cost = max(times.values()), sum(times.values())
            if best is None or cost < best[0]:
                best = cost, share, block, times, dram_bytes
    assert best is not None  # a split over one core always exists
    (slowest, _), share, block, times, dram_bytes = best
    rows = hardware.cube_rows
    images, over_m, over_n, over_k = share.split
    mapping = f"{product.padding}; cores {images} images x {over_m} rows x {over_n} columns"
    mapping += f" x {over_k} of the reduction" if over_k > 1 else ""
    mapping += f"; blocks {block.m * rows} x {block.n * rows}"
    return Prediction(
        operator=operator,
        seconds=achieved.operator_s + slowest,
        times_s={**times, "launch": achieved.operator_s},
        mapping=mapping,
        peak_flops_per_s=hardware.matrix_flops_per_s(product.number),
        dram_bytes=dram_bytes,
    )


def _times(share: Share, block: Block, product: Product, hardware: Hardware, achieved: Achieved) -> tuple[dict[Limit, float], float]:
    """Seconds of every resource, and off-chip bytes."""
    results = share.units * share.m * share.n
    cube = results * share.k * hardware.cube_cycles(product.number) / achieved.cube
    left, right = l0_fractals(share, block, product, hardware)
    fractal = fractal_bytes(product, hardware)
    out_width = ACCUMULATOR_BYTES if product.accumulates else BYTES[product.number]
    values = results * hardware.cube_rows**2
    buffer = max(
        left * fractal / hardware.l1_to_l0a,
        right * fractal / hardware.l1_to_l0b,
        values * ACCUMULATOR_BYTES / hardware.l0c_to_ub,
        values * out_width / min(hardware.ub_to_l2, hardware.l2_write),
    )
    read_a, read_b = l1_bytes(share, block, product, hardware)
    dram_bytes = off_chip_bytes(product, hardware)
    times: dict[Limit, float] = {
        "matrix": cube / hardware.clock_hz,
        "buffer": buffer / hardware.clock_hz,
        "l2": (read_a + read_b) / hardware.l2_read / hardware.clock_hz,
        "dram": dram_bytes / (hardware.dram_bytes_per_s * achieved.dram),
    }
    return times, dram_bytes


def off_chip_bytes(product: Product, hardware: Hardware) -> float:
    """Weights, and what the L2 does not hold of the activations.

    It holds its size of what passes from one operator to the next.  Of a gradient of weights, the layer's input (the
    right operand) was written in the forward pass, too long ago to be there.
    """
    passing = product.a_bytes + product.out_bytes
    distant = product.b_bytes
    if not product.weights and not product.accumulates:
        passing, distant = passing + distant, 0.0
    return max(0.0, passing - hardware.l2_bytes) + distant
