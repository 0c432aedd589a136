"""Changes of layout that a compiler puts between kernels: from the layout that convolutions and products work in, whose
innermost dimension has a fixed number of channels, to the plain one, and back.

Images lie in blocks of `depth` channels.  Parts of their channels (`slice`), concatenations of parts that are no whole
blocks, and copies (which transpose) are made in the plain layout: what flows in is brought there, and what flows out is
brought back.  Such layers that follow each other change the layout once.

A product takes its operands and gives its result in fractals of `depth` rows and columns.  Where a sample's rows or
columns are no whole fractals, no other layer can work on them: operands and result change layout, and so does what a
softmax along such columns reads and writes.  Copies of what such products give move values one by one, as a change of
layout does.

A list has no edges, so what follows what is told by order.

Source: the profiles of published networks on an Ascend 310 (repository ModelZoo-PyTorch, READMEs of Res2Net101_v1b,
DPN131, CSPResneXt50 and Deit_Small): changes of layout (TransData) before and behind slices, concatenations and
products take most of the time, and a softmax along its last dimension is slow.
"""

from collections.abc import Sequence

from simhw.roofline.layers.network import (
    SLICE,
    Conv,
    Linear,
    MatMul,
    NetworkLayer,
    Normalization,
    Pointwise,
    Softmax,
    is_free,
)


def relayouts(layers: Sequence[NetworkLayer], depth: int) -> list[tuple[int, int]]:
    """Values of a sample that change layout before and behind each layer.

    Parameters
    ----------
    layers : sequence of NetworkLayer
        In the order of the forward pass.
    depth : int
        Channels of a block, rows and columns of a fractal.
    """
    before, behind = [0] * len(layers), [0] * len(layers)
    images = uneven = False  # what flows: images in blocks, or rows that are no whole fractals
    last: int | None = None  # the layer before, if it gave out the plain layout
    entered = False  # where that layout was entered, images in blocks flowed
    for index, layer in enumerate(layers):
        if isinstance(layer, Pointwise) and _works_plain(layer, depth):
            if last is None:
                entered = images
            before[index] = layer.elements if uneven or (images and last is None) else 0
            last = index
            continue
        if is_free(layer):
            continue
        blocked = isinstance(layer, Conv) or (isinstance(layer, Normalization) and layer.kind == "batchnorm")
        if last is not None and (entered or blocked):
            behind[last] = getattr(layers[last], "elements", 0)
        last = None
        match layer:
            case Conv() | Normalization() if blocked:
                images, uneven = True, False
            case Linear() | MatMul():
                before[index], behind[index] = _of_product(layer, depth)
                images, uneven = False, bool(before[index])
            case Softmax() if layer.columns > depth and layer.columns % depth:
                before[index] = behind[index] = layer.rows * layer.columns
    return list(zip(before, behind, strict=True))


def _works_plain(layer: Pointwise, depth: int) -> bool:
    return layer.function == SLICE or (layer.function == "copy" and bool(layer.part % depth))


def _of_product(layer: Linear | MatMul, depth: int) -> tuple[int, int]:
    """Values of a sample's operands and result, where they are no whole fractals; a single row is a vector, which has
    one form.
    """
    if isinstance(layer, Linear):
        if layer.rows == 1 or not layer.rows % depth:
            return 0, 0
        return layer.rows * layer.in_features, layer.rows * layer.out_features
    if not any(size % depth for size in (layer.m, layer.n, layer.k)):
        return 0, 0
    return layer.products * (layer.m + layer.n) * layer.k, layer.products * layer.m * layer.n
