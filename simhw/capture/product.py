"""A product of a captured step: its tensors as a trace keeps them, what ran of it, and how to know its
gradients again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from simhw.bfloat16 import BF16Array
from simhw.capture.recurrent import RecurrentCall
from simhw.capture.tensors import Identity, identity
from simhw.trace.geometry import Geometry
from simhw.trace.layer import OPERATIONS, Operation, TensorName

Form = Literal["convolution", "transposed", "linear", "matmul"]

# The operand that a gradient multiplies G with.
MULTIPLIED: dict[Operation, TensorName] = {"input_grad": "w", "weight_grad": "a"}


@dataclass(eq=False)
class Product:
    """A forward operator that multiplies, and what the backward pass did with it.

    Attributes
    ----------
    form : {"convolution", "transposed", "linear", "matmul"}
        The second is the transposed convolution.
    name : str
        Not yet unique.
    operator : str
        Without its name space.
    a, w, g : arrays of bit patterns
        Convolution as PyTorch has them; linear (M, K), (N, K), (M, N); matmul (batch..., M, K), (batch..., K, N),
        (batch..., M, N).
    operations : set of str
        Those that have run.
    swapped : bool
        The operator's first operand is W, turned: A, W and G are those of the transposed product.
    leading : tuple of int or None
        The axes that a linear layer's M stands for.
    phase : int
        How many backward passes had begun before it.
    sequence : int
        Number of the node that autograd had made last before it ran.
    recomputed : bool
        It ran forward within a backward pass.
    packed : bool
        Saved-tensor hooks were there when it ran: its gradients may be given other operands.
    shapes : dict
        Of a convolution's A and W, also where they are not held.
    scales : dict
        Of the tensors, where the module says that it multiplies integers.
    operands : Operands or None
        Of a matrix product that ran forward.
    """

    form: Form
    name: str
    operator: str
    a: BF16Array | None
    w: BF16Array | None
    g: BF16Array | None = None
    operations: set[Operation] = field(default_factory=set)
    geometry: Geometry = field(default_factory=Geometry)
    swapped: bool = False
    leading: tuple[int, ...] | None = None
    recurrent: RecurrentCall | None = None
    phase: int = 0
    sequence: int = -1
    recomputed: bool = False
    packed: bool = False
    shapes: dict[TensorName, tuple[int, ...]] = field(default_factory=dict)
    scales: dict[TensorName, float] = field(default_factory=dict)
    operands: "Operands | None" = None

    def held(self, tensor: TensorName) -> BF16Array | None:
        """The captured values of A or W."""
        return self.a if tensor == "a" else self.w

    @property
    def convolves(self) -> bool:
        """A convolution, plain or transposed."""
        return self.form in ("convolution", "transposed")

    @property
    def output_channels(self) -> int:
        """Of a convolution whose W is held."""
        assert self.w is not None  # a convolution that ran forward has it
        first: int = self.w.shape[0]
        second: int = self.w.shape[1]
        return second * self.geometry.groups if self.form == "transposed" else first

    @property
    def flat(self) -> bool:
        """A matrix product without a batch: rows may come in any number of leading axes."""
        tensor = self.a if self.a is not None else self.w
        return tensor is not None and tensor.ndim == 2


@dataclass(frozen=True)
class Operands:
    """What is remembered of a matrix product's operands A (rows, K) and W (K, N), to know them again in the backward
    pass.

    An address is only compared where the product's other operand needs a gradient: then autograd keeps this one alive.
    """

    identities: dict[TensorName, Identity]
    needed: frozenset[Operation]

    @classmethod
    def of(cls, a: Tensor, w: Tensor, a_needs_grad: bool, w_needs_grad: bool) -> "Operands":
        """Those of O = A W."""
        needs: dict[Operation, bool] = {"input_grad": a_needs_grad, "weight_grad": w_needs_grad}
        return cls(
            {"a": identity(a), "w": identity(w)}, frozenset(operation for operation, needed in needs.items() if needed)
        )


@dataclass(frozen=True)
class Reading:
    """A way to read a product x y as a gradient of O = A W: dA = G W^T, dW = A^T G, or one of these transposed.

    Attributes
    ----------
    operation : {"input_grad", "weight_grad"}
    gradient : Tensor
        G, (..., rows, N).
    operand : Tensor
        W as (..., K, N), or A as (..., rows, K).
    """

    operation: Operation
    gradient: Tensor
    operand: Tensor

    @property
    def multiplied(self) -> TensorName:
        """Which tensor of the product the operand is."""
        return MULTIPLIED[self.operation]


def single(tensor: Tensor) -> Tensor:
    """The matrix that a batch of one and the same matrix, or of one alone, repeats."""
    return tensor[0] if tensor.dim() == 3 and (tensor.stride(0) == 0 or len(tensor) == 1) else tensor


def rows(bits: BF16Array, flat: bool) -> BF16Array:
    """Values of A or G with their leading axes made one, if the product is `flat`."""
    return bits.reshape(-1, bits.shape[-1]) if flat else bits


def readings(product: Product, x: Tensor, y: Tensor) -> list[Reading]:
    """All readings of x y whose shapes fit the product."""
    all_four = (
        Reading("input_grad", x, y.mT),
        Reading("input_grad", y.mT, x),
        Reading("weight_grad", y, x.mT),
        Reading("weight_grad", x.mT, y),
    )
    output = output_shape(product)
    return [
        reading
        for reading in all_four
        if fits(product, reading) and _shape(reading.gradient, product.flat, "a") == output
    ]


def fits(product: Product, reading: Reading) -> bool:
    """Whether the operand has the shape of the product's."""
    held = product.held(reading.multiplied)
    if held is None or product.convolves:
        return False
    shape = _shape(reading.operand, product.flat, reading.multiplied)
    if reading.multiplied == "w" and product.form == "linear":
        shape = (*shape[:-2], shape[-1], shape[-2])
    return shape == held.shape


def output_shape(product: Product) -> tuple[int, ...] | None:
    """Shape of a matrix product's G, as it is captured."""
    if product.a is None or product.w is None:
        return None if product.g is None else product.g.shape
    return (*product.a.shape[:-1], product.w.shape[0] if product.form == "linear" else product.w.shape[-1])


def preferred(product: Product, same: Sequence[Reading]) -> Reading:
    """The reading that autograd's own code means where both gradients fit, for A = W^T or the like.

    It computes the second operand's gradient before the first one's for mm and bmm, the other way round for addmm and
    baddbmm.  Where a gradient and its transposed form both fit, x, y and the operand are one tensor up to
    transposition, and both readings give the same G.
    """
    if len({reading.operation for reading in same}) == 2:
        begun = len(product.operations & set(OPERATIONS[1:])) == 1
        first_before_second = product.operator in ("addmm", "baddbmm")
        of_first = first_before_second != begun
        operation = "input_grad" if of_first != product.swapped else "weight_grad"
        same = [reading for reading in same if reading.operation == operation]
    return same[0]


def _shape(tensor: Tensor, flat: bool, name: TensorName) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    if not flat or len(shape) == 2:
        return shape
    if name == "w":
        return tuple(single(tensor).shape)
    return (tensor.numel() // shape[-1] if shape[-1] else 0, shape[-1])
