"""What the engines of a convolution library reach on a GPU."""

from typing import Annotated

from pydantic import Field

from simhw.machine.described import Section
from simhw.roofline.gpu.convolution_parameters import TileSize, TileSizes
from simhw.roofline.operators import Layout
from simhw.roofline.quantities import ByNumber, Count, Rate, Seconds, Share, every
from simhw.trace.layer import OPERATIONS, Operation

Steps = Annotated[float, Field(ge=0, le=1e5)]
Blocks = Annotated[float, Field(ge=1, le=100)]
EVERY_OPERATION = every(OPERATIONS)
Shares = Annotated[dict[Operation, Share], EVERY_OPERATION]
Launches = Annotated[dict[Operation, Seconds], EVERY_OPERATION]
DepthwiseRates = Annotated[dict[Operation, Rate], EVERY_OPERATION]


class Memory(Section):
    """Rates at which an engine's kernels move whole tensors.

    Attributes
    ----------
    dram_bytes_per_s, l2_bytes_per_s : float
        Achieved off chip, and where the tensors lie in the L2.
    resident_bytes : int
        Tensors of so many bytes in all lie in the L2 by half.
    """

    dram_bytes_per_s: Rate
    l2_bytes_per_s: Rate
    resident_bytes: Count


class TensorCoreKernels(Section):
    """Kernels of tensor cores of one kind: the implicit GEMM, or the product that a 1 x 1 convolution is.

    Attributes
    ----------
    tiles : list of [int, int]
        Rows and columns of the product that one thread block computes.
    channel_step : int
        The reduction runs over channels in such steps at every tap.
    launch_s, matrix_share : dict of operation to float
        Fixed cost of a call; of the peak arithmetic rate that a busy multiprocessor reaches.
    staged_bytes_per_cycle : float
        That a multiprocessor stages from the L2.
    start_steps : float
        What filling a block's pipeline and writing its results cost, in steps of the reduction at the peak.
    shortest_part : int
        Steps that a part of a split reduction keeps at least.
    reduce_s : float
        Kernels that clear what parts are added to, and add them, or the weight gradients of single images.
    """

    tiles: TileSizes
    channel_step: Count
    launch_s: Launches
    matrix_share: Shares
    staged_bytes_per_cycle: Rate
    start_steps: Steps
    shortest_part: Count
    reduce_s: Seconds


class Conversions(Section):
    """Kernels that change the layout of a tensor, or pad its channels, before and after the product.

    Attributes
    ----------
    kernel_s : float
        Each kernel beside its bytes.
    bytes_per_s : float
        Read and written while a layout changes.
    padding_bytes_per_s : float
        The same, where channels are padded in a layout that stays.
    padded_weights_s, repacked_weights_s : float
        Kernel of weights whose channels are padded: in the layout that stays, and in one that changes.
    """

    kernel_s: Seconds
    bytes_per_s: Rate
    padding_bytes_per_s: Rate
    padded_weights_s: Seconds
    repacked_weights_s: Seconds


class TensorCores(Section):
    """Engines that multiply on tensor cores, all of which want the channels of a pixel side by side.

    Attributes
    ----------
    aligned_channels : int
        Channels come in multiples of it; others are padded by a kernel before.
    implicit, pointwise : TensorCoreKernels
        Of any convolution; and of 1 x 1 ones of stride 1, which are products and run in either layout.
    few_channels : int
        Layers of at most so many input channels have kernels of their own.
    few_share, padded_share : float
        Of `implicit`'s rates that these reach, and kernels whose channels are padded.
    narrow_bytes_per_cycle : dict of str to float
        Staged by products whose rows are aligned to 4, 2 or 1 values alone.
    group_channels : int
        Groups are joined up to so many channels, with zeros between them.
    scratch_bytes_per_s : float
        Rate for partial sums, which one kernel writes and the next reads.
    overlap : float
        Exponent with which arithmetic, staging and memory are added: 1 is one after the other, infinity the longest
        alone.
    """

    memory: Memory
    aligned_channels: Count
    implicit: TensorCoreKernels
    pointwise: TensorCoreKernels
    conversions: Conversions
    few_channels: Count
    few_share: Share
    padded_share: Share
    narrow_bytes_per_cycle: dict[Annotated[str, Field(pattern="^aligned_[124]$")], Rate]
    group_channels: Count
    scratch_bytes_per_s: Rate
    overlap: Annotated[float, Field(ge=1, le=20)]


class MultiplyAddKernels(Section):
    """Implicit GEMM of one operation on multiply-add units, in three sizes of tiles.

    Attributes
    ----------
    launch_s : float
    matrix_share : float
        Of the peak, with the large tile and several taps.
    medium_share, small_share, pointwise_share, strided_share : float
        Of that share: with smaller tiles, 1 x 1 kernels, and larger kernels with a stride.
    small_alone : float
        A lone small block takes the time of so many that share a multiprocessor.
    """

    launch_s: Seconds
    matrix_share: Share
    medium_share: Share
    small_share: Share
    small_alone: Blocks
    pointwise_share: Annotated[float, Field(ge=0.01, le=2)]
    strided_share: Annotated[float, Field(ge=0.01, le=2)]


class Transforms(Section):
    """Convolutions as products of transformed tensors: Fourier (16 x 16 or 32 x 32), and Winograd for weight gradients.

    Attributes
    ----------
    forward_channels, input_grad_channels, input_grad_images : int
        The library transforms from so many channels on both sides, and images.
    fourier_s, fourier_share, winograd_s, winograd_share : float
        Fixed cost of a call's kernels; share of the peak that the products reach.
    small_share, small_alone : float
        Of the Winograd products' small tile, as for `MultiplyAddKernels`.
    scratch_bytes_per_s : float
        Rate for transformed data, which one kernel writes and the next reads.
    """

    forward_channels: Count
    input_grad_channels: Count
    input_grad_images: Count
    fourier_s: Seconds
    fourier_share: Share
    winograd_s: Seconds
    winograd_share: Share
    small_share: Share
    small_alone: Blocks
    scratch_bytes_per_s: Rate


class MultiplyAdd(Section):
    """Engines that multiply on the FMA units.

    Attributes
    ----------
    large, medium, small : [int, int]
        Tiles; weight gradients have the small one alone.
    medium_alone : float
        As `MultiplyAddKernels.small_alone`.
    fills : float
        Forward takes the largest tile that gives at least this share of the multiprocessors a block.
    start_steps : float
        As `TensorCoreKernels.start_steps`.
    phased_channels : int
        Input gradients of a stride skip the gaps between its values where channels on both sides are multiples of it.
    grouped_share : float
        Of all shares, where there are groups.
    direct_pointwise_share, direct_share : float
        Of the peak, in the weight gradient that every block adds to with atomics: for 1 x 1 kernels, and others.
    overlap : float
        Of arithmetic and memory.
    """

    memory: Memory
    large: TileSize
    medium: TileSize
    small: TileSize
    medium_alone: Blocks
    fills: Annotated[float, Field(ge=0.01, le=4)]
    start_steps: Steps
    phased_channels: Count
    operations: Annotated[dict[Operation, MultiplyAddKernels], EVERY_OPERATION]
    grouped_share: Share
    direct_pointwise_share: Share
    direct_share: Share
    transforms: Transforms
    overlap: Annotated[float, Field(ge=1, le=20)]


class Depthwise(Section):
    """Kernels for one filter per channel, in one layout.

    Attributes
    ----------
    launch_s : dict of operation to float
        Fixed cost of a call.
    macs_per_s : dict of operation to float
        Multiply-accumulates of all multiprocessors.
    """

    launch_s: Launches
    macs_per_s: DepthwiseRates


class Engines(Section):
    """The engines for one kind of numbers; those that it lacks, it does not run on."""

    tensor_cores: TensorCores | None = None
    multiply_add: MultiplyAdd | None = None
    depthwise: Annotated[dict[Layout, Depthwise], every(("nchw", "nhwc"))]


class EngineParameters(Section):
    """Constants of convolutions by engines.

    Attributes
    ----------
    kernels : dict of number to Engines
        Others than fp32 may run on fp32's multiply-add units too (`simhw.roofline.gpu.engines.convolution`).
    host_s : float
        Time of the framework to issue a convolution.
    """

    kernels: ByNumber[Engines]
    host_s: Seconds
