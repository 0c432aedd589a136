"""Every kind of layer seen as one: a batched, grouped convolution.

A linear layer is a convolution with a kernel of one position over its samples, a matmul or a gate product of an LSTM or
GRU a batch of those.  A transposed convolution is the convolution that it mirrors, with A and G exchanged: its forward
product is the other's input gradient.  The axes of the common form are A (batch, images, channels, spatial...), W
(batch or 1, outputs, channels of a group, kernel...) and G (batch, images, outputs, spatial...).
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

from simhw.bfloat16 import BF16Array
from simhw.errors import TraceError
from simhw.trace.geometry import CONVOLUTIONS, TRANSPOSED_CONVOLUTIONS, Geometry
from simhw.trace.layer import Layer, Operation, TensorName


@dataclass(frozen=True)
class View:
    """Extents of a layer in the common form.

    Attributes
    ----------
    batch : int
        Products that share nothing but, where `shared_weights`, W: batch x heads of a matmul, time steps of a gate
        product.
    images : int
        Images of a convolution: they share W and, in weight_grad, add up.
    inputs, outputs : int
        Channels of A and of G, all groups together.
    leads : {"batch", "images"} or None
        What runs along the leading axis of A and G.
    heads : int
        Members of the batch for each index of the leading axis.
    """

    kind: str
    batch: int
    images: int
    inputs: int
    outputs: int
    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    out: tuple[int, ...]
    geometry: Geometry
    shared_weights: bool
    leads: Literal["batch", "images"] | None
    heads: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates, the same for all three operations: outputs times kernel times channels.

        As counts of networks are published and as profilers count: products with a convolution's padding are among
        them.
        """
        pairs = self.inputs * (self.outputs // self.geometry.groups) * prod(self.kernel) * prod(self.out)
        return self.batch * self.images * pairs

    def array(self, tensor: TensorName, raw: BF16Array) -> BF16Array:
        """The tensor's values in the common form, a view of `raw`."""
        if tensor == "w":
            if self.kind in CONVOLUTIONS:
                return raw[None]
            if self.kind == "matmul":
                return raw.reshape(self.batch, self.inputs, self.outputs).swapaxes(1, 2)[..., None]
            return raw[None, :, :, None]
        if self.kind in CONVOLUTIONS:
            return raw[None]
        return raw.reshape(self.batch, self.images, -1, raw.shape[-1]).swapaxes(2, 3)

    def products_per_image(self, rest: int, summed: bool = False) -> int | None:
        """Products of each leading-axis index, for products over (batch, images, the rest) or, where `summed`, (batch,
        the rest).
        """
        if self.leads == "batch":
            return self.heads * rest
        return rest if self.leads == "images" and not summed else None


def view_layer(layer: Layer, operation: Operation, per_image: bool) -> View:
    """The common form of a layer for an operation; `per_image` keeps the samples of a linear layer's leading axis
    apart.

    Raises
    ------
    TraceError
        A shape that the operation needs is not known.
    """
    shapes = layer.shapes

    def known(*tensors: TensorName) -> TensorName:
        for tensor in tensors:
            if tensor in shapes:
                return tensor
        names = " or ".join(t.upper() for t in tensors)
        raise TraceError(
            f"layer {layer.name!r}, operation {operation}: the shape of {names} is not known; add it to the trace"
        )

    if layer.kind in CONVOLUTIONS:
        a, w = shapes[known("a")], shapes[known("w")]
        if layer.kind in TRANSPOSED_CONVOLUTIONS:
            # As the convolution that it mirrors, whose input it gives and whose output it takes.
            inputs = w[1] * layer.geometry.groups
            return View(
                layer.kind, 1, a[0], inputs, w[0], layer.output_spatial, w[2:], a[2:], layer.geometry, True, "images"
            )
        return View(layer.kind, 1, a[0], a[1], w[0], a[2:], w[2:], layer.output_spatial, layer.geometry, True, "images")
    samples = shapes[known("a", "g")]
    inputs = shapes["a"][-1] if "a" in shapes else shapes[known("w")][-2 if layer.kind == "matmul" else -1]
    outputs = shapes["g"][-1] if "g" in shapes else shapes[known("w")][-1 if layer.kind == "matmul" else 0]
    geometry = Geometry(stride=(1,), padding=(0,), dilation=(1,))
    if layer.kind == "linear":
        images, positions = (samples[0], prod(samples[1:-1])) if per_image else (1, prod(samples[:-1]))
        leads: Literal["images"] | None = "images" if per_image else None
        return View(layer.kind, 1, images, inputs, outputs, (positions,), (1,), (positions,), geometry, True, leads)
    batch, windows = prod(samples[:-2]), (samples[-2],)
    heads = batch // samples[0] if len(samples) > 2 else 1
    leads_batch: Literal["batch"] | None = "batch" if len(samples) > 2 else None
    shared = layer.kind != "matmul"
    return View(layer.kind, batch, 1, inputs, outputs, windows, (1,), windows, geometry, shared, leads_batch, heads)


def multiply_accumulates(layer: Layer, operation: Operation) -> int:
    """Multiply-accumulates of an operation, whatever the machine that runs it.

    Raises
    ------
    TraceError
        A shape that the operation needs is not known.
    """
    return view_layer(layer, operation, per_image=False).macs
