"""Products of matrices on a GPU whose blocks stage operands beside the arithmetic (Ampere, Hopper).

Copies to shared memory run by themselves, several steps of the reduction ahead.  So a step takes the longer of its
multiplication and its staging, and no less than a step takes from start to end where nothing hides it.  Kernels that
stage little ahead do not hide that themselves: blocks that share a multiprocessor hide it for each other.  A block then
writes its tile.  Blocks queue at the multiprocessors; memory runs beside them.  A further kernel adds up a reduction
that was split.

The library has kernels of different kinds (`Family`), by how the operands lie in memory.
"""

from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from simhw.machine.described import Section
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.numbers import BYTES, Number
from simhw.roofline.operators import Gemm
from simhw.roofline.prediction import Limit, Prediction
from simhw.roofline.quantities import ByNumber, Count, Rate, Seconds, Share, every

Family = Literal["linear", "general", "thin", "even", "narrow"]
"""Kinds of kernels: of a linear layer's product and of any other one; of a linear layer's with few rows; and of
operands whose rows do not start at multiples of 16 bytes, as the hardware's copies want it: at multiples of 4 bytes,
and any.
"""
COPIED_BYTES, EVEN_BYTES = 16, 4
FEW_ROWS = 16
MOST_RESIDENT = 8
"""Blocks that share a multiprocessor, however small."""
SPLITS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64)
"""Parts of a reduction that are tried."""
Array = npt.NDArray[np.float64]


class SmallProducts(Section):
    """Products that the library gives to a chain of kernels of its own, one short step of the reduction after another.

    Attributes
    ----------
    outputs, reduction : int
        Values of the result, and of what is summed over, at most.
    call_s, step_s : float
        Of the chain, and of each value that is summed over.
    """

    outputs: Count
    reduction: Count
    call_s: Seconds
    step_s: Seconds

    def take(self, gemm: Gemm) -> bool:
        """Whether a product is one of them."""
        return gemm.batch == 1 and gemm.m * gemm.n <= self.outputs and gemm.k <= self.reduction


class PipelinedKernels(Section):
    """The library's kernels of one family.

    Attributes
    ----------
    tiles : list of str
        Columns and rows of the output that one block computes, as the kernels' names have them: ``128x64``.
    step : int
        Steps of the reduction that a block stages at a time.
    matrix_share : float
        Of the peak, where nothing but multiplication takes time.
    staged_bytes_per_cycle, stored_bytes_per_cycle : float
        Of one multiprocessor: operands to shared memory, and the tile to memory.
    step_cycles : float
        Of a step from start to end.
    step_overlap : float
        Exponent with which a step's work and its time from start to end add up: 1 is one after the other, as in kernels
        that stage little ahead.
    resident_outputs : int
        Outputs that a multiprocessor holds, of all blocks that share it; one block where its tile is larger.  These
        blocks take their steps from start to end side by side.
    launch_s : float
        Of a kernel, with its first operands and its end.
    l2_bytes_per_s : float
        Rate of all multiprocessors at which operands and output pass through the L2.
    overlap : float
        Exponent with which times of multiprocessors and memory add up: 1 is one after the other, infinity the longest
        alone.
    reduce_s : float
        A further kernel that adds the parts of a split reduction, beside its traffic.
    split_fill : float
        The library splits no further than until the blocks fill this share of the multiprocessors.
    shortest_part : int
        Reduction that a block keeps at least.
    small : SmallProducts, optional
    any_layout : bool
        Of a linear layer's: they serve every single product, however its operands lie.
    """

    tiles: list[Annotated[str, Field(pattern=r"^[1-9]\d{0,3}x[1-9]\d{0,3}$")]] = Field(min_length=1, max_length=500)
    step: Count
    matrix_share: Share
    staged_bytes_per_cycle: Rate
    stored_bytes_per_cycle: Rate
    step_cycles: Rate
    step_overlap: Annotated[float, Field(ge=1, le=20)] = 4.0
    resident_outputs: Count = 1
    launch_s: Seconds
    l2_bytes_per_s: Rate
    overlap: Annotated[float, Field(ge=1, le=20)]
    reduce_s: Seconds
    split_fill: Annotated[float, Field(gt=0, le=16)]
    shortest_part: Count
    small: SmallProducts | None = None
    any_layout: bool = False

    @cached_property
    def candidates(self) -> tuple[Array, Array, Array]:
        """Columns, rows and parts of every kernel that may be taken."""
        pairs = [tuple(map(int, tile.split("x"))) for tile in self.tiles]
        every_one = np.array([(n, m, parts) for n, m in pairs for parts in SPLITS], dtype=float)
        return every_one[:, 0], every_one[:, 1], every_one[:, 2]


class PipelinedGemmParameters(Section):
    """Constants for products.

    Attributes
    ----------
    kernels : dict of number to dict of family to PipelinedKernels
        Without an entry for narrow rows or for few, these have no kernels of their own.
    bias_s : float
        By how much a linear layer's product takes longer, as a bias is added; the family linear has it in its
        `launch_s`.
    dram_bytes_per_s : float
        Achieved off-chip rate; operands and output that fit the L2 together are taken to be there.
    host_s, host_batched_s : float
        Time of the framework to issue a linear layer's product, and a batched one.
    """

    kernels: ByNumber[Annotated[dict[Family, PipelinedKernels], every(("linear", "general"))]]
    bias_s: Seconds
    dram_bytes_per_s: Rate
    host_s: Seconds
    host_batched_s: Seconds

    @cached_property
    def of_chains(self) -> "PipelinedGemmParameters":
        """Kernels that a chain of products in one call has: none for few rows, and none for small products."""
        tables = {
            number: {
                family: kernels.model_copy(update={"small": None})
                for family, kernels in families.items()
                if family != "thin"
            }
            for number, families in self.kernels.items()
        }
        return self.model_copy(update={"kernels": tables})

    def added_s(self, gemm: Gemm, family: Family) -> float:
        """By how much a product takes longer than its family's kernels: a bias, or the lack of one."""
        return self.bias_s * (is_linear(gemm) - (family == "linear"))


@dataclass(frozen=True)
class Times:
    """Seconds of every candidate for some products, (products, candidates)."""

    seconds: Array
    matrix: Array
    staging: Array
    memory: Array
    blocks: Array

    @property
    def best(self) -> npt.NDArray[np.intp]:
        """The fastest candidate of each product."""
        found: npt.NDArray[np.intp] = self.seconds.argmin(axis=1)
        return found


def family_of(gemm: Gemm, kernels: dict[Family, PipelinedKernels]) -> Family:
    """Which kernels the library has for operands that lie like these."""
    extents = (gemm.m if gemm.transposed[0] else gemm.k, gemm.k if gemm.transposed[1] else gemm.n, gemm.n)
    start = BYTES[gemm.number] * gcd(*extents)
    if start % COPIED_BYTES and "narrow" in kernels:
        return "narrow" if start % EVEN_BYTES or "even" not in kernels else "even"
    if is_linear(gemm) and gemm.m <= FEW_ROWS and "thin" in kernels:
        return "thin"
    own = is_linear(gemm) or (gemm.batch == 1 and kernels["linear"].any_layout)
    return "linear" if own else "general"


def is_linear(gemm: Gemm) -> bool:
    """Whether a product is a linear layer's: both operands lie along the reduction."""
    return gemm.batch == 1 and gemm.transposed == (False, True)


def times_of(
    sizes: Array, number: Number, kernels: PipelinedKernels, hardware: GpuHardware, dram_bytes_per_s: float
) -> Times:
    """Seconds of each candidate of a family.

    Parameters
    ----------
    sizes : (products, 4)
        Batch, m, n and k.
    number : str
    kernels : PipelinedKernels
    hardware : GpuHardware
    dram_bytes_per_s : float
    """
    columns, rows, parts = kernels.candidates
    batch, m, n, k = (sizes[:, place, None] for place in range(4))
    size, step = BYTES[number], kernels.step
    blocks = batch * np.ceil(m / rows) * np.ceil(n / columns) * parts
    depth = np.ceil(np.ceil(k / parts) / step)
    queue = np.ceil(blocks / hardware.sms)

    multiply = columns * rows * step * 2.0 / hardware.matrix_flops_per_cycle[number] / kernels.matrix_share
    stage = (columns + rows) * step * size / kernels.staged_bytes_per_cycle
    store = columns * rows * size / kernels.stored_bytes_per_cycle
    busy = depth * _joined(multiply, stage, 8.0) + store
    resident = np.clip(kernels.resident_outputs // (columns * rows), 1.0, MOST_RESIDENT)
    waited = np.ceil(queue / resident) * depth * kernels.step_cycles
    worked = _joined(queue * busy, waited, kernels.step_overlap)
    moved = size * batch * (m * k + k * n + m * n)
    rate = np.where(moved <= hardware.l2_bytes, kernels.l2_bytes_per_s, min(kernels.l2_bytes_per_s, dram_bytes_per_s))
    memory = moved / rate
    # 32-bit partial sums, written and read again.
    added = np.where(parts > 1, kernels.reduce_s + 8.0 * parts * batch * m * n / kernels.l2_bytes_per_s, 0.0)
    seconds = kernels.launch_s + _joined(worked / hardware.clock_hz, memory, kernels.overlap) + added
    # Batched products are not split: their batch fills the multiprocessors.
    fills = (batch == 1) & (k >= kernels.shortest_part * parts) & (blocks <= kernels.split_fill * hardware.sms)
    tried = (parts == 1) | fills
    return Times(
        seconds=np.where(tried, seconds, np.inf),
        matrix=queue * depth * multiply / hardware.clock_hz,
        staging=np.maximum(queue * np.maximum(depth * stage, store), waited) / hardware.clock_hz,
        memory=memory + 0.0 * queue,
        blocks=blocks,
    )


def _joined(first: Array, second: Array, overlap: float) -> Array:
    """Two times that hide each other in part, as `tiles.overlapped`."""
    longer, shorter = np.maximum(first, second), np.minimum(first, second)
    found: Array = longer * (1.0 + (shorter / longer) ** overlap) ** (1.0 / overlap)
    return found


def predict_pipelined_gemm(gemm: Gemm, hardware: GpuHardware, parameters: PipelinedGemmParameters) -> Prediction:
    """Time of a product with the kernel that is fastest for it."""
    families = parameters.kernels[gemm.number]
    family = family_of(gemm, families)
    kernels = families[family]
    launch_s = kernels.launch_s + parameters.added_s(gemm, family)
    host_s = parameters.host_s if gemm.batch == 1 else parameters.host_batched_s
    peak = hardware.matrix_flops_per_s(gemm.number)
    if kernels.small is not None and kernels.small.take(gemm):
        call_s, steps_s = kernels.small.call_s, gemm.k * kernels.small.step_s
        chain: dict[Limit, float] = {"matrix": gemm.flops / peak, "l2": steps_s, "dram": 0.0, "launch": call_s}
        return Prediction(
            gemm, call_s + steps_s, chain, "a small product's chain of kernels", peak, gemm.dram_bytes, host_s
        )
    sizes = np.array([[gemm.batch, gemm.m, gemm.n, gemm.k]], dtype=float)
    times = times_of(sizes, gemm.number, kernels, hardware, parameters.dram_bytes_per_s)
    best = int(times.best[0])
    columns, rows, parts = (int(each[best]) for each in kernels.candidates)
    resident = gemm.dram_bytes <= hardware.l2_bytes
    seconds = float(times.seconds[0, best]) + launch_s - kernels.launch_s
    memory_s = float(times.memory[0, best])
    staging_s = float(times.staging[0, best])
    times_s: dict[Limit, float] = {
        "matrix": float(times.matrix[0, best]),
        "l2": max(staging_s, memory_s) if resident else staging_s,
        "dram": 0.0 if resident else memory_s,
        "launch": launch_s + (kernels.reduce_s if parts > 1 else 0.0),
    }
    split = f", split {parts}" if parts > 1 else ""
    return Prediction(
        operator=gemm,
        seconds=seconds,
        times_s=times_s,
        mapping=f"{columns}x{rows} tiles, {int(times.blocks[0, best])} blocks{split}",
        peak_flops_per_s=peak,
        # Where they lie in the L2, they came from memory before or go there later.
        dram_bytes=gemm.dram_bytes,
        host_s=host_s,
    )
