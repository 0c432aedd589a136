"""Embedding bags with a weight for each row that they look up: a bag's weights times its rows, forward and backward.

A bag is the product of a row of weights (1, rows) and its part of the table (rows, features); bags of equal length are
one batch.  Without weights a bag is a sum, which multiplies nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simhw.capture.ledger import Ledger
from simhw.capture.names import Names
from simhw.capture.product import Product
from simhw.capture.tensors import Copier
from simhw.trace.layer import Operation

_BACKWARD: dict[str, Operation] = {
    "_embedding_bag_per_sample_weights_backward": "input_grad",
    "_embedding_bag_backward": "weight_grad",
    "_embedding_bag_dense_backward": "weight_grad",
}


@dataclass(frozen=True)
class _Bags:
    """Bags of one length: which they are, and the product that they were in last."""

    numbers: Tensor
    product: Product


class EmbeddingBags:
    """Records weighted embedding bags in a step's ledger."""

    def __init__(self, ledger: Ledger, names: Names, copier: Copier) -> None:
        self._ledger = ledger
        self._names = names
        self._copier = copier
        self._by_node: dict[int, list[_Bags]] = {}

    def record(self, operator: str, args: Sequence[Any]) -> None:
        """Record what an operator of embedding bags, or of their gradients, multiplies."""
        if operator not in _BACKWARD:
            self._forward(*args)
            return
        node = self._ledger.running_node()
        if node is not None and node.name().startswith("EmbeddingBag"):
            number, operation = node._sequence_nr(), _BACKWARD[operator]
            self._by_node[number] = [self._gradient(operation, args[0], each) for each in self._by_node.get(number, ())]

    def _forward(
        self,
        table: Tensor,
        indices: Tensor,
        offsets: Tensor,
        scale: bool = False,  # noqa: ARG002  # the operator's signature, here and below
        mode: int = 0,  # noqa: ARG002
        sparse: bool = False,  # noqa: ARG002
        weights: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int = -1,
    ) -> None:
        if weights is None or not indices.numel():
            return
        ends = offsets[1:] if include_last_offset else torch.cat([offsets[1:], offsets.new_tensor([indices.numel()])])
        bag_of = torch.bucketize(torch.arange(indices.numel(), device=indices.device), ends, right=True)
        kept = torch.nonzero((indices != padding_idx) & (bag_of < len(ends))).flatten()
        lengths = torch.bincount(bag_of[kept], minlength=len(ends))
        starts = lengths.cumsum(0) - lengths
        name = self._names.layer_name(self._names.weight(table), "embedding_bag")
        number, found = self._ledger.last_node(), []
        for length in sorted({int(n) for n in lengths} - {0}):
            numbers = torch.nonzero(lengths == length).flatten()
            places = kept[starts[numbers, None] + torch.arange(length, device=indices.device)]
            product = Product(
                form="matmul",
                name=name,
                operator="embedding_bag",
                a=self._copier.bits(weights[places][:, None], f"layer {name!r}, tensor A"),
                w=self._copier.bits(table[indices[places]], f"layer {name!r}, tensor W"),
            )
            self._ledger.add_forward(product)
            found.append(_Bags(numbers, product))
        self._by_node[number] = found

    def _gradient(self, operation: Operation, gradient: Tensor, bags: _Bags) -> _Bags:
        product, own = bags.product, gradient[bags.numbers][:, None]
        if operation in product.operations or (product.g is not None and not self._copier.holds(own, product.g)):
            product = self._ledger.again(product)
        if product.g is None:
            product.g = self._copier.bits(own, f"layer {product.name!r}, tensor G")
        product.operations.add(operation)
        return _Bags(bags.numbers, product)
