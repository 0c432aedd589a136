"""What a convolution library makes of a GPU: kernels, tiles, and the rates that they reach."""

from typing import Annotated

from pydantic import Field

from simhw.machine.described import Section
from simhw.roofline.quantities import ByNumber, Count, Rate, Seconds, Share
from simhw.trace.layer import Operation

TileSize = Annotated[list[Count], Field(min_length=2, max_length=2)]
TileSizes = Annotated[list[TileSize], Field(min_length=1)]


class ConvolutionKernels(Section):
    """The library's implicit-GEMM kernels for one kind of numbers.

    Attributes
    ----------
    tiles, weight_grad_tiles : list of [int, int]
        Rows and columns of the product that one thread block computes.  Rows are output pixels, columns channels; in a
        weight gradient rows are output channels and columns input channels times taps.
    channel_step : int
        The reduction runs over channels in such steps at every tap; channels are padded to it.
    split : list of operation
        Those whose reduction may be split over thread blocks, and their partial sums added afterwards.
    launch_s : float
        Fixed cost of a call: launch, and a kernel's start and end.
    matrix_share : float
        Of the peak arithmetic rate that a full device reaches.
    tail_waves : float
        What filling and draining a device cost, in waves of thread blocks.
    ends : float
        What a block's start and end cost, in steps of its reduction.
    staged_bytes_per_s : float
        Rate at which all multiprocessors together stage operands, from L2 through registers to shared memory.
    weight_grad_staging, strided_grad_staging : float
        Shares of `staged_bytes_per_s` at which weight gradients, and input gradients of strided convolutions, stage
        operands.
    weight_grad_tap_reuse : bool
        Whether the taps of one input value are staged once in a weight gradient.
    scatter_passes : float
        Passes over the input's gradient beyond writing it once, where a stride leaves gaps: clearing, and writing every
        other value.
    input_grad_kernels : int
        Kernels that an input gradient runs beside the product.
    """

    tiles: TileSizes
    weight_grad_tiles: TileSizes
    channel_step: Count
    split: list[Operation]
    launch_s: Seconds
    matrix_share: Share
    tail_waves: Seconds
    ends: Annotated[float, Field(ge=0, le=1e4)]
    staged_bytes_per_s: Rate
    weight_grad_staging: Share
    strided_grad_staging: Share
    weight_grad_tap_reuse: bool
    scatter_passes: Annotated[float, Field(ge=0, le=10)]
    input_grad_kernels: Annotated[int, Field(ge=0, le=1 << 20)]


class Winograd(Section):
    """The library's Winograd kernels, which are for fp32.

    Attributes
    ----------
    fused_share : float
        Of the peak that the one-kernel form reaches on its transformed products.
    fused_ends : float
        What a block's start and end cost in it, in channels.
    fused_tile : [int, int, int]
        Transformed tiles down and across an image, and output channels, of one thread block of it.
    product_tiles : list of [int, int]
        As `tiles` of implicit GEMM, for the products between the transforms in the form of several kernels.
    images_step : int
        To a multiple of which that form pads the images.
    staging : float
        Share of fp32's `staged_bytes_per_s` in these products.
    filter_share : float
        Share of `scratch_bytes_per_s` at which transformed filters are written and read.
    transforms : int
        Kernels beside the products in that form.
    """

    fused_share: Share
    fused_ends: Annotated[float, Field(ge=0, le=1e4)]
    fused_tile: Annotated[list[Count], Field(min_length=3, max_length=3)]
    product_tiles: TileSizes
    images_step: Count
    staging: Share
    filter_share: Share
    transforms: Annotated[int, Field(ge=0, le=1 << 20)]


class ConvolutionParameters(Section):
    """Constants for convolutions.

    Attributes
    ----------
    kernels : dict of number to ConvolutionKernels
    winograd : Winograd
    dram_bytes_per_s : float
        Achieved off-chip rate.
    scratch_bytes_per_s : float
        Rate for data that one kernel writes and the next reads at once, a part of which stays in the L2.
    kernel_s : float
        Each further kernel of a call.
    overlap : float
        Exponent with which the times of arithmetic, staging and memory are added: 1 is one after the other, infinity
        the longest alone.
    direct_share : float
        Of the vector units' peak in kernels without tiles, for convolutions of many groups.
    host_s : float
        Time of the framework to issue a convolution.
    start_s : float
        What a call that runs alone takes beyond what its kernels take in a stream: until the first of them starts, and
        between them.
    """

    kernels: ByNumber[ConvolutionKernels]
    winograd: Winograd
    dram_bytes_per_s: Rate
    scratch_bytes_per_s: Rate
    kernel_s: Seconds
    overlap: Annotated[float, Field(ge=1, le=20)]
    direct_share: Share
    host_s: Seconds
    start_s: Seconds
