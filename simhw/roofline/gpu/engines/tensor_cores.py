"""Convolutions on tensor cores.

The kernels want the channels of a pixel side by side, in whole vectors.  Images that lie otherwise are converted by
kernels of their own before the product, and the result after it; channels that do not fill vectors are padded by such
kernels.  A 1 x 1 convolution of stride 1 is a plain product in either layout: of all pixels where channels lie side by
side, else of each image.  Rows that are not aligned are staged in smaller pieces.  Groups of few channels are joined to
blocks with zeros between them.
"""

from dataclasses import replace
from functools import lru_cache
from math import inf, prod

from simhw.roofline.gpu.algorithm import TimedAlgorithm
from simhw.roofline.gpu.engines.blocks import BlockRates, TimedBlocks, cut, timed_blocks
from simhw.roofline.gpu.engines.memory import memory_seconds
from simhw.roofline.gpu.engines.parameters import TensorCoreKernels, TensorCores
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.implicit_gemm import LoweredProduct, padded, products, tensor_bytes
from simhw.roofline.gpu.tiles import overlapped
from simhw.roofline.numbers import BYTES
from simhw.roofline.operators import Convolution

SPLIT_WAVES = (1, 2, 4)
"""A split reduction fills so many waves."""


def on_tensor_cores(convolution: Convolution, hardware: GpuHardware, engines: TensorCores) -> list[TimedAlgorithm]:
    """The implicit GEMM, and the product that a 1 x 1 convolution is."""
    found = [_implicit(convolution, hardware, engines)]
    if is_product(convolution):
        found.append(_product(convolution, hardware, engines))
    return found


def is_product(convolution: Convolution) -> bool:
    """Whether it is one matrix product: 1 x 1, stride 1, nothing padded, one group."""
    return (
        convolution.groups == 1
        and prod(convolution.kernel) == prod(convolution.stride) == 1
        and not any(convolution.padding)
    )


def _implicit(convolution: Convolution, hardware: GpuHardware, engines: TensorCores) -> TimedAlgorithm:
    kernels, operation = engines.implicit, convolution.operation
    share = 1.0
    if convolution.in_channels // convolution.groups <= engines.few_channels and convolution.groups == 1:
        share = engines.few_share
    elif not _aligned(convolution, engines):
        share = engines.padded_share
    lowered = _joined(convolution, kernels.channel_step, engines.group_channels)
    splits = operation == "weight_grad"
    rates = BlockRates(
        kernels.matrix_share[operation] * share, kernels.staged_bytes_per_cycle * share, kernels.start_steps
    )
    blocks, after_s = _fastest(lowered, kernels, rates, splits, convolution, hardware, engines)
    converted_s, converted = _conversions(convolution, engines)
    return _timed(convolution, "implicit GEMM", blocks, after_s, kernels, engines, converted_s, converted)


def _product(convolution: Convolution, hardware: GpuHardware, engines: TensorCores) -> TimedAlgorithm:
    kernels, operation = engines.pointwise, convolution.operation
    alignment = _alignment(convolution, engines)
    staged = kernels.staged_bytes_per_cycle
    if alignment < engines.aligned_channels:
        staged = min(staged, engines.narrow_bytes_per_cycle.get(f"aligned_{alignment}", staged))
    lowered = _per_image(convolution, kernels.channel_step)
    # Images that lie in planes are products of their own, and a kernel after a weight gradient sums them.
    splits = convolution.layout == "nhwc" or operation != "weight_grad"
    rates = BlockRates(kernels.matrix_share[operation], staged, kernels.start_steps)
    blocks, after_s = _fastest(lowered, kernels, rates, splits, convolution, hardware, engines)
    if not splits:
        after_s += kernels.reduce_s
    return _timed(convolution, "product", blocks, after_s, kernels, engines, 0.0, 0.0)


def _timed(
    convolution: Convolution,
    name: str,
    blocks: TimedBlocks,
    after_s: float,
    kernels: TensorCoreKernels,
    engines: TensorCores,
    converted_s: float,
    converted: float,
) -> TimedAlgorithm:
    moved = tensor_bytes(convolution)
    memory_s = memory_seconds(moved, engines.memory)
    launch_s = kernels.launch_s[convolution.operation]
    further_s = after_s + converted_s
    return TimedAlgorithm(
        algorithm="implicit_gemm" if name != "product" else "product",
        mapping=f"{name} on tensor cores, {blocks.mapping}" + (", layout converted" if converted_s else ""),
        seconds=overlapped(blocks.seconds, memory_s, engines.overlap) + further_s + launch_s,
        matrix_s=blocks.matrix_s,
        staging_s=blocks.staging_s,
        dram_s=memory_s + further_s,
        launch_s=launch_s,
        dram_bytes=moved + converted,
    )


def _fastest(
    lowered: tuple[LoweredProduct, ...],
    kernels: TensorCoreKernels,
    rates: BlockRates,
    splits: bool,
    convolution: Convolution,
    hardware: GpuHardware,
    engines: TensorCores,
) -> tuple[TimedBlocks, float]:
    """The fastest tile and split, and what adding the parts takes."""
    most = min(each.k for each in lowered) // kernels.shortest_part if splits else 1
    # 32-bit partial sums, written and read again.
    partial_s = 8.0 * sum(each.count * each.m * each.n for each in lowered) / engines.scratch_bytes_per_s
    best: tuple[TimedBlocks, float] | None = None
    least = inf
    for rows, columns in kernels.tiles:
        tiles = cut(lowered, rows, columns)
        wanted = {min(hardware.sms * waves // tiles.blocks, most) for waves in SPLIT_WAVES} if most > 1 else set()
        for parts in {1} | {each for each in wanted if each > 1}:
            after_s = partial_s * parts + kernels.reduce_s if parts > 1 else 0.0
            timed = timed_blocks(tiles, parts, convolution.number, rates, engines.overlap, hardware)
            if timed.seconds + after_s < least:
                least, best = timed.seconds + after_s, (timed, after_s)
    assert best is not None, "kernels have at least one tile"
    return best


@lru_cache(maxsize=1 << 14)
def _joined(convolution: Convolution, channel_step: int, group_channels: int) -> tuple[LoweredProduct, ...]:
    """The products of a convolution whose groups are joined while they stay within `group_channels`."""
    groups, width = convolution.groups, convolution.in_channels // convolution.groups
    while groups > 1 and groups % 2 == 0 and 2 * width <= group_channels:
        groups, width = groups // 2, 2 * width
    return tuple(products(replace(convolution, groups=groups), channel_step))


@lru_cache(maxsize=1 << 14)
def _per_image(convolution: Convolution, channel_step: int) -> tuple[LoweredProduct, ...]:
    if convolution.layout == "nhwc":
        return tuple(products(convolution, channel_step))
    pixels, inputs, outputs = prod(convolution.out_size), convolution.in_channels, convolution.out_channels
    if convolution.operation == "weight_grad":
        return (LoweredProduct(convolution.images, outputs, inputs, pixels),)
    if convolution.operation == "forward":
        return (LoweredProduct(convolution.images, outputs, pixels, padded(inputs, channel_step)),)
    return (LoweredProduct(convolution.images, inputs, pixels, padded(outputs, channel_step)),)


def _aligned(convolution: Convolution, engines: TensorCores) -> bool:
    return not (
        convolution.in_channels % engines.aligned_channels or convolution.out_channels % engines.aligned_channels
    )


def _alignment(convolution: Convolution, engines: TensorCores) -> int:
    """Values to which the rows of all three matrices of a product are aligned: a power of two up to the vector's."""
    rows = [convolution.in_channels]
    rows.append(convolution.out_channels if convolution.layout == "nhwc" else prod(convolution.out_size))
    alignment = engines.aligned_channels
    while any(size % alignment for size in rows):
        alignment //= 2
    return alignment


def _conversions(convolution: Convolution, engines: TensorCores) -> tuple[float, float]:
    """Time and bytes of the kernels before and after a product: of the two images and of the weights."""
    aligned = _aligned(convolution, engines)
    if convolution.layout == "nhwc" and aligned:
        return 0.0, 0.0
    kernels = engines.conversions
    stays = convolution.layout == "nhwc"
    weights_s = kernels.kernel_s if aligned else kernels.padded_weights_s if stays else kernels.repacked_weights_s
    if prod(convolution.kernel) == 1:  # the same in either layout
        weights_s = 0.0
    values = (
        convolution.images * convolution.in_channels * prod(convolution.size)
        + convolution.images * convolution.out_channels * prod(convolution.out_size)
        + convolution.out_channels * convolution.in_channels // convolution.groups * prod(convolution.kernel)
    )
    moved = 2.0 * BYTES[convolution.number] * values
    return 2.0 * kernels.kernel_s + weights_s + moved / (
        kernels.padding_bytes_per_s if stays else kernels.bytes_per_s
    ), moved
