"""Winograd's minimal filtering: tiles of outputs from fewer multiplications, for stride 1 and small square kernels.

F(m x m, r x r) makes m x m outputs from (m + r - 1)^2 multiplications per channel in place of (m r)^2: 2.25 times fewer
for F(2 x 2, 3 x 3), 4 times for F(4 x 4, 3 x 3), 7.7 times for F(5 x 5, 5 x 5).  The library has F(2 x 2, 3 x 3) as one
kernel, in which the transforms are hidden, and the larger forms as several: transform the input, transform the filters,
one product per transformed position, transform back.  These write and read all transformed data.  A weight gradient
exists in several kernels alone: its products reduce over tiles.  Source: Lavin and Gray, arXiv 1509.09308.

A block of the one kernel covers a patch of one image, so that small images fill patches in part.  In several kernels
images are padded together: their tiles lie side by side in one product.  Both as grids of measured kernels have it.
"""

from math import ceil, prod

from simhw.roofline.gpu.algorithm import TimedAlgorithm, in_waves
from simhw.roofline.gpu.convolution_parameters import ConvolutionParameters
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.implicit_gemm import padded
from simhw.roofline.gpu.tiles import overlapped
from simhw.roofline.numbers import BYTES
from simhw.roofline.operators import Convolution

FUSED_OUTPUTS = 2
FUSED_KERNEL = (3, 3)
NONFUSED_OUTPUTS = {(3, 3): 4, (5, 5): 5}
"""Outputs per side of a tile by kernel, as the names of the library's transforms have them (4x4; 9x9_5x5: 9 = 5 + 5 -
1).
"""


def applies(convolution: Convolution) -> bool:
    """Whether any form can compute it: fp32, two dimensions, stride and dilation 1, one group, 3 x 3 or 5 x 5."""
    return (
        convolution.number == "fp32"
        and convolution.groups == 1
        and convolution.kernel in NONFUSED_OUTPUTS
        and prod(convolution.stride) == prod(convolution.dilation) == 1
    )


def winograd(
    convolution: Convolution, hardware: GpuHardware, parameters: ConvolutionParameters
) -> list[TimedAlgorithm]:
    """The forms that can compute it, timed."""
    if not applies(convolution):
        return []
    found = [_nonfused(convolution, hardware, parameters)]
    if convolution.operation != "weight_grad" and convolution.kernel == FUSED_KERNEL:
        found.append(_fused(convolution, hardware, parameters))
    return found


def _channels(convolution: Convolution) -> tuple[int, int]:
    """Channels reduced over and channels produced."""
    inputs, outputs = convolution.in_channels, convolution.out_channels
    return (outputs, inputs) if convolution.operation == "input_grad" else (inputs, outputs)


def _made(convolution: Convolution) -> tuple[int, ...]:
    """Extents of an image that is produced."""
    return convolution.size if convolution.operation == "input_grad" else convolution.out_size


def _fused(convolution: Convolution, hardware: GpuHardware, parameters: ConvolutionParameters) -> TimedAlgorithm:
    reduced, produced = _channels(convolution)
    kernels, form = parameters.kernels["fp32"], parameters.winograd
    down, across, columns = form.fused_tile
    rows = down * across
    high, wide = (ceil(extent / FUSED_OUTPUTS) for extent in _made(convolution))
    blocks = convolution.images * ceil(high / down) * ceil(wide / across) * ceil(produced / columns)
    waves = ceil(blocks / hardware.sms)
    positions = (FUSED_OUTPUTS + convolution.kernel[0] - 1) ** 2
    flops = 2.0 * rows * columns * positions * (reduced + form.fused_ends) * (waves + kernels.tail_waves)
    matrix_s = flops / (hardware.clock_hz * hardware.matrix_flops_per_cycle["fp32"] * form.fused_share)
    dram_s = convolution.dram_bytes / parameters.dram_bytes_per_s
    return TimedAlgorithm(
        algorithm="winograd",
        mapping=f"Winograd F(2x2, 3x3), {blocks} blocks in {waves} waves",
        seconds=overlapped(matrix_s, dram_s, parameters.overlap) + kernels.launch_s,
        matrix_s=matrix_s,
        staging_s=0.0,
        dram_s=dram_s,
        launch_s=kernels.launch_s,
        dram_bytes=convolution.dram_bytes,
    )


def _nonfused(convolution: Convolution, hardware: GpuHardware, parameters: ConvolutionParameters) -> TimedAlgorithm:
    reduced, produced = _channels(convolution)
    kernels, form = parameters.kernels["fp32"], parameters.winograd
    side = convolution.kernel[0]
    outputs = NONFUSED_OUTPUTS[side, side]
    weight_grad = convolution.operation == "weight_grad"
    images = convolution.images if weight_grad else padded(convolution.images, form.images_step)
    tiles = images * prod(ceil(extent / outputs) for extent in _made(convolution))
    positions = (outputs + side - 1) ** 2
    rows, columns, depth = (produced, reduced, tiles) if weight_grad else (tiles, produced, reduced)
    either_way = [turned for tile in kernels.tiles for turned in (tile, tile[::-1])]
    timed = [
        in_waves(
            tile,
            depth,
            positions * ceil(rows / tile[0]) * ceil(columns / tile[1]),
            "fp32",
            hardware,
            parameters,
            staging=form.staging,
        )
        for tile in (either_way if weight_grad else form.product_tiles)
    ]
    waves = min(timed, key=lambda each: each.seconds)
    # Every transformed tensor is written by one kernel and read by the next.
    filters = 2.0 * BYTES["fp32"] * positions * reduced * produced
    others = 2.0 * BYTES["fp32"] * positions * tiles * (reduced + produced) + convolution.dram_bytes
    moved = filters + others
    filter_share = 1.0 if weight_grad else form.filter_share
    dram_s = (filters / filter_share + others) / parameters.scratch_bytes_per_s
    launch_s = kernels.launch_s + form.transforms * parameters.kernel_s
    return TimedAlgorithm(
        algorithm="winograd_nonfused",
        mapping=f"Winograd F({outputs}x{outputs}, {side}x{side}) in several kernels, {positions} products, "
        f"{waves.blocks} blocks in {waves.waves} waves",
        seconds=waves.seconds + dram_s + launch_s,
        matrix_s=waves.matrix_s,
        staging_s=waves.staging_s,
        dram_s=dram_s,
        launch_s=launch_s,
        dram_bytes=moved,
    )
