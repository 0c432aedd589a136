"""What a device executes: kernels described by their shapes alone, as a library would be asked for them.

A step of a network is a list of these.  Everything that is limited by moving data is a `Streaming` operator; products
are a `Gemm`, a `Convolution`, a `Recurrent` cell or a fused `Attention`.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

from simhw.errors import ShapeError
from simhw.roofline.numbers import BYTES, Number
from simhw.trace.layer import Operation

StreamingKind = Literal[
    "elementwise",
    "activation",
    "layernorm",
    "batchnorm",
    "softmax",
    "reduction",
    "pool",
    "embedding",
    "copy",
    "optimizer",
]
Cell = Literal["rnn", "lstm", "gru"]
Layout = Literal["nchw", "nhwc"]
"""How images lie in memory: a plane per channel, or the channels of a pixel side by side (PyTorch's channels_last)."""
GATES: dict[Cell, int] = {"rnn": 1, "lstm": 4, "gru": 3}


def _positive(owner: object, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ShapeError(f"{type(owner).__name__}: {name} is {size}; sizes are at least 1")


@dataclass(frozen=True)
class Gemm:
    """`batch` products of an (m, k) by a (k, n) matrix; rows of the (m, n) output are contiguous, as PyTorch has them.

    Attributes
    ----------
    m, n, k, batch : int
        Rows, contiguous columns, reduction, and independent products.
    number : str
        Of the operands and the output; sums are as wide as its `Format` says.
    transposed : (bool, bool)
        Whether the first matrix is stored as (k, m), the second as (n, k).  A linear layer's weights are (n, k).
    """

    m: int
    n: int
    k: int
    batch: int = 1
    number: Number = "fp32"
    transposed: tuple[bool, bool] = (False, True)

    def __post_init__(self) -> None:
        _positive(self, m=self.m, n=self.n, k=self.k, batch=self.batch)

    @property
    def flops(self) -> float:
        """Two per multiply-accumulate."""
        return 2.0 * self.batch * self.m * self.n * self.k

    @property
    def dram_bytes(self) -> float:
        """Every operand once."""
        return float(BYTES[self.number]) * self.batch * (self.m * self.k + self.k * self.n + self.m * self.n)


@dataclass(frozen=True)
class Convolution:
    """One operation of a convolution layer over 1 to 3 spatial dimensions.

    Attributes
    ----------
    operation : str
        forward, input_grad or weight_grad.
    images, in_channels, out_channels, groups : int
    size, kernel, stride, padding, dilation : tuple of int
        Per spatial dimension; `size` is the input's.
    layout : str
        Of all three tensors.  A library whose kernels want the other one converts them around the product.
    """

    operation: Operation
    images: int
    in_channels: int
    out_channels: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    number: Number = "fp32"
    layout: Layout = "nchw"

    def __post_init__(self) -> None:
        _positive(
            self, images=self.images, in_channels=self.in_channels, out_channels=self.out_channels, groups=self.groups
        )
        dims = len(self.size)
        if not 1 <= dims <= 3 or any(
            len(each) != dims for each in (self.kernel, self.stride, self.padding, self.dilation)
        ):
            raise ShapeError(
                f"Convolution: size {self.size}, kernel {self.kernel}, stride {self.stride} ... must all have 1 to 3 "
                "dimensions"
            )
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ShapeError(
                f"Convolution: {self.groups} groups do not divide {self.in_channels} and {self.out_channels} channels"
            )
        if min(self.out_size) < 1:
            raise ShapeError(f"Convolution: kernel {self.kernel} does not fit into size {self.size}")

    @property
    def out_size(self) -> tuple[int, ...]:
        """Spatial size of the output."""
        return convolved(self.size, self.kernel, self.stride, self.padding, self.dilation)

    @property
    def flops(self) -> float:
        """Two per multiply-accumulate of the direct algorithm, padding included; the same for all three operations."""
        taps = prod(self.kernel) * self.in_channels // self.groups
        return 2.0 * self.images * prod(self.out_size) * self.out_channels * taps

    @property
    def dram_bytes(self) -> float:
        """Every tensor once: input, weights and output of the layer, whichever of them is written."""
        inputs = self.images * self.in_channels * prod(self.size)
        outputs = self.images * self.out_channels * prod(self.out_size)
        weights = self.out_channels * self.in_channels // self.groups * prod(self.kernel)
        return float(BYTES[self.number]) * (inputs + outputs + weights)


def convolved(
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """Spatial size after a convolution or pooling of this geometry (rounded down)."""
    return tuple(
        (extent + 2 * pad - spread * (width - 1) - 1) // step + 1
        for extent, width, step, pad, spread in zip(size, kernel, stride, padding, dilation, strict=True)
    )


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer over a sequence: per step a product of (batch, hidden) by (hidden, gates x hidden), after one
    for all inputs.

    Attributes
    ----------
    cell : str
        rnn, lstm or gru.
    operation : str
        forward, input_grad (back through time) or weight_grad (one product over all steps).
    inputs, hidden, batch, steps : int
        `inputs` is 0 where the input, as wide as the state, is added without a product of its own (cuDNN's skip mode).
    """

    cell: Cell
    operation: Operation
    inputs: int
    hidden: int
    batch: int
    steps: int
    number: Number = "fp32"

    def __post_init__(self) -> None:
        _positive(self, hidden=self.hidden, batch=self.batch, steps=self.steps)
        if self.inputs < 0:
            raise ShapeError(f"Recurrent: inputs is {self.inputs}; give 0 or more")

    @property
    def flops(self) -> float:
        """Two per multiply-accumulate, input and recurrent products together."""
        return 2.0 * self.steps * self.batch * GATES[self.cell] * self.hidden * (self.inputs + self.hidden)

    @property
    def dram_bytes(self) -> float:
        """Weights once, and inputs, outputs and gates of every step once."""
        weights = GATES[self.cell] * self.hidden * (self.inputs + self.hidden)
        activations = self.steps * self.batch * ((self.inputs or self.hidden) + (1 + GATES[self.cell]) * self.hidden)
        return float(BYTES[self.number]) * (weights + activations)


@dataclass(frozen=True)
class Streaming:
    """An operator that is limited by moving data: elementwise, normalisation, softmax, pooling, copy, optimizer update.

    Attributes
    ----------
    kind : str
        What decides the bandwidth that it achieves.
    name : str
        The function: relu, gelu, add, tanh, adam, ...
    rows, columns : int
        Elements of the larger tensor; reductions and normalisations work along `columns`.
    read_bytes, written_bytes : float
        Unique bytes from and to memory.
    vector_operations : float
        Elementary arithmetic operations in all.
    joined : bool
        It runs inside the kernel before it, as a compiler fuses them: nothing is launched, and its bytes are those that
        the kernel moves on top of its own (a residual's second input).
    layout : str
        Of images that are normalised or pooled; others do not mind.
    pieces : int
        Stretches of memory that a row lies in: the images of a batch for a channel, the tensors of an update.
    kept_bytes : float
        Of what it reads, what the forward pass kept for it: long ago, so that no cache has it any more.
    """

    kind: StreamingKind
    name: str
    rows: int
    columns: int
    read_bytes: float
    written_bytes: float
    vector_operations: float
    number: Number = "fp32"
    joined: bool = False
    layout: Layout = "nchw"
    pieces: int = 1
    kept_bytes: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, rows=self.rows, columns=self.columns, pieces=self.pieces)

    @property
    def flops(self) -> float:
        """Its vector operations."""
        return self.vector_operations

    @property
    def dram_bytes(self) -> float:
        """Bytes read and written."""
        return self.read_bytes + self.written_bytes


@dataclass(frozen=True)
class Attention:
    """Scaled dot-product attention as one kernel: scores stay on the chip (FlashAttention, arXiv 2205.14135).

    Attributes
    ----------
    operation : str
        forward, or input_grad for the gradients of queries, keys and values together.
    batch, heads, queries, keys, width : int
        `heads` of the queries, each of `width` values; positions that ask, and positions that answer.
    shared : int
        Heads of queries that share one of keys and values (grouped-query attention).
    causal : bool
        A position sees none after it; the scores of those are left out, in whole blocks.
    """

    operation: Operation
    batch: int
    heads: int
    queries: int
    keys: int
    width: int
    shared: int = 1
    causal: bool = False
    number: Number = "fp32"

    def __post_init__(self) -> None:
        _positive(
            self,
            batch=self.batch,
            heads=self.heads,
            queries=self.queries,
            keys=self.keys,
            width=self.width,
            shared=self.shared,
        )
        if self.operation == "weight_grad":
            raise ShapeError("Attention: there are no weights; give operation forward or input_grad")
        if self.heads % self.shared:
            raise ShapeError(f"Attention: {self.shared} heads that share keys do not divide {self.heads}")

    @property
    def scores(self) -> float:
        """Pairs of a query and a key, those left out by `causal` not counted."""
        pairs = float(self.queries * self.keys)
        if self.causal:
            # The last query sees all keys, each before it one fewer, down to none.
            seen = min(self.queries, self.keys)
            pairs -= seen * (seen - 1) / 2.0 + float(self.queries - seen) * self.keys
        return pairs * self.batch * self.heads

    @property
    def flops(self) -> float:
        """Two products forward; backward five, as the scores are computed anew."""
        return 2.0 * self.scores * self.width * (2 if self.operation == "forward" else 5)

    @property
    def dram_bytes(self) -> float:
        """Queries, keys, values and outputs once; backward these and the gradients of all."""
        kept = 2.0 * self.heads * self.queries + 2.0 * self.heads // self.shared * self.keys
        return float(BYTES[self.number]) * self.batch * kept * self.width * (1 if self.operation == "forward" else 2)


Operator = Gemm | Convolution | Recurrent | Attention | Streaming
