"""Watches a training step at the dispatcher: every product it runs, forward and backward, with its real operands.

A gradient's operator is linked to the forward one exactly: a forward operator runs right after autograd has made its
node, whose sequence number it can read; in the backward pass the running node, and so its number, is known.
Source: spec page techniques.md, sections 0 and 3.4.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from simhw.capture.functions import Functions
from simhw.capture.names import Names
from simhw.capture.operators import Role, role
from simhw.capture.product import GradientForm, Operand, Product, gradient_forms, preferred_form
from simhw.capture.tensors import Copier, identity, unseen
from simhw.errors import CaptureError
from simhw.trace.layer import Geometry, Operation

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


@dataclass(frozen=True, slots=True)
class Operator:
    """What is looked up once of an operator: a step runs thousands.

    Attributes
    ----------
    name, plain : str
        With its name space; without it and without the underscore of an in-place form.
    role : Role
    writes, copies, composite : bool
        It writes into an argument; its result is a copy of its first one; it is made of other operators.
    """

    name: str
    plain: str
    role: Role
    writes: bool
    copies: bool
    composite: bool


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class
    """Records the products of one step.

    Parameters
    ----------
    names : Names
    functions : Functions
    copier : Copier
    ignore : set of str
        Operators, as refusals name them, that the user says do no multiply-accumulate work that counts.
    """

    supports_higher_order_operators = True

    def __init__(self, names: Names, functions: Functions, copier: Copier, ignore: frozenset[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's class
        self.products: list[Product] = []
        self.noted: dict[str, int] = {}
        self._names = names
        self._functions = functions
        self._copier = copier
        self._ignore = ignore
        self._known: dict[Any, Operator] = {}
        self._by_node: dict[int, Product] = {}
        self._phase = 0
        self._in_backward = False
        self._passed: set[int] = set()
        self._handed_on: OpOverload | None = None
        self._wrapped_by: str | None = None

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Record what `func` multiplies, and run it."""
        given = kwargs or {}
        if not isinstance(func, OpOverload):
            self._refuse(func.name(), "use another form of it")
            return func(*args, **given)
        known = self._known.get(func) or self._learn(func)
        if any(issubclass(each, FakeTensor) for each in types):
            self._note_without_values(known)
            return func(*args, **given)
        if any(each.__torch_dispatch__ is not Tensor.__torch_dispatch__ for each in types):  # type: ignore[attr-defined]
            return self._wrapped(known, func, args, given)
        # Operators arrive whole in inference mode and from within a tensor subclass; else as what they are made of.
        if known.composite and not any(tensor.is_nested for tensor in _tensors(args)):
            with self:
                parts = func.decompose(*args, **given)
            if parts is not NotImplemented:
                return parts
        # Operands are copied before the operator runs: it may write into one of them.
        if known.role != "harmless":
            self._record(known, args)
        result = func(*args, **given)
        if known.writes:
            self._copier.forget(_tensors((*args, *given.values())))
        if known.copies:
            self._names.cast(args[0], result)
        return result

    def _learn(self, func: OpOverload) -> Operator:
        name = func._schema.name
        namespace, _, operator = name.partition("::")
        what = "harmless" if name in self._ignore else role(namespace, operator)
        copies, composite = operator in ("_to_copy", "clone"), torch._C._dispatch_has_kernel(str(func._name)) and func._can_decompose()
        known = Operator(name, operator.removesuffix("_"), what, func._schema.is_mutable, copies, composite)
        self._known[func] = known
        return known

    def _wrapped(self, known: Operator, func: OpOverload, args: Sequence[Any], given: Mapping[str, Any]) -> Any:
        """Let a tensor subclass, such as a distributed or a jagged tensor, take an operator apart; its parts arrive here in turn."""
        if self._handed_on is func:
            self._handed_on = None
            return NotImplemented
        before = self._wrapped_by
        # Autograd sees the subclass alone: what it wraps needs no gradient by itself.
        if before is None and any(tensor.requires_grad for tensor in _tensors((*args, *given.values()))):
            self._wrapped_by = known.plain
        self._handed_on = func
        try:
            with self:
                return func(*args, **given)
        finally:
            self._wrapped_by = before

    def _record(self, known: "Operator", args: Sequence[Any]) -> None:
        what = known.role
        if what == "noted":
            self._note(known.name)
            return
        node: Any = torch._C._current_autograd_node()
        if node is not None and node._sequence_nr() in self._passed:
            return
        tensors = list(_tensors(args))
        # A refused operator's integers may be indices.
        odd = next((why for tensor in tensors if (why := unseen(tensor)) and (what != "refused" or tensor.is_floating_point())), None)
        if any(tensor.is_meta for tensor in tensors):
            self._note_without_values(known)
        elif what == "refused" or odd:
            operator = known.name if what == "refused" or odd is None else f"{known.name} of {odd[0]}"
            self._refuse(operator, "use another form of it" if odd is None else odd[1])
            # Who lets an operator pass means its gradients too.
            number = self._node(*tensors)
            if number is not None:
                self._passed.add(number)
        elif what == "product":
            first, second = args[:2] if known.plain in ("mm", "bmm") else args[1:3]
            self._product(known.plain, first, second)
        elif what == "convolution":
            self._convolution(*args[:9])
        elif what == "convolution_backward":
            self._convolution_backward(*args[:11])

    def _note(self, operator: str) -> None:
        self.noted[operator] = self.noted.get(operator, 0) + 1

    def _note_without_values(self, known: "Operator") -> None:
        if known.role not in ("harmless", "noted"):
            self._note(f"{known.name} of tensors without values")

    def _refuse(self, operator: str, instead: str) -> None:
        """Refuse an operator, unless the user lets it pass; `instead` is what to use in its place."""
        if operator in self._ignore:
            self._note(operator)
            return
        where = f"in module {self._names.path!r}" if self._names.path else "outside of any module"
        raise CaptureError(
            f"operator {operator} {where}: it may multiply in a way that capture cannot see into, so the step would be under-counted; "
            f"{instead}, or ignore={{{operator!r}}} if it does no multiply-accumulate work that counts"
        )

    def _node(self, *operands: Tensor) -> int | None:
        """Sequence number of the node that autograd has just made for a forward operator, if it has."""
        if torch.is_grad_enabled() and (self._wrapped_by is not None or any(tensor.requires_grad for tensor in operands)):
            number: int = torch.autograd._get_sequence_nr() - 1  # type: ignore[attr-defined]  # torch's stubs lack it
            return number
        return None

    def _add(self, product: Product, node: int | None) -> None:
        if self._in_backward and torch._C._current_autograd_node() is None:
            self._in_backward = False
            self._phase += 1
        product.phase = self._phase
        product.operations.add("forward")
        self.products.append(product)
        if node is not None:
            self._by_node[node] = product

    def _running_node(self, operator: str) -> Product | None:
        """The product whose gradient is being computed; None where this is no gradient of a product."""
        node: Any = torch._C._current_autograd_node()
        if node is None:
            return None
        self._in_backward = True
        product = self._by_node.get(node._sequence_nr())
        # Numbers count per thread, and capture watches only its own: a node of another thread may bear a number seen here.
        if product is not None and node.name().startswith(_NODES.get(product.operator, "none")):
            return product
        if node.name().startswith(tuple(_NODES.values())):
            raise CaptureError(
                f"operator aten::{operator} computes a gradient ({node.name()}) of a product that was not captured; put forward, backward "
                "and optimizer step all inside `with capture.step()`.  Gradients of gradients (create_graph=True) and those of torch.func "
                "cannot be captured"
            )
        return None

    # Matrix products

    def _product(self, operator: str, first: Tensor, second: Tensor) -> None:
        if first.numel() == 0 or second.numel() == 0:
            return
        forward = self._running_node(operator)
        if forward is not None and self._matmul_gradient(forward, first, second):
            return
        wrapped = self._wrapped_by is not None
        leading, recurrent = self._functions.leading, self._functions.recurrent
        weights = [self._names.weight(first), self._names.weight(second)]
        if leading is not None:
            # The input of `linear` is no weight, though it may be a buffer; its weight is one, though it may be computed from others.
            weights[0] = []
        # Of two parameters multiplied by each other neither is the input: a plain product.
        linear = first.dim() == 2 and (leading is not None or bool(weights[0]) != bool(weights[1]))
        swapped = linear and bool(weights[0])
        kind = recurrent.kind if linear and recurrent else "linear" if linear else "matmul"
        name = self._names.layer_name(weights[0] or weights[1] if linear else [], kind)
        if not linear:
            a, w = first, second
        else:
            a, w = (second.mT, first) if swapped else (first, second.mT)
        product = Product(
            form="linear" if linear else "matmul",
            name=name,
            operator=self._wrapped_by or operator,
            a=self._copier.bits(a, f"layer {name!r}, tensor A"),
            w=self._copier.bits(w, f"layer {name!r}, tensor W"),
            swapped=swapped,
            leading=leading if linear else None,
            recurrent=recurrent if linear else None,
            first=Operand.of(first, wrapped),
            second=Operand.of(second, wrapped),
        )
        self._add(product, self._node(first, second))

    def _matmul_gradient(self, product: Product, x: Tensor, y: Tensor) -> bool:
        """Record a gradient of O = P Q, if this product of x and y is one: dP = G Q^T or its transpose, dQ = P^T G or its transpose."""
        forms = gradient_forms(product, x, y)
        same = [form for form in forms if _same_memory(product, form)]
        if not same and not torch.is_grad_enabled():
            # Activation checkpointing and offloading give back another tensor of the same values.  (Where gradients are followed,
            # such a tensor cannot be told from a product that is run again.)
            same = [form for form in forms if self._same_values(product, form)]
        if not same:
            if torch.is_grad_enabled():
                # Activation checkpointing runs part of the forward pass again inside a node: a product of its own.
                return False
            raise CaptureError(
                f"layer {product.name!r}: its backward pass runs a product of shapes {tuple(x.shape)} and {tuple(y.shape)}, "
                "which is none of its gradients; a hook on a gradient that multiplies cannot be captured"
            )
        form = preferred_form(product, same)
        operation: Operation = "input_grad" if form.of_first != product.swapped else "weight_grad"
        if operation in product.operations:
            product = self._again(product)
        if product.g is None:
            grad = form.gradient.mT if product.swapped else form.gradient
            product.g = self._copier.bits(grad, f"layer {product.name!r}, tensor G")
        product.operations.add(operation)
        return True

    def _same_values(self, product: Product, form: GradientForm) -> bool:
        bits = product.operand_bits(second=form.of_first)
        there = self._copier.bits(form.operand, f"layer {product.name!r}, saved operand")
        # On some devices recomputation repeats only up to rounding.
        return bits is not None and float((bits == there).mean()) > 0.9

    def _again(self, product: Product) -> Product:
        """The instance that stands for a further backward pass through the same forward operator."""
        repeated = replace(product, g=None, operations=set(), phase=self._phase)
        self.products.append(repeated)
        for node, known in self._by_node.items():
            if known is product:
                self._by_node[node] = repeated
        return repeated

    # Convolutions

    def _convolution(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        transposed: bool,
        output_padding: Sequence[int],  # noqa: ARG002  # the operator's signature
        groups: int,
    ) -> None:
        if x.numel() == 0 or weight.numel() == 0:
            return
        name = self._names.layer_name(self._names.weight(weight), f"conv{weight.dim() - 2}d")
        if transposed:
            self._refuse("aten::convolution (transposed)", "use another form of it")
            return
        self._running_node("convolution")
        product = Product(
            form="convolution",
            name=name,
            operator="convolution",
            a=self._copier.bits(x, f"layer {name!r}, tensor A"),
            w=self._copier.bits(weight, f"layer {name!r}, tensor W"),
            geometry=_geometry(weight, stride, padding, dilation, groups),
        )
        self._add(product, self._node(*(t for t in (x, weight, bias) if t is not None)))

    def _convolution_backward(
        self,
        grad: Tensor,
        x: Tensor,
        weight: Tensor,
        bias_sizes: Any,  # noqa: ARG002  # the operator's signature
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        transposed: bool,
        output_padding: Sequence[int],  # noqa: ARG002  # the operator's signature
        groups: int,
        mask: Sequence[bool],
    ) -> None:
        if transposed:
            self._refuse("aten::convolution_backward (transposed)", "use another form of it")
            return
        gradients: tuple[Operation, Operation] = ("input_grad", "weight_grad")
        ran = {operation for operation, wanted in zip(gradients, mask, strict=False) if wanted}  # the mask's third is the bias
        if not ran or grad.numel() == 0:
            return
        product = self._running_node("convolution_backward")
        if product is None:
            # A gradient that a program computes itself (torch.nn.grad, a custom autograd function): it has no forward pass.
            name = self._names.layer_name(self._names.weight(weight), f"conv{weight.dim() - 2}d")
            product = Product(
                form="convolution",
                name=name,
                operator="convolution",
                a=self._copier.bits(x, f"layer {name!r}, tensor A") if "weight_grad" in ran else None,
                w=self._copier.bits(weight, f"layer {name!r}, tensor W") if "input_grad" in ran else None,
                geometry=_geometry(weight, stride, padding, dilation, groups),
                phase=self._phase,
            )
            self.products.append(product)
        elif product.operations & ran:
            product = self._again(product)
        product.g = self._copier.bits(grad, f"layer {product.name!r}, tensor G")
        product.operations |= ran


def _same_memory(product: Product, form: GradientForm) -> bool:
    operand = product.second if form.of_first else product.first
    return operand is not None and identity(form.operand) == operand.identity


def _geometry(weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int) -> Geometry:
    dims = weight.dim() - 2

    def each(values: Sequence[int]) -> tuple[int, ...]:
        return tuple(values) * dims if len(values) == 1 else tuple(values)

    return Geometry(each(stride), each(padding), each(dilation), groups)


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
