"""A product O = P Q of a captured step: its tensors, what ran of it, and how to know its gradients again."""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from simhw.bfloat16 import BF16Array
from simhw.capture.functions import RecurrentCall
from simhw.capture.tensors import Identity, identity
from simhw.trace.layer import Geometry, Operation

Form = Literal["convolution", "linear", "matmul"]


@dataclass(eq=False)
class Product:
    """A forward operator that multiplies, and what the backward pass did with it.

    Attributes
    ----------
    form : {"convolution", "linear", "matmul"}
    name : str
        Not yet unique.
    a, w, g : arrays of bit patterns
        Convolution as PyTorch has them; linear (M, K), (N, K), (M, N); matmul (batch..., M, K), (batch..., K, N), (batch..., M, N).
    operations : set of str
        Those that have run.
    swapped : bool
        The weight was the first operand: A, W and G are those of the transposed product.
    leading : tuple of int or None
        The axes that a linear layer's M stands for.
    phase : int
        How many backward passes had begun before it.
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
    first: "Operand | None" = None
    second: "Operand | None" = None

    def operand_bits(self, second: bool) -> BF16Array | None:
        """The captured values of the matrix operator's first or second operand, in its shape."""
        if self.form == "matmul":
            return self.w if second else self.a
        # A linear layer keeps its weight as (out, in): transposed where it is the second operand; else its input is.
        if second:
            turned = self.a if self.swapped else self.w
            return None if turned is None else turned.T
        return self.w if self.swapped else self.a


@dataclass(frozen=True)
class Operand:
    """What is remembered of an operand, to know it again in the backward pass.

    An address is only compared where the product's other operand needs a gradient: then autograd keeps this one alive.
    """

    shape: tuple[int, ...]
    identity: Identity
    needs_grad: bool

    @classmethod
    def of(cls, tensor: Tensor, wrapped_grad: bool) -> "Operand":
        """That of a matrix or a batch of matrices; `wrapped_grad` where a tensor subclass that needs a gradient wraps it."""
        return cls(tuple(tensor.shape), identity(tensor), wrapped_grad or tensor.requires_grad)


@dataclass(frozen=True)
class GradientForm:
    """A way to read a product x y as a gradient of O = P Q.

    Attributes
    ----------
    of_first : bool
        P's gradient, not Q's.
    gradient : Tensor
        G, in O's shape.
    operand : Tensor
        The other of x and y, as P or Q would be shaped.
    """

    of_first: bool
    gradient: Tensor
    operand: Tensor


def gradient_forms(product: Product, x: Tensor, y: Tensor) -> list[GradientForm]:
    """All readings of x y whose shapes fit: dP = G Q^T, dP^T = Q G^T, dQ = P^T G, dQ^T = G^T P."""
    p, q = product.first, product.second
    if p is None or q is None or x.dim() != len(p.shape):
        return []
    output = (*p.shape[:-1], q.shape[-1])
    readings = (
        GradientForm(True, x, y.mT),
        GradientForm(True, y.mT, x),
        GradientForm(False, y, x.mT),
        GradientForm(False, x.mT, y),
    )
    return [
        form
        for form in readings
        if (p if form.of_first else q).needs_grad
        and tuple(form.gradient.shape) == output
        and tuple(form.operand.shape) == (q if form.of_first else p).shape
    ]


def preferred_form(product: Product, forms: list[GradientForm]) -> GradientForm:
    """The reading that autograd's own code means where both gradients fit, for P = Q^T or the like.

    It computes dQ before dP for mm and bmm, dP before dQ for addmm and baddbmm.  Where a gradient and its transposed form
    both fit, x, y and the operand are one tensor up to transposition, and both readings give the same G.
    """
    if len({form.of_first for form in forms}) == 2:
        first_is_p = product.operator in ("addmm", "baddbmm")
        begun = len(product.operations & {"input_grad", "weight_grad"}) == 1
        forms = [form for form in forms if form.of_first == (first_is_p != begun)]
    return forms[0]
