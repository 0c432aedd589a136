"""Convolutions of a captured step, forward and backward, plain and transposed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from simhw.capture.ledger import Ledger, check_unpacked
from simhw.capture.names import Names
from simhw.capture.product import MULTIPLIED, Product
from simhw.capture.tensors import Copier
from simhw.trace.geometry import Geometry
from simhw.trace.layer import Operation

_GRADIENTS: tuple[Operation, Operation] = ("input_grad", "weight_grad")


class Convolutions:
    """Records convolutions in a step's ledger."""

    def __init__(self, ledger: Ledger, names: Names, copier: Copier) -> None:
        self._ledger = ledger
        self._names = names
        self._copier = copier

    def record(self, x: Tensor, weight: Tensor, bias: Tensor | None, *shape: Any) -> None:
        """Record a convolution that runs now; the arguments are those of ``aten::convolution``."""
        if x.numel() == 0 or weight.numel() == 0:
            return
        node = self._ledger.running_node()
        if node is not None:
            self._ledger.product_of(node, "convolution")
        product = self._product(x, weight, *shape, present=_GRADIENTS)
        self._ledger.add_forward(product, *(t for t in (x, weight, bias) if t is not None))

    def record_backward(self, grad: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, *shape_and_mask: Any) -> None:  # noqa: ARG002  # the operator's signature
        """Record the gradients of one; the arguments are those of ``aten::convolution_backward``."""
        *shape, mask = shape_and_mask
        # The mask's third is the bias.
        ran = [operation for operation, wanted in zip(_GRADIENTS, mask, strict=False) if wanted]
        if not ran or grad.numel() == 0:
            return
        node = self._ledger.running_node()
        product = None if node is None else self._ledger.product_of(node, "convolution_backward")
        seen = self._product(x, weight, *shape, present=ran, captured=False)
        if product is None:
            candidates = [] if node is None else [*self._ledger.within(node), *self._ledger.unlinked()]
            product = self._shared(candidates, seen, ran, grad)
        if product is None:
            # A gradient that a program computes itself, of no convolution that was captured: it has no forward pass.
            product = self._product(x, weight, *shape, present=ran)
            self._ledger.add_gradient(product)
        else:
            changed = not _same(product, seen, ran)
            # A layer has one G: of two passes through one graph that ask for different gradients each has its own.
            other = product.g is not None and not self._copier.holds(grad, product.g)
            if changed:
                check_unpacked(product)
            if changed or other or product.operations.intersection(ran):
                product = self._ledger.again(product)
            if changed:
                # Written to since the forward pass, unseen.
                product.a = seen.a if seen.a is not None else product.a
                product.w = seen.w if seen.w is not None else product.w
        if product.g is None:
            product.g = self._copier.bits(grad, f"layer {product.name!r}, tensor G")
        product.operations.update(ran)

    def _product(
        self,
        x: Tensor,
        weight: Tensor,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        transposed: bool,
        output_padding: Sequence[int],
        groups: int,
        *,
        present: Sequence[Operation],
        captured: bool = True,
    ) -> Product:
        """The product with the tensors that some operations multiply G with; forward has both."""
        dims = weight.dim() - 2
        kind = f"conv_transpose{dims}d" if transposed else f"conv{dims}d"
        name = self._names.layer_name(self._names.weight(weight), kind)
        held = {}
        for tensor, values in (("a", x), ("w", weight)):
            if any(MULTIPLIED[operation] == tensor for operation in present):
                what = f"layer {name!r}, tensor {tensor.upper()}"
                held[tensor] = self._copier.bits(values, what) if captured else self._copier.peek(values)

        def each(values: Sequence[int]) -> tuple[int, ...]:
            return tuple(values) * dims if len(values) == 1 else tuple(values)

        geometry = Geometry(
            each(stride), each(padding), each(dilation), groups, each(output_padding) if transposed else ()
        )
        return Product(
            form="transposed" if transposed else "convolution",
            name=name,
            operator="convolution",
            a=held.get("a"),
            w=held.get("w"),
            geometry=geometry,
            shapes={"a": tuple(x.shape), "w": tuple(weight.shape)},
            scales=self._names.scales(),
        )

    def _shared(
        self, candidates: Sequence[Product], seen: Product, ran: Sequence[Operation], grad: Tensor
    ) -> Product | None:
        """The convolution that has the operands of a gradient, one whose gradient has not been seen first."""
        same = [
            product
            for product in candidates
            if product.form == seen.form
            and product.geometry == seen.geometry
            and product.output_channels == grad.shape[1]
            and _same(product, seen, ran)
            and (product.a is None or len(product.a) == len(grad))
        ]
        # Convolutions may share an operand: one with the same G comes first, then one without.
        unseen = [product for product in same if not product.operations.intersection(ran)]
        unseen.sort(key=lambda product: 1 if product.g is None else 0 if self._copier.holds(grad, product.g) else 2)
        return next(iter(unseen or same), None)


def _same(product: Product, seen: Product, ran: Sequence[Operation]) -> bool:
    """Whether the operands that a gradient multiplied are those of the product."""
    pairs = [(product.held(MULTIPLIED[operation]), seen.held(MULTIPLIED[operation])) for operation in ran]
    return all(ours is not None and theirs is not None and np.array_equal(ours, theirs) for ours, theirs in pairs)
