"""Networks by shape alone: the layers of one forward pass in order, each with sizes for one sample.

Batch, numbers, training and fusion are no part of a network: `simhw.roofline.step.step` makes operators of it for them.
"""

from dataclasses import dataclass, field
from math import prod
from typing import Literal

from simhw.errors import ShapeError, quoted
from simhw.roofline.functions import function_of
from simhw.roofline.operators import GATES, Cell, convolved

NormKind = Literal["batchnorm", "layernorm", "rmsnorm"]


@dataclass(frozen=True)
class Conv:
    """A convolution; `size` is the input's spatial size."""

    name: str
    in_channels: int
    out_channels: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    bias: bool = False
    trainable: bool = True

    @property
    def out_size(self) -> tuple[int, ...]:
        """Spatial size of the output."""
        return convolved(self.size, self.kernel, self.stride, self.padding, self.dilation)

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        weights = self.out_channels * self.in_channels // self.groups * prod(self.kernel)
        return weights + self.out_channels * self.bias

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample, padding included."""
        return prod(self.out_size) * self.out_channels * (self.in_channels // self.groups) * prod(self.kernel)


@dataclass(frozen=True)
class Linear:
    """A linear layer over `rows` vectors per sample (1 in a classifier, the tokens in a transformer).

    `tied`: its weights are those of an embedding, which counts them.
    """

    name: str
    in_features: int
    out_features: int
    rows: int = 1
    bias: bool = True
    trainable: bool = True
    tied: bool = False

    @property
    def weights(self) -> int:
        """Weights and biases that the layer multiplies by and adds."""
        return self.in_features * self.out_features + self.out_features * self.bias

    @property
    def parameters(self) -> int:
        """Weights and biases of its own."""
        return self.weights - self.in_features * self.out_features * self.tied

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample."""
        return self.rows * self.in_features * self.out_features


@dataclass(frozen=True)
class Experts:
    """A linear layer without bias in each of some experts, between which a sample's rows are shared out.

    Attributes
    ----------
    name : str
    experts, in_features, out_features : int
    rows : int
        Of a sample, over all experts: tokens times the experts that each goes to, times the capacity where an expert
        takes a fixed number of rows.  Every expert is taken to have as many as the others.
    trainable : bool
    """

    name: str
    experts: int
    in_features: int
    out_features: int
    rows: int
    trainable: bool = True

    @property
    def parameters(self) -> int:
        """Weights of all experts."""
        return self.experts * self.in_features * self.out_features

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample."""
        return self.rows * self.in_features * self.out_features


@dataclass(frozen=True)
class MatMul:
    """`products` products per sample of two activations, (m, k) by (k, n): attention scores and their use.

    `fixed`: the right operands are the same for all samples, and nothing trains them (encodings of relative positions),
    so that each product is of the rows of all samples.
    """

    name: str
    products: int
    m: int
    n: int
    k: int
    fixed: bool = False

    @property
    def parameters(self) -> int:
        """None of its own."""
        return 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample."""
        return self.products * self.m * self.n * self.k


@dataclass(frozen=True)
class Attention:
    """Scaled dot-product attention of a sample: every query meets every key, and takes its share of each value.

    `simhw.roofline.step.attention` makes one kernel of it, or products with a softmax between them.

    Attributes
    ----------
    name : str
    heads, queries, keys, width : int
        Heads of queries, each of `width` values; positions that ask, and positions that answer.
    shared : int
        Heads of queries that share one of keys and values (grouped-query attention).
    causal : bool
        A position sees none after it.
    """

    name: str
    heads: int
    queries: int
    keys: int
    width: int
    shared: int = 1
    causal: bool = False

    parameters = 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample, of all pairs: libraries without a causal kernel compute them all."""
        return 2 * self.heads * self.queries * self.keys * self.width


@dataclass(frozen=True)
class RecurrentLayer:
    """One direction of one recurrent layer over `steps` positions."""

    name: str
    cell: Cell
    inputs: int
    hidden: int
    steps: int
    trainable: bool = True

    @property
    def parameters(self) -> int:
        """Weights and both of PyTorch's biases."""
        return GATES[self.cell] * self.hidden * (self.inputs + self.hidden + 2)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample."""
        return self.steps * GATES[self.cell] * self.hidden * (self.inputs + self.hidden)


@dataclass(frozen=True)
class Pointwise:
    """An elementwise function of `inputs` tensors of `elements` values per sample: relu, gelu, add, mul, dropout, bias,
    ...

    `part`: channels that every image of a concatenation has a multiple of; 1 where a copy is none, or it is not known.
    """

    name: str
    function: str
    elements: int
    inputs: int = 1
    part: int = 1

    parameters = 0
    macs = 0


@dataclass(frozen=True)
class Normalization:
    """Normalisation of `elements` values per sample with a scale and a shift per channel (`channels`: the width in
    layernorm and rmsnorm, which has no shift and takes no mean).
    """

    name: str
    kind: NormKind
    channels: int
    elements: int
    trainable: bool = True

    macs = 0

    @property
    def parameters(self) -> int:
        """Scale and shift."""
        return (1 if self.kind == "rmsnorm" else 2) * self.channels


@dataclass(frozen=True)
class Softmax:
    """Softmax along `columns` of `rows` vectors per sample."""

    name: str
    rows: int
    columns: int

    parameters = 0
    macs = 0


@dataclass(frozen=True)
class Pool:
    """Pooling per channel; a global average has the kernel of the whole size."""

    name: str
    kind: Literal["max", "average"]
    channels: int
    size: tuple[int, ...]
    out_size: tuple[int, ...]
    kernel: tuple[int, ...]

    parameters = 0
    macs = 0


@dataclass(frozen=True)
class Embedding:
    """A table of `vocabulary` vectors of `width`, of which a sample looks up `rows`.

    `tied`: its table is that of an embedding before it, which counts it.
    """

    name: str
    vocabulary: int
    width: int
    rows: int
    trainable: bool = True
    tied: bool = False

    macs = 0

    @property
    def parameters(self) -> int:
        """Values of a table of its own."""
        return self.vocabulary * self.width * (not self.tied)


@dataclass(frozen=True)
class Weight:
    """Parameters that no layer above has: class tokens, position embeddings.  They cost an optimizer update alone."""

    name: str
    parameters: int
    trainable: bool = True

    macs = 0


FORK = "fork"
"""A `Pointwise` that costs nothing forward: its value is used `inputs` times from here, so as many gradients are added
up.
"""
SLICE = "slice"
"""A `Pointwise` that costs nothing forward: its value is cut into `inputs` parts.  Their gradients are written into
zeros of the whole, and added up.  A compiler whose layout pads channels moves the parts.
"""
NetworkLayer = (
    Conv
    | Linear
    | Experts
    | MatMul
    | Attention
    | RecurrentLayer
    | Pointwise
    | Normalization
    | Softmax
    | Pool
    | Embedding
    | Weight
)
"""Anything a network is made of."""


def is_free(layer: NetworkLayer) -> bool:
    """Whether a layer has no kernel in a forward pass: parameters, forks and views."""
    if isinstance(layer, Pointwise):
        return layer.function == FORK or function_of(layer.function).views
    return isinstance(layer, Weight)


@dataclass(frozen=True)
class Network:
    """Layers in the order of the forward pass.

    Attributes
    ----------
    name : str
    layers : tuple of NetworkLayer
        With names that differ.
    source : str
        Where the shapes come from: a paper, a file, a capture.
    cautions : tuple of str
        What was read otherwise than it stands there.
    batch : int or None
        Samples of the step that the source tells of; None where it tells of one sample.
    """

    name: str
    layers: tuple[NetworkLayer, ...]
    source: str = ""
    cautions: tuple[str, ...] = field(default=(), compare=False)
    batch: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for layer in self.layers:
            if layer.name in seen:
                raise ShapeError(f"{self.name}: two layers are called {quoted(layer.name)}")
            seen.add(layer.name)

    @property
    def parameters(self) -> int:
        """Trainable values of all layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a forward pass over one sample."""
        return sum(layer.macs for layer in self.layers)
