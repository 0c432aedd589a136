"""A layer where it stands in a network: which numbers flow into and out of it, and what a training step needs of it.

Without mixed precision everything has one number.  With it, as PyTorch's autocast does it: products (convolution,
linear, matmul, attention, recurrent) work and write in fp16; layer norm, softmax, embeddings and the loss work and
write in fp32; adding a parameter (function ``bias``) or a tensor in fp32 gives fp32; batch norm, pooling and every
other function keep the number that flows in.  Where a layer works in another number than the one that flows in, a cast
kernel runs before it, but softmax in fp16 casts while it reads (it has no such kernel for bf16).

A list has no edges, so what a layer reads is told by order and size.  The second tensor of an ``add`` is taken to be
that of the last fork of its size which none closed yet; where there is none, to have the number that the last ``add``
before it gave out, which is that of the residual stream.  Other functions of several tensors read those that were just
made.  The first n - 1 products after a fork of n uses whose input is as large read the forked value: query, key and
value each cast the tensor that they share.  They are n where the residual parted before, at a fork that is still open.

A graph compiler (`fused`) keeps every activation in fp16, the input included, and casts in passing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from simhw.roofline.layers.network import (
    FORK,
    Attention,
    Conv,
    Embedding,
    Experts,
    Linear,
    MatMul,
    Network,
    NetworkLayer,
    Normalization,
    Pointwise,
    Pool,
    RecurrentLayer,
    Softmax,
    Weight,
    is_free,
)
from simhw.roofline.layers.parameters import multiplied_tensors
from simhw.roofline.numbers import BYTES, Number, StepNumbers
from simhw.roofline.operators import Layout
from simhw.roofline.step.compiler import FRAMEWORK, Compiler
from simhw.roofline.step.relayout import relayouts

PRODUCTS = (Conv, Linear, Experts, MatMul, Attention, RecurrentLayer)
"""Layers that multiply."""


@dataclass(frozen=True)
class Placed:
    """A layer and its surroundings.

    Attributes
    ----------
    layer : NetworkLayer
    batch : int
    training, fused : bool
        Whether gradients follow; whether elementwise functions join the kernel before them.
    reads, works, writes : str
        Numbers of what flows in, of the layer's arithmetic, and of what it gives out.
    other : str
        Number of the second and further tensors that an elementwise function reads.
    weights : str
        Number in which parameters are kept.
    input_grad : bool
        Training, and something trainable lies before the layer.
    joins : bool
        The layer is elementwise and runs inside the kernel before it.
    after_batchnorm : bool
        The layer before it is a batch norm.
    explicit_forks : bool
        The network says where a value is used more than once (function ``fork``).
    layout : str
        Of images in memory.
    relaid : tuple of int
        Values of a batch that a compiler brings to another layout before the layer, and behind it.
    """

    layer: NetworkLayer
    batch: int
    training: bool
    fused: bool
    reads: Number
    works: Number
    writes: Number
    other: Number
    weights: Number
    input_grad: bool
    joins: bool
    after_batchnorm: bool
    explicit_forks: bool
    layout: Layout
    relaid: tuple[int, int]

    @property
    def input_values(self) -> int:
        """Values of a batch that flow into the layer (the first operand of a matmul)."""
        return self.batch * _input_values(self.layer)

    @property
    def casts_input(self) -> bool:
        """A kernel casts what flows in before the layer runs."""
        return self.works != self.reads and not self.fused and not self.casts_in_passing

    @property
    def casts_in_passing(self) -> bool:
        """The layer's own kernel reads one number, and works in another."""
        return isinstance(self.layer, Softmax) and self.reads == "fp16"

    @property
    def casts_weights(self) -> bool:
        """The layer multiplies by weights that are kept in another number than it works in."""
        return bool(self.multiplied) and self.weights != self.works

    @property
    def multiplied(self) -> tuple[int, ...]:
        """Values of each tensor of weights that the layer multiplies by and adds, its own or an embedding's; a compiler
        casts them at once.
        """
        tensors = multiplied_tensors(self.layer)
        return (sum(tensors),) if self.fused and tensors else tensors


def place(
    network: Network,
    batch: int,
    training: bool,
    numbers: StepNumbers,
    fused: bool,
    layout: Layout,
    compiler: Compiler = FRAMEWORK,
) -> list[Placed]:
    """Every layer of a network with its surroundings, in order.

    Parameters
    ----------
    network : Network
    batch : int
        Samples.
    training, fused : bool
        As in `Run`.
    numbers : StepNumbers
    layout : str
        Of images in memory.
    compiler : Compiler
        Of whoever fuses.
    """
    return list(_placed(network, batch, training, numbers, fused, layout, compiler))


def _placed(
    network: Network,
    batch: int,
    training: bool,
    numbers: StepNumbers,
    fused: bool,
    layout: Layout,
    compiler: Compiler,
) -> Iterator[Placed]:
    number, mixed = numbers.products, numbers.mixed and not fused
    explicit_forks = any(isinstance(layer, Pointwise) and layer.function == FORK for layer in network.layers)
    flow: Number = "fp32" if mixed else number
    stream: Number | None = None
    trainable_before = False
    kernel_before = False  # that a function may join
    batchnorm_before = False
    forked: tuple[Number, int] = ("fp32", 0)  # number and values of the last fork
    branches = 0  # products that may still read it
    open_forks: list[tuple[Number, int]] = []
    nested = False  # the last fork is of the size of one that is open
    depth = compiler.depth.get(number) if fused else None
    relaid = relayouts(network.layers, depth) if depth else [(0, 0)] * len(network.layers)
    for layer, (before, behind) in zip(network.layers, relaid, strict=True):
        if mixed and branches and isinstance(layer, Conv | Linear) and _input_values(layer) == forked[1]:
            flow = forked[0]
            branches -= 1
            if nested and not branches and open_forks[-1:] == [forked]:
                open_forks.pop()  # query, key and value were all that read it
        other = flow
        if isinstance(layer, Pointwise) and layer.function == "add" and layer.inputs > 1:
            other = _closed(open_forks, layer.elements) or stream or flow
        works, writes = _numbers(layer, flow, other, number) if mixed else (number, number)
        joins = fused and kernel_before and compiler.may_join(layer, training)
        yield Placed(
            layer=layer,
            batch=batch,
            training=training,
            fused=fused,
            reads=flow,
            works=works,
            writes=writes,
            other=other,
            weights=numbers.weights,
            input_grad=training and trainable_before,
            joins=joins,
            after_batchnorm=batchnorm_before,
            explicit_forks=explicit_forks,
            layout=layout,
            relaid=(batch * before, batch * behind),
        )
        trainable_before = trainable_before or _trainable(layer)
        if isinstance(layer, Pointwise) and layer.function == FORK:
            nested = any(elements == layer.elements for _, elements in open_forks)
            forked, branches = (flow, layer.elements), layer.inputs - (not nested)
            open_forks.append(forked)
        if is_free(layer) or (not training and isinstance(layer, Pointwise) and layer.function == "dropout"):
            continue
        flow = writes
        kernel_before = joins or not compiler.after_products or isinstance(layer, PRODUCTS) or _is_batchnorm(layer)
        batchnorm_before = _is_batchnorm(layer)
        if isinstance(layer, Pointwise) and layer.function == "add":
            stream = writes


def _is_batchnorm(layer: NetworkLayer) -> bool:
    return isinstance(layer, Normalization) and layer.kind == "batchnorm"


def _closed(open_forks: list[tuple[Number, int]], elements: int) -> Number | None:
    """The number of the last open fork of that size, which is closed, and with it all that were opened since."""
    for index in reversed(range(len(open_forks))):
        if open_forks[index][1] == elements:
            number = open_forks[index][0]
            del open_forks[index:]
            return number
    return None


def _input_values(layer: NetworkLayer) -> int:
    """Values of a sample that flow into a layer."""
    match layer:
        case Conv():
            return layer.in_channels * prod(layer.size)
        case Linear():
            return layer.rows * layer.in_features
        case Experts():
            return layer.rows * layer.in_features
        case MatMul():
            return layer.products * layer.m * layer.k
        case Attention():
            return layer.heads * layer.queries * layer.width
        case RecurrentLayer():
            return layer.steps * (layer.inputs or layer.hidden)
        case Normalization() | Pointwise():
            return layer.elements
        case Softmax():
            return layer.rows * layer.columns
        case Pool():
            return layer.channels * prod(layer.size)
        case Embedding() | Weight():
            return 0


def _numbers(layer: NetworkLayer, flow: Number, other: Number, number: Number) -> tuple[Number, Number]:
    """Numbers in which a layer works and writes under autocast."""
    if isinstance(layer, PRODUCTS):
        return number, number
    if isinstance(layer, Softmax | Embedding) or (isinstance(layer, Normalization) and layer.kind != "batchnorm"):
        return "fp32", "fp32"
    if isinstance(layer, Pointwise) and layer.function == "bias":
        return flow, "fp32"
    if isinstance(layer, Pointwise) and layer.inputs > 1:
        return flow, max(flow, other, key=lambda each: BYTES[each])
    return flow, flow


def _trainable(layer: NetworkLayer) -> bool:
    """Whether gradients must reach the layer; a `Weight` stands anywhere in a list, so it asks for none."""
    return isinstance(layer, Conv | Linear | Experts | RecurrentLayer | Normalization | Embedding) and layer.trainable
