"""Matrix products of a captured step, forward and backward, as layers keep them.

One operand that is a parameter makes a linear layer.  An operand that PyTorch repeats along a batch without copying it
(stride 0) is one tensor: the batch becomes rows of the other operand.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction

from simhw.bfloat16 import BF16Array
from simhw.capture.functions import Functions
from simhw.capture.ledger import Ledger, check_unpacked, forward_again, is_solver
from simhw.capture.names import Names
from simhw.capture.product import Operands, Product, Reading, fits, preferred, readings, rows, single
from simhw.capture.tensors import Copier, identity
from simhw.errors import CaptureError
from simhw.trace.layer import TensorName


class Matrices:
    """Records matrix products in a step's ledger."""

    def __init__(self, ledger: Ledger, names: Names, functions: Functions, copier: Copier) -> None:
        self._ledger = ledger
        self._names = names
        self._functions = functions
        self._copier = copier

    def record(self, operator: str, first: Tensor, second: Tensor) -> None:
        """Record the product of two matrices, or of two batches of them, that runs now."""
        if first.numel() == 0 or second.numel() == 0:
            return
        node = self._ledger.running_node()
        if node is None or not self._backward(node, operator, first, second):
            self._ledger.add_forward(self._product(operator, first, second), first, second)

    def _product(self, operator: str, first: Tensor, second: Tensor) -> Product:
        leading, recurrent = self._functions.leading, self._functions.recurrent
        weights = [self._names.weight(first), self._names.weight(second)]
        if leading is not None:
            # The input of `linear` is no weight, though it may be a buffer; its weight is one, though it may be
            # computed from others.
            weights[0] = []
        one = [tensor.dim() == 2 or single(tensor) is not tensor for tensor in (first, second)]
        repeated = [tensor.dim() == 3 and tensor.stride(0) == 0 and len(tensor) > 1 for tensor in (first, second)]
        # Of two parameters multiplied by each other neither is the input: a plain product.
        linear = one[1] if leading is not None else bool(weights[0]) != bool(weights[1]) and one[0 if weights[0] else 1]
        swapped = bool(weights[0]) if linear else repeated[0] and not repeated[1]
        flat = linear or any(repeated)
        a, w = (second.mT, first.mT) if swapped else (first, second)
        if flat:
            w = single(w)
            if a.dim() == 3 and leading is None:
                leading = tuple(a.shape[:-1])
        kind = recurrent.kind if linear and recurrent else "linear" if linear else "matmul"
        name = self._names.layer_name(weights[0] or weights[1] if linear else [], kind)
        # Autograd sees a tensor subclass alone: what it wraps needs no gradient by itself.
        wrapped = self._ledger.wrapped_by is not None
        needs = wrapped or second.requires_grad, wrapped or first.requires_grad
        return Product(
            form="linear" if linear else "matmul",
            name=name,
            operator=operator,
            a=rows(self._copier.bits(a, f"layer {name!r}, tensor A"), flat),
            w=self._copier.bits(w.mT if linear else w, f"layer {name!r}, tensor W"),
            swapped=swapped,
            leading=leading if linear else None,
            recurrent=recurrent if linear else None,
            scales=self._names.scales(swapped),
            operands=Operands.of(a, w, *(needs if swapped else reversed(needs))),
        )

    # Gradients

    def _backward(self, node: Any, operator: str, x: Tensor, y: Tensor) -> bool:
        """Record a product of the backward pass; False where it is one of a forward pass that is run again."""
        product = self._ledger.product_of(node, operator)
        if product is not None:
            return self._gradient_of(product, node, x, y)
        if is_solver(node):
            self._alone(node, operator, x, y)
            return True
        # A user's function or a scripted graph: whose operand is it?  That of the function itself, if it has one of
        # these values.
        within = self._ledger.within(node)
        for candidates in (within, self._ledger.unlinked()):
            found = self._shared(candidates, x, y)
            if found is not None:
                self._add(*found)
                return True
        if forward_again(node) or self._runs_again(x, y):
            return False
        fitting = [(candidate, reading) for candidate in within for reading in readings(candidate, x, y)]
        if len(fitting) > 1:
            # The operand does not tell A from G, where their shapes are alike; the G of the product's other gradient
            # does.
            fitting = [
                (candidate, reading) for candidate, reading in fitting if self._same_gradient(candidate, reading)
            ]
        if isinstance(node, BackwardCFunction) and len(fitting) == 1:
            # With an operand of its own, such as weights that were not quantised.
            self._add(*fitting[0], changed=True)
            return True
        raise CaptureError(
            f"{node.name()}: its backward pass runs a product of shapes {tuple(x.shape)} and {tuple(y.shape)}, which "
            "has no operand of a "
            "forward product; a hook on a gradient that multiplies, or such a function, cannot be captured: leave it "
            "out of captured steps"
        )

    def _gradient_of(self, product: Product, node: Any, x: Tensor, y: Tensor) -> bool:
        """Record a gradient of a product whose node runs; False where a forward pass is run again within."""
        assert product.operands is not None  # a matrix product has them
        possible = [reading for reading in readings(product, x, y) if reading.operation in product.operands.needed]
        there = [reading for reading in possible if self._same_memory(product, reading)]
        if there:
            # What was written into the operand since, unseen, is what this gradient is computed from.
            same = [reading for reading in there if self._same_values(product, reading)]
            self._add(product, preferred(product, same or there), changed=not same)
            return True
        if forward_again(node):
            # Activation checkpointing runs part of the forward pass again inside a node: a product of its own.
            return False
        # Activation checkpointing and offloading give back another tensor of the same values, on some devices up to
        # rounding.
        for share in (1.0, 0.9):
            same = [reading for reading in possible if self._same_values(product, reading, share)]
            if same:
                self._add(product, preferred(product, same))
                return True
        check_unpacked(product)
        raise CaptureError(
            f"layer {product.name!r}: its backward pass runs a product of shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}, "
            "which is none of its gradients; a hook on a gradient that multiplies cannot be captured: leave it out "
            "of the captured step"
        )

    def _shared(self, candidates: Iterable[Product], x: Tensor, y: Tensor) -> tuple[Product, Reading] | None:
        """The product that x or y is an operand of, and how to read x y then.

        Products may share an operand: one with the same G comes first, then one without, then one whose gradient has
        not been seen.
        """
        unseen = seen = None
        for product in candidates:
            for reading in readings(product, x, y):
                if not self._same_values(product, reading):
                    continue
                if reading.operation in product.operations:
                    seen = seen or (product, reading)
                elif self._same_gradient(product, reading):
                    return product, reading
                elif unseen is None or (unseen[0].g is not None and product.g is None):
                    unseen = product, reading
        return unseen or seen

    def _runs_again(self, x: Tensor, y: Tensor) -> bool:
        """Whether a forward product is run again, without gradients being followed: x y, or the transposed product."""
        for product in self._ledger.products:
            if "forward" not in product.operations:
                continue
            for a, w in ((x, y), (y.mT, x.mT)):
                readings_of_both = Reading("weight_grad", a, a), Reading("input_grad", a, w)
                if all(fits(product, reading) and self._same_values(product, reading) for reading in readings_of_both):
                    return True
        return False

    def _add(self, product: Product, reading: Reading, changed: bool = False) -> None:
        """Take in a gradient; `changed` where its operand has not the values that the forward product had."""
        # A layer has one G: of two passes through one graph that ask for different gradients each has its own, and a
        # function may round G for each of its products.
        other = product.g is not None and not self._same_gradient(product, reading)
        if reading.operation in product.operations or changed or other:
            product = self._ledger.again(product)
        if changed:
            bits = self._bits(product, reading.operand, reading.multiplied)
            if reading.multiplied == "a":
                product.a = bits
            else:
                product.w = bits
        if product.g is None:
            product.g = self._bits(product, reading.gradient, "g")
        product.operations.add(reading.operation)

    def _alone(self, node: Any, operator: str, x: Tensor, y: Tensor) -> None:
        """Take in a product of a solver's gradient, whose forward pass is no product: G W."""
        name = self._names.layer_name([], str(node.name()).rstrip("0123456789"))
        product = Product(form="matmul", name=name, operator=operator, a=None, w=None)
        product.w = self._copier.bits(y.mT, f"layer {name!r}, tensor W")
        product.g = self._copier.bits(x, f"layer {name!r}, tensor G")
        product.operations.add("input_grad")
        self._ledger.add_gradient(product)

    def _bits(self, product: Product, tensor: Tensor, name: TensorName) -> BF16Array:
        """The tensor's values, captured as the product keeps its A, W or G."""
        bits = self._copier.bits(_turned(product, tensor, name), f"layer {product.name!r}, tensor {name.upper()}")
        return bits if name == "w" else rows(bits, product.flat)

    def _same_values(self, product: Product, reading: Reading, share: float = 1.0) -> bool:
        held = product.held(reading.multiplied)
        if held is None:
            return False
        operand = _turned(product, reading.operand, reading.multiplied)
        if share == 1:
            return self._copier.holds(operand, held)
        return float((self._copier.peek(operand).reshape(held.shape) == held).mean()) >= share

    def _same_gradient(self, product: Product, reading: Reading) -> bool:
        return product.g is not None and self._copier.holds(reading.gradient, product.g)

    def _same_memory(self, product: Product, reading: Reading) -> bool:
        assert product.operands is not None  # asked for products with a node alone
        operand = single(reading.operand) if product.flat and reading.multiplied == "w" else reading.operand
        return identity(operand) == product.operands.identities[reading.multiplied]


def _turned(product: Product, tensor: Tensor, name: TensorName) -> Tensor:
    """A tensor of O = A W with the axes that the product keeps it with, but for a flat product's leading ones."""
    if name != "w":
        return tensor
    matrix = single(tensor) if product.flat else tensor
    return matrix.mT if product.form == "linear" else matrix
