"""The products of a step in the order in which they ran, and which of them autograd's running node belongs to.

A gradient's operator is linked to the forward one exactly: a forward operator runs right after autograd has made its
node, whose sequence number it can read; in the backward pass the running node, and so its number, is known.  A user's
own `torch.autograd.Function` and a scripted graph are one node for all that runs within: there the products of this
node are looked through for the operand that the gradient shares with one of them.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from simhw.capture.product import Product
from simhw.errors import CaptureError

_NODES = {
    "mm": "MmBackward",
    "addmm": "AddmmBackward",
    "bmm": "BmmBackward",
    "baddbmm": "BaddbmmBackward",
    # Tensor subclasses meet these whole.
    "linear": "LinearBackward",
    "matmul": "MatmulBackward",
    "convolution": "ConvolutionBackward",
}
# PyTorch's own nodes whose gradients are products, though their forward operator is none that capture records.
_SOLVERS = ("Linalg", "Cholesky", "Ormqr", "Triangular", "Lu", "Pinverse", "FftR2C", "FftC2R", "FftC2C")


class Ledger:
    """What has been captured of a step so far.

    Attributes
    ----------
    products : list of Product
    wrapped_by : str or None
        Operator that runs on a tensor subclass which needs a gradient: autograd's node is this one's.
    """

    def __init__(self) -> None:
        self.products: list[Product] = []
        self.wrapped_by: str | None = None
        self._by_node: dict[int, Product] = {}
        self._loose: list[Product] = []
        self._phase = 0
        self._in_backward = False

    def add_forward(self, product: Product, *operands: Tensor) -> None:
        """Take in a product that runs now, with the operands of its operator."""
        node: Any = torch._C._current_autograd_node()
        if self._in_backward and node is None:
            self._in_backward = False
            self._phase += 1
        product.phase = self._phase
        product.operations.add("forward")
        product.recomputed = node is not None and not _accumulates(node)
        product.operator = self.wrapped_by or product.operator
        product.sequence = self.last_node()
        product.packed = torch._C._autograd._top_saved_tensors_default_hooks(False) is not None
        self.products.append(product)
        number = self.node_of(*operands)
        if number is None:
            self._loose.append(product)
        else:
            self._by_node[number] = product

    def node_of(self, *operands: Tensor) -> int | None:
        """Sequence number of the node that autograd has just made for a forward operator, if it has."""
        needed = torch.is_grad_enabled() and (
            self.wrapped_by is not None or any(tensor.requires_grad for tensor in operands)
        )
        return self.last_node() if needed else None

    def last_node(self) -> int:
        """Sequence number of the node that autograd has made last."""
        number: int = torch.autograd._get_sequence_nr() - 1  # type: ignore[attr-defined]  # torch's stubs lack it
        return number

    def add_gradient(self, product: Product) -> None:
        """Take in a gradient whose forward product was not captured."""
        product.phase = self._phase
        self.products.append(product)

    def running_node(self) -> Any:
        """Autograd's node whose gradients are computed now, if any."""
        node: Any = torch._C._current_autograd_node()
        if node is None or _accumulates(node):
            return None
        self._in_backward = True
        return node

    def product_of(self, node: Any, operator: str) -> Product | None:
        """The product whose node this is; None where it is no product's.

        Raises
        ------
        CaptureError
            It is a product's, but of one that was not captured.
        """
        product = self._by_node.get(node._sequence_nr())
        # Numbers count per thread, and capture watches only its own: a node of another thread may bear a number seen
        # here.
        if product is not None and node.name().startswith(_NODES.get(product.operator, "none")):
            return product
        if node.name().startswith(tuple(_NODES.values())):
            raise CaptureError(
                f"operator aten::{operator} computes a gradient ({node.name()}) of a product that was not captured; "
                "put forward, backward "
                "and optimizer step all inside `with capture.step()`.  Gradients of gradients (create_graph=True) "
                "and those of torch.func "
                "cannot be captured: leave out the term that needs them, or use backward()"
            )
        return None

    def within(self, node: Any) -> list[Product]:
        """Products that ran within the function or graph that the node stands for, the last one first."""
        number = node._sequence_nr()
        return [product for product in reversed(self._loose) if product.sequence == number]

    def unlinked(self) -> Iterator[Product]:
        """Products that autograd has no node of their own for, the last one first."""
        return reversed(self._loose)

    def again(self, product: Product) -> Product:
        """The instance that stands for a further backward pass through the same forward operator."""
        repeated = replace(product, g=None, operations=set(), phase=self._phase, recomputed=False)
        self.products.append(repeated)
        for node, known in self._by_node.items():
            if known is product:
                self._by_node[node] = repeated
        self._loose = [repeated if known is product else known for known in self._loose]
        return repeated


def is_solver(node: Any) -> bool:
    """True for a node of PyTorch's own whose gradient is made of products, though it is no product."""
    return str(node.name()).startswith(_SOLVERS)


def forward_again(node: Any) -> bool:
    """Whether a forward pass is run again within the node: by a function of the user's, or by activation
    checkpointing's hooks.

    Gradients that are followed (create_graph=True) run in this way too, but without either.
    """
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    return torch.is_grad_enabled() and (isinstance(node, BackwardCFunction) or hooks is not None)


def _accumulates(node: Any) -> bool:
    # Hooks that run when a gradient is there, such as an optimizer's step within the backward pass, are no part of the
    # pass.
    return str(node.name()).endswith("AccumulateGrad")


def check_unpacked(product: Product) -> None:
    """Raise CaptureError for a product whose gradient has another operand than it had, where saved-tensor hooks have
    given that.
    """
    if product.packed:
        raise CaptureError(
            f"layer {product.name!r}: saved-tensor hooks gave back other values for its backward pass than were "
            "saved, as a compression of "
            "activations does; a layer has one tensor of each, so run the captured step without these hooks"
        )
