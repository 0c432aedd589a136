"""Convolutions on FMA units, in the layout with a plane per channel, and as products of transformed images.

The forward operation takes the largest tile that gives enough multiprocessors a block, whether a smaller one were
faster or not.  A weight gradient has small tiles that reduce over all pixels, or a kernel whose blocks take pixels
apart and add to the weights with atomics.  With channels and images enough, 3 x 3 kernels of stride 1 are transformed:
by Fourier tiles of 16 x 16 or 32 x 32 values, or, for weight gradients, by Winograd's.  The names of the kernels of
whole steps tell which (`cudnn::...::dgrad_engine`, `wgrad_alg0_engine`, `fft2d_r2c_32x32`, `winogradWgradData4x4`).
"""

from functools import lru_cache
from math import ceil, inf, prod

from simhw.roofline.gpu.algorithm import TimedAlgorithm
from simhw.roofline.gpu.engines.blocks import BlockRates, cut, timed_blocks
from simhw.roofline.gpu.engines.memory import memory_seconds
from simhw.roofline.gpu.engines.parameters import MultiplyAdd, MultiplyAddKernels
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.implicit_gemm import LoweredProduct, padded, products, tensor_bytes
from simhw.roofline.gpu.tiles import overlapped
from simhw.roofline.numbers import BYTES
from simhw.roofline.operators import Convolution

SMALL = 32
"""Rows and columns to which weight gradients with atomics, and transformed products, are padded."""
FOURIER_TILES = (16, 32)
LARGEST_FOURIER_KERNEL = 7
WINOGRAD_OUTPUTS, WINOGRAD_POSITIONS = 4, 36
WINOGRAD_TILES = ((64, 128), (64, 64))


def on_multiply_add(convolution: Convolution, hardware: GpuHardware, engines: MultiplyAdd) -> list[TimedAlgorithm]:
    """The implicit GEMM, and the transforms that the library would use."""
    found = [implicit(convolution, hardware, engines)]
    if _fourier_is_used(convolution, engines):
        found.append(min((_fourier(convolution, tile, hardware, engines) for tile in FOURIER_TILES), key=_seconds))
    if convolution.operation == "weight_grad" and _square(convolution) and convolution.kernel == (3, 3):
        found.append(_winograd(convolution, hardware, engines))
    return found


def _seconds(algorithm: TimedAlgorithm) -> float:
    return algorithm.seconds


def implicit(convolution: Convolution, hardware: GpuHardware, engines: MultiplyAdd) -> TimedAlgorithm:
    """Without a transform."""
    kernels = engines.operations[convolution.operation]
    blocks_s, mapping = _blocks(convolution, kernels, hardware, engines)
    moved = tensor_bytes(convolution)
    memory_s = memory_seconds(moved, engines.memory)
    return TimedAlgorithm(
        algorithm="implicit_gemm",
        mapping=f"implicit GEMM on FMA units, {mapping}",
        seconds=overlapped(blocks_s, memory_s, engines.overlap) + kernels.launch_s,
        matrix_s=blocks_s,
        staging_s=0.0,
        dram_s=memory_s,
        launch_s=kernels.launch_s,
        dram_bytes=moved,
    )


@lru_cache(maxsize=1 << 14)
def _lowered(convolution: Convolution, phased_channels: int) -> tuple[LoweredProduct, ...]:
    """The products; an input gradient of odd channels visits the gaps between the values that a stride left, too."""
    inputs, outputs = convolution.in_channels // convolution.groups, convolution.out_channels // convolution.groups
    if convolution.operation == "input_grad" and (inputs % phased_channels or outputs % phased_channels):
        pixels = convolution.images * prod(convolution.size)
        return (LoweredProduct(convolution.groups, pixels, inputs, outputs * prod(convolution.kernel)),)
    return tuple(products(convolution, 1))


def _blocks(
    convolution: Convolution, kernels: MultiplyAddKernels, hardware: GpuHardware, engines: MultiplyAdd
) -> tuple[float, str]:
    lowered = _lowered(convolution, engines.phased_channels)
    share = kernels.matrix_share
    if prod(convolution.kernel) == 1:
        share *= kernels.pointwise_share
    elif prod(convolution.stride) > 1:
        share *= kernels.strided_share
    if convolution.groups > 1:
        share *= engines.grouped_share
    sizes = (
        (engines.large, 1.0, 1.0),
        (engines.medium, kernels.medium_share, engines.medium_alone),
        (engines.small, kernels.small_share, kernels.small_alone),
    )
    forward, weight_grad = convolution.operation == "forward", convolution.operation == "weight_grad"
    best_s, best = inf, ""
    for (rows, columns), of_share, alone in sizes[2:] if weight_grad else sizes:
        tiles = cut(lowered, rows, columns)
        rates = BlockRates(min(share * of_share, 1.0), inf, engines.start_steps, alone)
        timed = timed_blocks(tiles, 1, convolution.number, rates, engines.overlap, hardware)
        if timed.seconds < best_s:
            best_s, best = timed.seconds, timed.mapping
        wide = lowered[0].n > columns // 2
        if forward and wide and tiles.blocks >= engines.fills * hardware.sms:
            best_s, best = timed.seconds, timed.mapping
            break
    if weight_grad and convolution.groups == 1:
        direct_s = _direct_s(convolution, lowered[0], hardware, engines)
        if direct_s < best_s:
            best_s, best = direct_s, "atomic sums"
    return best_s, best


def _direct_s(convolution: Convolution, lowered: LoweredProduct, hardware: GpuHardware, engines: MultiplyAdd) -> float:
    share = engines.direct_pointwise_share if prod(convolution.kernel) == 1 else engines.direct_share
    flops = 2.0 * padded(lowered.m, SMALL) * padded(lowered.n, SMALL) * lowered.k
    return flops / (hardware.matrix_flops_per_s(convolution.number) * share)


def _square(convolution: Convolution) -> bool:
    kernel = convolution.kernel
    return (
        len(kernel) == 2
        and kernel[0] == kernel[1]
        and convolution.groups == prod(convolution.stride) == prod(convolution.dilation) == 1
    )


def _fourier_is_used(convolution: Convolution, engines: MultiplyAdd) -> bool:
    rules = engines.transforms
    if not _square(convolution):
        return False
    side = convolution.kernel[0]
    channels = min(convolution.in_channels, convolution.out_channels)
    if convolution.operation == "weight_grad":
        return 3 < side <= LARGEST_FOURIER_KERNEL
    if convolution.operation == "forward":
        return side == 3 and channels >= rules.forward_channels
    return side == 3 and channels >= rules.input_grad_channels and convolution.images >= rules.input_grad_images


def _made(convolution: Convolution) -> tuple[int, ...]:
    return convolution.size if convolution.operation == "input_grad" else convolution.out_size


def _tiles_of(convolution: Convolution, outputs: int) -> int:
    return convolution.images * prod(ceil(extent / outputs) for extent in _made(convolution))


def _transformed_bytes(convolution: Convolution, tiles: int, position_bytes: float) -> float:
    """Every transformed tensor, written by one kernel and read by the next."""
    inputs, outputs = convolution.in_channels, convolution.out_channels
    return 2.0 * position_bytes * (float(tiles) * (inputs + outputs) + inputs * outputs)


def _fourier(convolution: Convolution, tile: int, hardware: GpuHardware, engines: MultiplyAdd) -> TimedAlgorithm:
    form = engines.transforms
    inputs, outputs = convolution.in_channels, convolution.out_channels
    tiles = _tiles_of(convolution, tile - convolution.kernel[0] + 1)
    rows, columns, depth = {
        "forward": (tiles, outputs, inputs),
        "input_grad": (tiles, inputs, outputs),
        "weight_grad": (inputs, outputs, tiles),
    }[convolution.operation]
    frequencies = tile * (tile // 2 + 1)
    # A complex multiply-accumulate is 8 operations; a complex value 8 bytes.
    flops = 8.0 * frequencies * padded(rows, 2 * SMALL) * padded(columns, SMALL) * depth
    return _transform(
        convolution,
        f"Fourier, {tile}x{tile} values",
        flops / (hardware.matrix_flops_per_s(convolution.number) * form.fourier_share),
        _transformed_bytes(convolution, tiles, 8.0 * frequencies),
        form.fourier_s,
        engines,
    )


def _winograd(convolution: Convolution, hardware: GpuHardware, engines: MultiplyAdd) -> TimedAlgorithm:
    form = engines.transforms
    tiles = _tiles_of(convolution, WINOGRAD_OUTPUTS)
    lowered = (LoweredProduct(WINOGRAD_POSITIONS, convolution.in_channels, convolution.out_channels, tiles),)
    sizes = [(tile, 1.0, 1.0) for tile in WINOGRAD_TILES]
    sizes.append(((engines.small[0], engines.small[1]), form.small_share, form.small_alone))
    products_s = min(
        timed_blocks(
            cut(lowered, *tile),
            1,
            convolution.number,
            BlockRates(form.winograd_share * of_share, inf, 0.0, alone),
            engines.overlap,
            hardware,
        ).seconds
        for tile, of_share, alone in sizes
    )
    moved = _transformed_bytes(convolution, tiles, float(BYTES[convolution.number]) * WINOGRAD_POSITIONS)
    return _transform(convolution, "Winograd F(4x4, 3x3)", products_s, moved, form.winograd_s, engines)


def _transform(
    convolution: Convolution, mapping: str, products_s: float, scratch: float, launch_s: float, engines: MultiplyAdd
) -> TimedAlgorithm:
    scratch_s = scratch / engines.transforms.scratch_bytes_per_s
    return TimedAlgorithm(
        algorithm="transform",
        mapping=mapping,
        seconds=products_s + scratch_s + launch_s,
        matrix_s=products_s,
        staging_s=0.0,
        dram_s=scratch_s,
        launch_s=launch_s,
        dram_bytes=tensor_bytes(convolution) + scratch,
    )
