"""Products written elementwise: two tensors multiplied, and the result summed over axes that both of them have.

``(x[:, :, None] * w).sum(1)`` is the product of x and w like ``x @ w``.  A factor that none of the summed axes touches
only scales a sum; that is no product.

Some sums are counted by name alone: of all values, as losses are; of another module's result; along axes that a view
made; at given places (``index_add``); and of squares along some axes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from simhw.capture.ledger import Ledger, forward_again
from simhw.capture.names import Names
from simhw.capture.product import Product
from simhw.capture.tensors import Copier, identity, storage, tensors_in, unseen
from simhw.trace.layer import Operation


@dataclass(frozen=True)
class _Axes:
    """What the axes of an elementwise product are in A (batch, rows, K) and W (batch, K, columns)."""

    shape: torch.Size
    batch: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    summed: tuple[int, ...]

    @classmethod
    def of(cls, x: Tensor, y: Tensor, shape: torch.Size, summed: Sequence[int]) -> "_Axes | None":
        """Those of x * y summed over axes; None where that is no product."""
        varies_x, varies_y = _varying(x, shape), _varying(y, shape)
        if not any(varies_x[axis] and varies_y[axis] for axis in summed):
            return None
        kept = [axis for axis in range(len(shape)) if axis not in summed]
        batch = tuple(axis for axis in kept if varies_x[axis] and varies_y[axis])
        columns = tuple(axis for axis in kept if varies_y[axis] and not varies_x[axis])
        rows = tuple(axis for axis in kept if axis not in batch and axis not in columns)
        return cls(shape, batch, rows, columns, tuple(summed))

    @property
    def turned(self) -> "_Axes":
        """Those of y * x."""
        return _Axes(self.shape, self.batch, self.columns, self.rows, self.summed)

    def laid_out(self, tensor: Tensor, *groups: tuple[int, ...]) -> Tensor:
        """The tensor with one axis for each group of axes, after those of the batch if there is one; constant along all
        others.
        """
        whole = tensor.expand(self.shape)
        wanted = [axis for group in (self.batch, *groups) for axis in group]
        for axis in reversed([axis for axis in range(len(self.shape)) if axis not in wanted]):
            whole = whole.select(axis, 0)
        left = sorted(wanted)
        sizes = [math.prod(self.shape[axis] for axis in group) for group in groups]
        lead = [math.prod(self.shape[axis] for axis in self.batch)] if self.batch else []
        return whole.permute([left.index(axis) for axis in wanted]).reshape(*lead, *sizes)


def _varying(tensor: Tensor, shape: torch.Size) -> list[bool]:
    missing = len(shape) - tensor.dim()
    there = [n > 1 and stride != 0 for n, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    return [False] * missing + there


@dataclass(frozen=True)
class _Multiplied:
    """A result of x * y that may still be summed; its operands are None where they were overwritten."""

    alive: StorageWeakRef
    identity: object
    version: int
    squares: bool
    operands: tuple[tuple[Tensor, int], ...] | None
    operator: str
    sequence: int
    backward: bool
    path: str


class Elementwise:
    """Records elementwise products in a step's ledger.

    Parameters
    ----------
    note : callable
        Counts a product that cannot be recorded, by its operators.
    """

    def __init__(self, ledger: Ledger, names: Names, copier: Copier, note: Callable[[str], None]) -> None:
        self._note = note
        self._ledger = ledger
        self._names = names
        self._copier = copier
        self._results: dict[int, _Multiplied] = {}
        self._enough = 1
        self._linked: dict[int, tuple[Product, _Axes]] = {}

    def multiply(self, operator: str, args: Sequence[Any], result: Tensor, writes: bool) -> None:
        """Take in an elementwise product that has run; `writes` where it wrote its result into a tensor
        that was there.
        """
        power = operator.startswith("aten::pow")
        squares = power and len(args) > 1 and not isinstance(args[1], Tensor) and args[1] == 2
        factors = [args[0], args[0]] if squares else args[:2]
        if len(factors) < 2 or any(
            not isinstance(each, Tensor) or unseen(each) or each.is_meta or each.numel() < 2 for each in factors
        ):
            return
        if power and not squares:
            return
        x, y = factors
        node = self._ledger.running_node()
        backward = node is not None and not forward_again(node)
        if backward and node._sequence_nr() in self._linked and node.name().startswith("MulBackward"):
            self._gradient(node._sequence_nr(), x, y)
            return
        self._forget_dead()
        self._results[storage(result)] = _Multiplied(
            alive=StorageWeakRef(result.untyped_storage()),  # type: ignore[no-untyped-call]  # likewise
            identity=identity(result),
            # What is written in place is counted after the operator has run.
            version=_version(result) + (writes and not result.is_inference()),
            squares=squares,
            operands=None if result is x else ((x, _version(x)), (y, _version(y))),
            operator=operator,
            sequence=self._ledger.last_node(),
            backward=backward,
            path=self._names.path,
        )

    def _forget_dead(self) -> None:
        """Let go of results that are gone, and of their operands, once an eighth as many were added as there are.

        Looking at all of them for every new one takes time in the square of a recurrent network's time steps.
        """
        if len(self._results) >= self._enough:
            self._results = {number: each for number, each in self._results.items() if not each.alive.expired()}  # type: ignore[no-untyped-call]  # torch's
            self._enough = len(self._results) + max(1, len(self._results) // 8)

    def sum(self, operator: str, args: Sequence[Any]) -> None:
        """Take in a sum that runs now, over all axes or those that its second argument names."""
        tensor = args[0]
        product = self._product_in(tensor)
        if product is None:
            return
        if product.identity != identity(tensor):
            self._note_sum(product, operator)
            return
        given = args[1] if len(args) > 1 and isinstance(args[1], Sequence) else ()
        dims = tensor.dim()
        summed = sorted({axis % dims for axis in given} or set(range(dims)))
        if product.operands is None or any(_version(each) != version for each, version in product.operands):
            self._note_sum(product, operator)
            return
        (x, _), (y, _) = product.operands
        axes = _Axes.of(x, y, tensor.shape, summed)
        if axes is None or (product.squares and len(summed) == dims):
            return  # the sum of all squares is a loss or a norm
        if product.squares or product.backward or len(summed) == dims or product.path != self._names.path:
            self._note_sum(product, operator)
        else:
            self._forward(product.sequence, x, y, axes)

    def sum_elsewhere(self, operator: str, args: Sequence[Any]) -> None:
        """Count a sum that no product can be made of, such as one into given places, if it is one of elementwise
        products.
        """
        for tensor in tensors_in(args):
            product = self._product_in(tensor)
            if product is not None:
                self._note_sum(product, operator)

    def _product_in(self, tensor: Tensor) -> _Multiplied | None:
        """The elementwise product whose result a tensor is, or is a view of, if nothing was written to it since."""
        product = self._results.get(storage(tensor))
        if product is None or product.alive.expired() or product.version != _version(tensor):  # type: ignore[no-untyped-call]  # likewise
            return None
        return product

    def _note_sum(self, product: _Multiplied, operator: str) -> None:
        self._note(f"{product.operator} and {operator}{' in a gradient' if product.backward else ''}")

    def _forward(self, sequence: int, x: Tensor, y: Tensor, axes: _Axes) -> None:
        weights = [self._names.weight(x), self._names.weight(y)]
        swapped = bool(weights[0]) and not weights[1]
        if swapped:
            x, y, axes = y, x, axes.turned
        linear = bool(weights[0]) != bool(weights[1]) and not axes.batch
        name = self._names.layer_name(weights[0] or weights[1] if linear else [], "linear" if linear else "matmul")
        a, w = axes.laid_out(x, axes.rows, axes.summed), axes.laid_out(y, axes.summed, axes.columns)
        product = Product(
            form="linear" if linear else "matmul",
            name=name,
            operator="mul",
            a=self._copier.bits(a, f"layer {name!r}, tensor A"),
            w=self._copier.bits(w.mT if linear else w, f"layer {name!r}, tensor W"),
            leading=tuple(axes.shape[axis] for axis in axes.rows) if linear else None,
        )
        self._ledger.add_forward(product)
        product.sequence = sequence
        self._linked[sequence] = product, axes

    def _gradient(self, number: int, x: Tensor, y: Tensor) -> None:
        """Take in G times one of a product's operands."""
        product, axes = self._linked[number]
        for gradient, operand in ((x, y), (y, x)):
            g = axes.laid_out(gradient, axes.rows, axes.columns) if gradient.shape == axes.shape else None
            operation = None if g is None else self._operation(product, axes, operand)
            if g is None or operation is None:
                continue
            constant = gradient
            for axis in axes.summed:
                constant = constant.narrow(axis, 0, 1)
            if not torch.equal(constant.expand(axes.shape), gradient):
                break  # the elementwise result went elsewhere too: this is no gradient of the sum alone
            if operation in product.operations or (product.g is not None and not self._copier.holds(g, product.g)):
                product = self._ledger.again(product)
                self._linked[number] = product, axes
            if product.g is None:
                product.g = self._copier.bits(g, f"layer {product.name!r}, tensor G")
            product.operations.add(operation)
            return
        self._note("aten::mul and aten::sum in a gradient")

    def _operation(self, product: Product, axes: _Axes, operand: Tensor) -> Operation | None:
        """The gradient that an operand of the product is multiplied with G for."""
        if operand.dim() > len(axes.shape) or any(
            n not in (1, size) for n, size in zip(operand.shape[::-1], axes.shape[::-1], strict=False)
        ):
            return None
        w = axes.laid_out(operand, axes.summed, axes.columns)
        candidates: tuple[tuple[Operation, Tensor, Any], ...] = (
            ("input_grad", w.mT if product.form == "linear" else w, product.w),
            ("weight_grad", axes.laid_out(operand, axes.rows, axes.summed), product.a),
        )
        same = [operation for operation, tensor, held in candidates if (self._copier.peek(tensor) == held).all()]
        # Where a tensor is multiplied by itself both fit, one after the other.
        return next((operation for operation in same if operation not in product.operations), same[0] if same else None)


def _version(tensor: Tensor) -> int:
    """Counts what is written into a tensor; tensors of inference mode have no count."""
    return 0 if tensor.is_inference() else tensor._version
