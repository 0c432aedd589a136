"""Products of matrices on a GPU: the library's fastest kernel among tiles and splits of the reduction.

A multiprocessor multiplies and stages operands in the same instruction stream, so that both take its time; smaller
tiles stage more per multiplication.  Memory runs beside it, limited by its rate or, with few blocks, by what they keep
in flight.  Blocks wait for what they load, not for what they write.

An operand whose reduction is contiguous is read in pieces of one step, row by row.  What memory brings along with a
piece serves the next step if the L2 keeps it so long: if not, it comes again.
"""

from dataclasses import dataclass
from math import ceil, gcd
from typing import Annotated

from pydantic import Field

from simhw.machine.described import Section
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.tiles import GemmTile, Grid, Waves, grid_of, overlapped, splits, waves
from simhw.roofline.numbers import BYTES
from simhw.roofline.operators import Gemm
from simhw.roofline.prediction import Limit, Prediction
from simhw.roofline.quantities import ByNumber, Count, Rate, Seconds, Share


class GemmKernels(Section):
    """The library's kernels for one kind of numbers.

    Attributes
    ----------
    tiles, batched_tiles : list of GemmTile
        For one product, and for many at once.
    step : int
        Steps of the reduction that a block stages at a time.
    filling_threads : int
        Threads that keep the arithmetic of a multiprocessor busy.
    matrix_share : float
        Of the peak, where nothing but multiplication takes time.
    staged_bytes_per_cycle : float
        Of one multiprocessor, from L2 through registers to shared memory.
    aligned : int
        Values of the widest load; operands and outputs with rows not a multiple of it are loaded in narrower pieces.
    misaligned : float
        How much longer staging takes with each further load that the widest one is broken into, as a mean over operands
        and output.
    strided : float
        How many times a piece costs what its bytes do, where an operand larger than the L2 is read in pieces of one
        step, its rows are long, and the L2 keeps nothing of what comes along with a piece.
    line_bytes : float
        What the L2 holds of each row in flight that is read in pieces.
    page_bytes : float
        Of memory: shorter rows share what it costs to open one.
    latency_s : float
        From a block's request to its data off chip, until it asks for the next step's; rate is at most what is in
        flight over this.
    """

    tiles: list[GemmTile] = Field(min_length=1)
    batched_tiles: list[GemmTile] = Field(min_length=1)
    step: Count
    filling_threads: Count
    matrix_share: Share
    staged_bytes_per_cycle: Rate
    aligned: Count
    misaligned: Annotated[float, Field(ge=0, le=1e6)]
    strided: Annotated[float, Field(ge=1, le=1e6)]
    line_bytes: Rate
    page_bytes: Rate
    latency_s: Seconds


class GemmParameters(Section):
    """Constants for products.

    Attributes
    ----------
    kernels : dict of number to GemmKernels
    launch_s : float
        Of a kernel, until its first block runs and after its last.
    wave_s : float
        Of a wave, until its first operands arrive and after its last multiplication.
    reduce_s : float
        A second kernel that adds the parts of a split reduction.
    dram_bytes_per_s : float
        Achieved off-chip rate.
    l2_latency_s : float
        As `latency_s` of the kernels, where the operands fit in the L2.
    overlap : float
        Exponent with which times of multiprocessors and memory add up: 1 is one after the other, infinity the longest
        alone.
    shortest_part, most_parts : int
        Reduction per block at least, and parts at most, where a reduction is split.
    host_s, host_batched_s, host_reduce_s : float
        Time of the framework to issue a linear layer's product, a batched product, and the further kernel of a split.
    start_s, start_batched_s : float
        Part of it that passes before the kernel starts.
    """

    kernels: ByNumber[GemmKernels]
    launch_s: Seconds
    wave_s: Seconds
    reduce_s: Seconds
    dram_bytes_per_s: Rate
    l2_latency_s: Seconds
    overlap: Annotated[float, Field(ge=1, le=20)]
    shortest_part: Count
    most_parts: Count
    host_s: Seconds
    host_batched_s: Seconds
    host_reduce_s: Seconds
    start_s: Seconds
    start_batched_s: Seconds


@dataclass(frozen=True)
class _TimedKernel:
    """A kernel and its times."""

    tile: GemmTile
    grid: Grid
    waves: Waves
    seconds: float
    matrix_s: float
    staging_s: float
    dram_s: float
    launch_s: float
    dram_bytes: float


def predict_gemm(gemm: Gemm, hardware: GpuHardware, parameters: GemmParameters) -> Prediction:
    """Time of a product with the kernel that is fastest for it."""
    best = _fastest(gemm, hardware, parameters)
    times: dict[Limit, float] = {
        "matrix": best.matrix_s,
        "l2": best.staging_s,
        "dram": best.dram_s,
        "launch": best.launch_s,
    }
    split = f", split {best.grid.split}" if best.grid.split > 1 else ""
    single = gemm.batch == 1
    host_s = parameters.host_s if single else parameters.host_batched_s
    return Prediction(
        operator=gemm,
        seconds=best.seconds,
        times_s=times,
        mapping=f"{best.tile.name} tiles, {best.grid.blocks} blocks in {best.waves.count} waves{split}",
        peak_flops_per_s=hardware.matrix_flops_per_s(gemm.number),
        dram_bytes=best.dram_bytes,
        host_s=host_s + (parameters.host_reduce_s if best.grid.split > 1 else 0.0),
        latency_s=parameters.start_s if single else parameters.start_batched_s,
    )


def _fastest(gemm: Gemm, hardware: GpuHardware, parameters: GemmParameters) -> _TimedKernel:
    kernels = parameters.kernels[gemm.number]
    found = []
    for tile in kernels.tiles if gemm.batch == 1 else kernels.batched_tiles:
        tiles = gemm.batch * ceil(gemm.m / tile.m) * ceil(gemm.n / tile.n)
        if tile.few and tiles > hardware.sms:
            continue
        parts = [1]
        if gemm.batch == 1:
            parts = splits(tiles, gemm.k, tile.resident, hardware.sms, parameters.shortest_part, parameters.most_parts)
        found += [_timed(gemm, tile, split, kernels, hardware, parameters) for split in parts]
    return min(found, key=lambda kernel: kernel.seconds)


def _timed(
    gemm: Gemm, tile: GemmTile, split: int, kernels: GemmKernels, hardware: GpuHardware, parameters: GemmParameters
) -> _TimedKernel:
    size = BYTES[gemm.number]
    grid = grid_of(gemm.m, gemm.n, gemm.k, gemm.batch, tile, split, kernels.step)
    layout = waves(grid.blocks, tile.resident, hardware.sms)
    multiply = tile.n * tile.m * 2.0 / hardware.matrix_flops_per_cycle[gemm.number] / kernels.matrix_share
    stage = size * (tile.n + tile.m) / kernels.staged_bytes_per_cycle * _narrowness(gemm, kernels)
    # The last wave may hold too few threads to keep a multiprocessor busy.
    filled = min(1.0, layout.last * tile.threads / kernels.filling_threads) if layout.last else 1.0
    full = min(1.0, tile.resident * tile.threads / kernels.filling_threads)
    queue = layout.full * tile.resident / full + layout.last / filled
    cycles = queue * grid.depth
    matrix_s, staging_s = cycles * multiply / hardware.clock_hz, cycles * stage / hardware.clock_hz

    in_flight = _rows_in_flight(gemm, grid, tile, hardware)
    loaded = _loaded_bytes(gemm, tile, grid, in_flight, hardware, kernels)
    written = float(gemm.batch * size * gemm.m * gemm.n)
    moved = loaded + written
    resident = gemm.batch * size * gemm.k * (gemm.m + gemm.n) <= hardware.l2_bytes
    latency_s = parameters.l2_latency_s if resident else kernels.latency_s
    flying = kernels.step * size * sum(in_flight)
    dram_s = loaded / min(parameters.dram_bytes_per_s, flying / latency_s) + written / parameters.dram_bytes_per_s
    launch_s = parameters.launch_s + layout.count * parameters.wave_s
    after_s = 0.0
    if split > 1:
        # 32-bit partial sums, written and read again.
        partial = 8.0 * split * gemm.m * gemm.n
        after_s = partial / parameters.dram_bytes_per_s
        moved += partial
        launch_s += parameters.reduce_s
    busy = overlapped(matrix_s + staging_s, dram_s, parameters.overlap)
    return _TimedKernel(
        tile, grid, layout, busy + after_s + launch_s, matrix_s, staging_s, dram_s + after_s, launch_s, moved
    )


def _narrowness(gemm: Gemm, kernels: GemmKernels) -> float:
    """How much longer staging takes as rows in memory do not start at multiples of the widest load; 1 where they do."""
    first = gemm.m if gemm.transposed[0] else gemm.k
    second = gemm.k if gemm.transposed[1] else gemm.n
    further = sum(kernels.aligned // gcd(extent, kernels.aligned) - 1 for extent in (first, second, gemm.n)) / 3.0
    return 1.0 + kernels.misaligned * further


def _rows_in_flight(gemm: Gemm, grid: Grid, tile: GemmTile, hardware: GpuHardware) -> tuple[float, float]:
    """Rows and columns of the output that a wave works on, each once although several tiles share it."""
    held = min(grid.blocks, hardware.sms * tile.resident)
    products = held / (grid.across * grid.down)
    if products >= 1.0:
        return products * gemm.m, products * gemm.n
    rows = held / grid.across
    if rows >= 1.0:
        return rows * gemm.m / grid.down, float(gemm.n)
    return gemm.m / grid.down, held * gemm.n / grid.across


def _loaded_bytes(
    gemm: Gemm,
    tile: GemmTile,
    grid: Grid,
    in_flight: tuple[float, float],
    hardware: GpuHardware,
    kernels: GemmKernels,
) -> float:
    """Off-chip traffic of the operands, in bytes of whole rows: each again for every band of tiles that meets it,
    unless it stays in the L2.

    Blocks run along the columns first, so that a wave covers whole rows of tiles, or a piece of one.
    """
    size = BYTES[gemm.number]
    held = hardware.sms * tile.resident
    bands = ceil(grid.down / max(1, held // grid.across))
    pieces = ceil(grid.across / held)
    loaded = 0.0
    for extent, reads, flying, by_rows in (
        (gemm.m, pieces, in_flight[0], not gemm.transposed[0]),
        (gemm.n, bands, in_flight[1], gemm.transposed[1]),
    ):
        operand = float(size * extent * gemm.k)
        again = reads if operand > hardware.l2_bytes else 1
        dearer = 1.0
        if by_rows and gemm.batch * operand > hardware.l2_bytes:
            lost = max(0.0, 1.0 - hardware.l2_bytes / (flying * kernels.line_bytes))
            opened = min(1.0, gemm.k * size / kernels.page_bytes)
            dearer += (kernels.strided - 1.0) * lost * opened
        loaded += gemm.batch * operand * again * dearer
    return loaded
