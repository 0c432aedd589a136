"""Convolutions as matrix products whose operand is gathered on the fly: im2col never reaches memory.

forward multiplies output pixels x (channels x taps) by filters; an input gradient the same with the sides swapped, and
with a stride one smaller product per phase of the stride, as each phase of pixels meets only its own taps; a weight
gradient multiplies output channels by input channels x taps and reduces over all pixels, so that the reduction has to
be split over multiprocessors.  Tensor-core kernels step through the channels of one tap in chunks, to which channels
are padded.
"""

from dataclasses import dataclass
from itertools import product
from math import ceil, prod

from simhw.roofline.gpu.algorithm import TimedAlgorithm, in_waves
from simhw.roofline.gpu.convolution_parameters import ConvolutionParameters, TileSize
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.tiles import overlapped
from simhw.roofline.numbers import BYTES
from simhw.roofline.operators import Convolution

SPLIT_WAVES = (1, 2, 4)
"""A split reduction fills so many waves: one is least, more even out an odd number of blocks."""
SHORTEST_SPLIT = 64
"""Steps of the reduction below which a thread block has nothing to gain."""


@dataclass(frozen=True)
class LoweredProduct:
    """`count` equal products of (m, k) by (k, n)."""

    count: int
    m: int
    n: int
    k: int


def padded(size: int, step: int) -> int:
    """The next multiple."""
    return ceil(size / step) * step


def products(convolution: Convolution, channel_step: int) -> list[LoweredProduct]:
    """The products of a convolution, channels padded as the kernels need them."""
    inputs = padded(convolution.in_channels // convolution.groups, channel_step)
    pixels = convolution.images * prod(convolution.out_size)
    outputs = convolution.out_channels // convolution.groups
    taps = prod(convolution.kernel)
    if convolution.operation == "forward":
        return [LoweredProduct(convolution.groups, pixels, outputs, inputs * taps)]
    if convolution.operation == "weight_grad":
        return [LoweredProduct(convolution.groups, outputs, inputs * taps, padded(pixels, channel_step))]
    reduced = padded(outputs, channel_step)
    n = convolution.in_channels // convolution.groups
    return [
        LoweredProduct(
            convolution.groups * prod(count for count, _, _ in phase),
            convolution.images * prod(size for _, size, _ in phase),
            n,
            k,
        )
        for phase in product(*phases(convolution))
        if (k := reduced * prod(taps for _, _, taps in phase))
    ]


def phases(convolution: Convolution) -> list[list[tuple[int, int, int]]]:
    """Per dimension, the classes of input positions by remainder of the stride: how many alike, positions, and taps
    that reach them.
    """
    dimensions = []
    for size, kernel, stride, dilation in zip(
        convolution.size, convolution.kernel, convolution.stride, convolution.dilation, strict=True
    ):
        classes: dict[tuple[int, int], int] = {}
        for phase in range(min(stride, size)):
            taps = sum((tap * dilation) % stride == phase for tap in range(kernel))
            key = ceil((size - phase) / stride), taps
            classes[key] = classes.get(key, 0) + 1
        dimensions.append([(count, positions, taps) for (positions, taps), count in classes.items()])
    return dimensions


def tensor_bytes(convolution: Convolution) -> float:
    """Off-chip traffic of one pass: each tensor once, without the rows that a stride wider than the kernel skips.

    Along the last dimension nothing is saved: skipped values share a memory transaction with needed ones.
    """
    skipped = 0.0
    if convolution.operation != "input_grad":
        touched = prod(
            min(1.0, kernel / stride)
            for kernel, stride in zip(convolution.kernel[:-1], convolution.stride[:-1], strict=True)
        )
        skipped = (1.0 - touched) * input_bytes(convolution)
    return convolution.dram_bytes - skipped


def input_bytes(convolution: Convolution) -> float:
    """The layer's input, or its gradient."""
    return float(BYTES[convolution.number]) * convolution.images * convolution.in_channels * prod(convolution.size)


def implicit_gemm(convolution: Convolution, hardware: GpuHardware, parameters: ConvolutionParameters) -> TimedAlgorithm:
    """The fastest tile and split."""
    number, operation = convolution.number, convolution.operation
    kernels = parameters.kernels[number]
    lowered = products(convolution, kernels.channel_step)
    weight_grad = operation == "weight_grad"
    strided_grad = operation == "input_grad" and prod(convolution.stride) > 1
    staging = kernels.strided_grad_staging if strided_grad else kernels.weight_grad_staging if weight_grad else 1.0
    reuse = prod(convolution.kernel) if weight_grad and kernels.weight_grad_tap_reuse else 1

    dram_bytes = tensor_bytes(convolution)
    dram_s = dram_bytes / parameters.dram_bytes_per_s
    scattered = kernels.scatter_passes * input_bytes(convolution) if strided_grad else 0.0
    # 32-bit partial sums of one slice of a split reduction, written and read again.
    partial = 8.0 * sum(each.count * each.m * each.n for each in lowered)
    further = int(strided_grad) + (kernels.input_grad_kernels if operation == "input_grad" else 0)

    best: TimedAlgorithm | None = None
    for tile in kernels.weight_grad_tiles if weight_grad else kernels.tiles:
        blocks, depth = _blocks(lowered, tile)
        for split in _splits(blocks, lowered, operation in kernels.split, hardware):
            waves = in_waves(
                tile,
                depth / split + kernels.ends,
                blocks * split,
                number,
                hardware,
                parameters,
                staging=staging,
                column_reuse=reuse,
            )
            summed = partial * split if split > 1 else 0.0
            after_s = summed / parameters.scratch_bytes_per_s + scattered / parameters.dram_bytes_per_s
            launch_s = kernels.launch_s + (further + int(split > 1)) * parameters.kernel_s
            seconds = overlapped(waves.seconds, dram_s, parameters.overlap) + after_s + launch_s
            if best is None or seconds < best.seconds:
                best = TimedAlgorithm(
                    algorithm="implicit_gemm",
                    mapping=f"implicit GEMM, {tile[0]}x{tile[1]} tiles, {waves.blocks} blocks in {waves.waves} waves"
                    + (f", reduction split {split} ways" if split > 1 else ""),
                    seconds=seconds,
                    matrix_s=waves.matrix_s,
                    staging_s=waves.staging_s,
                    dram_s=dram_s + after_s,
                    launch_s=launch_s,
                    dram_bytes=dram_bytes + summed + scattered,
                )
    assert best is not None, "the parameters have at least one tile"
    return best


def _blocks(lowered: list[LoweredProduct], tile: TileSize) -> tuple[int, float]:
    """Thread blocks of all products, and their mean reduction."""
    blocks, steps = 0, 0
    for each in lowered:
        here = each.count * ceil(each.m / tile[0]) * ceil(each.n / tile[1])
        blocks += here
        steps += here * each.k
    return blocks, steps / max(blocks, 1)


def _splits(blocks: int, lowered: list[LoweredProduct], may: bool, hardware: GpuHardware) -> set[int]:
    if not may:
        return {1}
    most = min(each.k for each in lowered) // SHORTEST_SPLIT
    return {1} | {split for waves in SPLIT_WAVES if 1 < (split := hardware.sms * waves // blocks) <= most}
