"""What the cube sees of a product: whole fractals, after the layout NC1HWC0 has padded the channels.

Tensors lie in memory as (images, channels / C0, height, width, C0) with C0 = 16 (fp16) or 32 (int8), so channels are
padded before a convolution is unfolded: a 3-channel 7 x 7 stem reduces over 49 x 16 = 784 values, not 147.  The rows of
a convolution are the pixels of one image, padded to 16: 7 x 7 pixels cost 64 rows.  Groups whose channels do not fill
C0 are computed together as one block-diagonal product, zeros included.

Source: spec page roofline.md, sections 1 and 2; rows per image and the joining of groups as the vendor's operator
library does it (recalled).
"""

from dataclasses import dataclass, field
from math import lcm, prod

from simhw.roofline.ascend.hardware import AscendHardware
from simhw.roofline.numbers import BYTES, FORMATS, Number
from simhw.roofline.operators import Convolution, Gemm


@dataclass(frozen=True)
class CubeProduct:
    """`batch` products of (m, k) by (k, n) fractals with one right operand, and the bytes that they stand for.

    Attributes
    ----------
    batch, m, n, k : int
        Independent products, and the fractals of each.
    number : str
    a_bytes, b_bytes, out_bytes : float
        Tensors in memory, padded: left operand, right operand, result; of all products together.
    groups : int
        Times `batch`, products with right operands of their own.
    weights : bool
        Whether the right operand is weights, which come from memory, and no activation.
    accumulates : bool
        Whether the products of a batch are summed: cores that share them add up their results in memory, in 32 bits.
    padding : str
        What was padded, in words.  No part of what a product is: two that pad to the same fractals are equal.
    """

    batch: int
    m: int
    n: int
    k: int
    number: Number
    a_bytes: float
    b_bytes: float
    out_bytes: float
    groups: int = 1
    weights: bool = True
    accumulates: bool = False
    padding: str = field(default="", compare=False)


def up(size: int, step: int) -> int:
    """Steps that cover a size."""
    return -(-size // step)


def gemm_product(gemm: Gemm, hardware: AscendHardware) -> CubeProduct:
    """A (batched) product, every dimension padded to whole fractals."""
    rows, depth, width = hardware.cube_rows, hardware.cube_depth[gemm.number], BYTES[gemm.number]
    m, n, k = up(gemm.m, rows), up(gemm.n, rows), up(gemm.k, depth)
    return CubeProduct(
        batch=1,
        m=m,
        n=n,
        k=k,
        number=gemm.number,
        a_bytes=float(gemm.batch * m * rows * k * depth * width),
        b_bytes=float(gemm.batch * k * depth * n * rows * width),
        out_bytes=float(gemm.batch * m * n * rows * rows * width),
        groups=gemm.batch,
        weights=gemm.batch == 1,
        padding=f"{gemm.m} x {gemm.n} x {gemm.k} as {m * rows} x {n * rows} x {k * depth}",
    )


def joined_groups(convolution: Convolution, hardware: AscendHardware) -> int:
    """How many groups make one block-diagonal product: the fewest whose channels, in and out, fill whole fractals, or
    all.
    """
    depth, rows = hardware.cube_depth[convolution.number], hardware.cube_rows
    inner = convolution.in_channels // convolution.groups
    outer = convolution.out_channels // convolution.groups
    return min(lcm(lcm(inner, depth) // inner, lcm(outer, rows) // outer), convolution.groups)


def convolution_product(convolution: Convolution, hardware: AscendHardware) -> CubeProduct:
    """A convolution, unfolded on its way into the cube.

    The gradient of the input unfolds the output's gradient with zeros between its pixels where the stride is above 1,
    so it costs a product per pixel of the input; kernels of one tap need no zeros.  The gradient of the weights reduces
    over the pixels of all images.
    """
    rows, depth, width = hardware.cube_rows, hardware.cube_depth[convolution.number], BYTES[convolution.number]
    joined = joined_groups(convolution, hardware)
    groups = up(convolution.groups, joined)
    inner = convolution.in_channels // convolution.groups * joined
    outer = convolution.out_channels // convolution.groups * joined
    taps = prod(convolution.kernel)
    pixels_in, pixels_out = prod(convolution.size), prod(convolution.out_size)
    images = convolution.images
    input_bytes = float(images * pixels_in * groups * up(inner, depth) * depth * width)
    output_bytes = float(images * pixels_out * groups * up(outer, rows) * rows * width)
    weight_bytes = float(groups * up(outer, rows) * rows * taps * up(inner, depth) * depth * width)
    channels = f"{inner} -> {outer} channels as {up(inner, depth) * depth} -> {up(outer, rows) * rows}"
    if groups > 1:
        channels = f"{groups} products of {channels}"
    accumulates = convolution.operation == "weight_grad"
    if convolution.operation == "forward":
        sizes = up(pixels_out, rows), up(outer, rows), taps * up(inner, depth)
        moved = input_bytes, weight_bytes, output_bytes
    elif convolution.operation == "input_grad":
        sizes = up(pixels_out if taps == 1 else pixels_in, rows), up(inner, rows), taps * up(outer, depth)
        moved = output_bytes, weight_bytes, input_bytes
    else:
        sizes = up(outer, rows), taps * up(inner, rows), up(pixels_out, depth)
        moved = output_bytes, input_bytes, weight_bytes * FORMATS[convolution.number].accumulator_bytes / width
    return CubeProduct(
        images,
        *sizes,
        convolution.number,
        *moved,
        groups=groups,
        weights=not accumulates,
        accumulates=accumulates,
        padding=channels,
    )
