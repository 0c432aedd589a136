"""One multiply-accumulate layer instance of a training step: what it is, its tensors, and what was measured of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, prod
from numbers import Real
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array, as_bfloat16, term_counts
from simhw.errors import ShapeError, quoted
from simhw.trace.geometry import (
    CONVOLUTIONS,
    KINDS,
    RECURRENT,
    TRANSPOSED_CONVOLUTIONS,
    Geometry,
    geometry_of,
    integers,
    mapping,
    output_spatial,
)
from simhw.trace.operation import OPERATIONS as OPERATIONS
from simhw.trace.operation import Operation as Operation

TensorName = Literal["a", "w", "g"]
TENSORS: tuple[TensorName, ...] = ("a", "w", "g")

# The tensors on the two sides (X, Y) of each operation's product, before the serial or scheduled side is chosen.
OPERANDS: dict[Operation, tuple[TensorName, TensorName]] = {
    "forward": ("a", "w"),
    "input_grad": ("g", "w"),
    "weight_grad": ("a", "g"),
}

BLOCK_ROWS = 16
"""Rows of X and of Y of a sampled cell, fewer only where a product ends."""
# What a transposed convolution's operations and tensors are of the convolution that it mirrors.
MIRRORED_OPERATION: dict[Operation, Operation] = {
    "forward": "input_grad",
    "input_grad": "forward",
    "weight_grad": "weight_grad",
}
MIRRORED_TENSOR: dict[TensorName, TensorName] = {"a": "g", "w": "w", "g": "a"}


@runtime_checkable
class TensorSource(Protocol):
    """A tensor that may still lie in a file: its shape is known, its values are read when asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self) -> BF16Array: ...


@dataclass(frozen=True)
class InMemory:
    """A tensor source that holds its values, which are bit patterns.

    Raises
    ------
    ShapeError
        They are no array of uint16.
    """

    values: BF16Array

    def __post_init__(self) -> None:
        if getattr(self.values, "dtype", None) != np.uint16:
            raise ShapeError(
                f"values of {getattr(self.values, 'dtype', type(self.values).__name__)}: give bit patterns, as uint16"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def read(self) -> BF16Array:
        return self.values


@dataclass(frozen=True)
class TensorStatistics:
    """Whole-tensor statistics, recorded at capture so that a sample keeps them.

    Attributes
    ----------
    size : int
        Number of values.
    zeros : int
        Values the machines see as zero (+-0 and subnormals).
    exponents : (256,) int64
        Histogram of the exponent field over all values.
    fractions : (128,) int64
        Histogram of the fraction field over the non-zero values; every encoder's term count follows from it.
    zeros_per_image : (images,) int64
        Zeros of each index of the leading axis (one entry for weights).
    terms_per_image : (images,) int64
        NAF terms of each index of the leading axis.
    compressed_bytes : dict
        Size under ``"bdc"`` (exponent base-delta, groups of 32 along channels) and ``"zero"`` (a bit mask and the
        non-zeros).
    """

    size: int
    zeros: int
    exponents: npt.NDArray[np.int64]
    fractions: npt.NDArray[np.int64]
    zeros_per_image: npt.NDArray[np.int64]
    terms_per_image: npt.NDArray[np.int64]
    compressed_bytes: dict[str, int]

    @property
    def zero_fraction(self) -> float:
        return self.zeros / self.size if self.size else 0.0

    def terms_per_value(self, encoder: Literal["naf", "booth4", "binary"] = "naf") -> float:
        """Mean signed powers of two per value; a zero counts 0."""
        return float(self.fractions @ term_counts(encoder)) / self.size if self.size else 0.0


@dataclass(frozen=True)
class ProductBlock:
    """A random cell of one operation's product: up to 16 consecutive rows of X and of Y, each over the whole reduction.

    ``family`` and ``product`` index what `simhw.lowering.lower` gives for the layer; ``x_start`` and ``y_start`` are
    multiples of 16.  ``x`` and ``y`` have shape (rows, K) with K the reduction before any padding to sets.
    """

    family: int
    product: int
    x_start: int
    y_start: int
    x: TensorSource
    y: TensorSource


@dataclass(init=False, eq=False)
class Layer:
    """A layer instance and its tensors A (input), W (weights or second operand) and G (gradient of the output).

    Parameters
    ----------
    name : str
        Module path, made unique per instance.
    kind : {"conv1d", "conv2d", "conv3d", "conv_transpose1d", ..., "linear", "matmul", "lstm", "gru"}
        ``"conv"`` and ``"conv_transpose"`` take their dimensions from the tensors.
    geometry : Geometry or mapping or None
        ``stride``, ``padding``, ``dilation`` (integers or one per spatial dimension) and ``groups`` of a convolution;
        of a transposed one ``output_padding`` as well.
    a, w, g : uint16 bit patterns, floating-point arrays, TensorSource or None
        Shapes as PyTorch has them.  Convolution: (N, C, spatial...), (out, C / groups, kernel...), (N, out,
        spatial...); transposed: (N, C, spatial...), (C, out / groups, kernel...), (N, out, spatial...). Linear:
        (samples..., in), (out, in), (samples..., out).  Matmul: (batch..., M, K), (batch..., K, N), (batch..., M, N).
        LSTM and GRU gate products: (time, batch, in), (out, in), (time, batch, out). Floating-point values are rounded
        to bfloat16, nearest even.
    operations : sequence of str, optional
        The operations that training ran; by default those whose tensors are there.
    shapes : mapping, optional
        Shapes of tensors that are not held (a sampled layer).
    statistics : mapping of tensor name to TensorStatistics, optional
    blocks : mapping of operation to sequence of ProductBlock, optional
        The sampled product cells of a layer whose tensors are not held whole.
    blocks_by_size : bool
        Whether blocks of one size were drawn apart from those of another; else a family's were drawn from all of its.
    scales : mapping of tensor name to float, optional
        What a tensor's values times it are in the network: of quantised training, whose tensors are small integers.  It
        is applied outside of the products, so no machine sees it.

    Raises
    ------
    ShapeError
        The kind is unknown, or shapes, types and geometry do not fit each other.
    """

    name: str
    kind: str
    geometry: Geometry
    shapes: dict[TensorName, tuple[int, ...]]
    operations: tuple[Operation, ...]
    statistics: dict[TensorName, TensorStatistics] = field(repr=False)
    blocks: dict[Operation, tuple[ProductBlock, ...]] = field(repr=False)
    blocks_by_size: bool
    scales: dict[TensorName, float]

    def __init__(
        self,
        name: str,
        kind: str,
        geometry: Geometry | Mapping[str, object] | None = None,
        a: npt.ArrayLike | TensorSource | None = None,
        w: npt.ArrayLike | TensorSource | None = None,
        g: npt.ArrayLike | TensorSource | None = None,
        operations: Sequence[str] | None = None,
        shapes: Mapping[TensorName, tuple[int, ...]] | None = None,
        statistics: Mapping[TensorName, TensorStatistics] | None = None,
        blocks: Mapping[Operation, Sequence[ProductBlock]] | None = None,
        blocks_by_size: bool = False,
        scales: Mapping[TensorName, float] | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise ShapeError(f"a layer's name is {quoted(name)}: give a text")
        self.name, where = name, f"layer {name!r}"
        self._sources: dict[TensorName, TensorSource] = {}
        for tensor, values in zip(TENSORS, (a, w, g), strict=True):
            if isinstance(values, TensorSource):
                self._sources[tensor] = values
            elif values is not None:
                self._sources[tensor] = InMemory(as_bfloat16(values, f"layer {name!r}, tensor {tensor.upper()}"))
        given = mapping(shapes, f"{where}, shapes", TENSORS)
        self.shapes = {t: integers(shape, None, f"{where}, shape of {t.upper()}") for t, shape in given.items()}
        self.shapes |= {t: source.shape for t, source in self._sources.items()}
        if kind in ("conv", "conv_transpose") and "w" in self.shapes:
            kind = f"{kind}{len(self.shapes['w']) - 2}d"
        if kind not in KINDS:
            raise ShapeError(f"{where}: unknown kind {quoted(kind)}; known are {', '.join(KINDS)}")
        self.kind = kind
        try:
            self.geometry = geometry_of(kind, geometry)
        except ShapeError as error:
            raise ShapeError(f"{where}: {error}") from None
        self.statistics = dict(mapping(statistics, f"{where}, statistics", TENSORS))
        for tensor, measured in self.statistics.items():
            # Those of a tensor that is not held may be of fewer images, that the step was grown from.
            held = prod(self.shapes[tensor]) if tensor in self._sources else None
            if not isinstance(measured, TensorStatistics) or held not in (None, measured.size):
                raise ShapeError(
                    f"{where}, tensor {tensor.upper()}: what is given are no statistics of its {held or 'own'} values"
                )
        sampled = mapping(blocks, f"{where}, blocks", OPERATIONS)
        for cells in sampled.values():
            if not isinstance(cells, Sequence) or not all(isinstance(cell, ProductBlock) for cell in cells):
                raise ShapeError(f"{where}: its blocks are {quoted(cells)}; give sequences of ProductBlock")
        self.blocks = {operation: tuple(cells) for operation, cells in sampled.items()}
        self.blocks_by_size = blocks_by_size
        factors = mapping(scales, f"{where}, scales", TENSORS)
        self.scales = {t: _scale(factors[t], t, where) for t in TENSORS if t in factors}
        possible = [o for o in OPERATIONS if all(t in self.shapes for t in OPERANDS[o])]
        if isinstance(operations, str) or not isinstance(operations, Iterable | None):
            raise ShapeError(
                f"{where}: its operations are {quoted(operations)}; give a list with some of {', '.join(OPERATIONS)}"
            )
        wanted = possible if operations is None else list(operations)
        for operation in wanted:
            if operation not in OPERATIONS:
                raise ShapeError(f"{where}: unknown operation {quoted(operation)}; known are {', '.join(OPERATIONS)}")
            if operation not in possible:
                missing = [t.upper() for t in OPERANDS[operation] if t not in self.shapes]
                raise ShapeError(f"{where}: operation {operation} needs tensor {' and '.join(missing)}")
        self.operations = tuple(o for o in OPERATIONS if o in wanted)
        check_shapes(self)

    @property
    def sampled(self) -> bool:
        """True where the layer holds product blocks instead of whole tensors."""
        return bool(self.blocks)

    def holds(self, tensor: TensorName) -> bool:
        """True where the whole tensor can be read."""
        return tensor in self._sources

    def source(self, tensor: TensorName) -> TensorSource:
        """The tensor's source, unread.

        Raises
        ------
        ShapeError
            The layer does not hold this tensor.
        """
        if tensor not in self._sources:
            raise ShapeError(f"layer {self.name!r} does not hold tensor {tensor.upper()} whole")
        return self._sources[tensor]

    @property
    def output_spatial(self) -> tuple[int, ...]:
        """Spatial extent of a convolution's output, from A, W and the geometry."""
        return output_spatial(self.kind, self.geometry, self.shapes["a"], self.shapes["w"])

    @property
    def a(self) -> BF16Array:
        """Input activations, read now."""
        return self.source("a").read()

    @property
    def w(self) -> BF16Array:
        """Weights or second operand, read now."""
        return self.source("w").read()

    @property
    def g(self) -> BF16Array:
        """Gradient of the output, read now."""
        return self.source("g").read()


def _scale(value: object, tensor: TensorName, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value) or value <= 0:
        raise ShapeError(f"{where}: the scale of {tensor.upper()} is {quoted(value)}; give a positive number")
    return float(value)


def check_shapes(layer: Layer) -> None:
    """Check that the tensors' shapes fit each other, the kind and the geometry.

    Raises
    ------
    ShapeError
        Names the layer, the tensor, and what was expected.
    """

    def fail(tensor: str, problem: str) -> None:
        raise ShapeError(f"layer {layer.name!r}, tensor {tensor.upper()}: shape {layer.shapes.get(tensor)} {problem}")  # type: ignore[call-overload]  # any text may be asked for

    shapes = layer.shapes
    for tensor, shape in shapes.items():
        if not shape or any(n < 1 for n in shape):
            fail(tensor, "has an empty axis")
    if layer.kind in CONVOLUTIONS:
        rank = CONVOLUTIONS[layer.kind] + 2
        for tensor, shape in shapes.items():
            if len(shape) != rank:
                fail(tensor, f"needs {rank} axes for {layer.kind}")
        groups = layer.geometry.groups
        if "w" in shapes and shapes["w"][0] % groups:
            fail("w", f"has a first axis that {groups} groups do not divide")
        if "a" in shapes and shapes["a"][1] % groups:
            fail("a", f"has channels that {groups} groups do not divide")
        if "a" in shapes and "w" in shapes:
            # A transposed convolution keeps W as the convolution that it mirrors: (in, out / groups, kernel...).
            first, second = shapes["w"][0], shapes["w"][1] * groups
            inputs, outputs = (first, second) if layer.kind in TRANSPOSED_CONVOLUTIONS else (second, first)
            if shapes["a"][1] != inputs:
                fail("w", f"does not fit {shapes['a'][1]} input channels in {groups} groups")
            out = layer.output_spatial
            if min(out) < 1:
                fail("w", f"leaves no output of the input {shapes['a'][2:]}; padding or kernel are too large")
            expected = (shapes["a"][0], outputs, *out)
            if "g" in shapes and shapes["g"] != expected:
                fail("g", f"should be {expected} for A {shapes['a']}, W {shapes['w']} and {layer.geometry}")
        return
    if layer.kind in RECURRENT:
        for tensor in ("a", "g"):
            if tensor in shapes and len(shapes[tensor]) != 3:
                fail(tensor, "needs the axes (time, batch, features)")
    if "w" in shapes and layer.kind != "matmul" and len(shapes["w"]) != 2:
        fail("w", "needs the axes (out, in)")
    # A matmul's second operand is (batch..., K, N); the others keep W as (out, in), like PyTorch.
    batched = layer.kind == "matmul"
    for tensor, shape in shapes.items():
        if len(shape) < 2:
            fail(tensor, "needs at least two axes")
    if batched and len({shape[:-2] for shape in shapes.values()}) > 1:
        fail("w", f"and A {shapes.get('a')}, G {shapes.get('g')} differ in their batch axes")
    if "a" in shapes and "w" in shapes:
        reduction = shapes["w"][-2] if batched else shapes["w"][1]
        if shapes["a"][-1] != reduction:
            fail("w", f"does not fit the {shapes['a'][-1]} features of A")
    if "g" in shapes and "w" in shapes:
        outputs = shapes["w"][-1] if batched else shapes["w"][0]
        if shapes["g"][-1] != outputs:
            fail("g", f"does not fit the {outputs} outputs of W")
    if "g" in shapes and "a" in shapes and shapes["g"][:-1] != shapes["a"][:-1]:
        fail("g", f"does not fit the leading axes of A {shapes['a']}")
