"""Watches a training step at the dispatcher: every product it runs, forward and backward, with its real operands.

Source: spec page techniques.md, sections 0 and 3.4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from simhw.capture.convolutions import Convolutions
from simhw.capture.elementwise import Elementwise
from simhw.capture.embedding_bags import EmbeddingBags
from simhw.capture.functions import Functions
from simhw.capture.ledger import Ledger
from simhw.capture.matrices import Matrices
from simhw.capture.names import Names
from simhw.capture.operators import INSTEAD, Role, role
from simhw.capture.product import Product
from simhw.capture.rewrites import TAKEN_APART
from simhw.capture.tensors import Copier, tensors_in, unseen
from simhw.errors import CaptureError

_OFTEN_NO_PRODUCT: tuple[Role, ...] = ("harmless", "multiplication", "sum", "sum_elsewhere", "bag")


@dataclass(frozen=True, slots=True)
class Operator:
    """What is looked up once of an operator: a step runs thousands.

    Attributes
    ----------
    name, plain : str
        With its name space; without it and without the underscore of an in-place form.
    role : Role
    copies, composite : bool
        Its result is a copy of its first argument; it is made of other operators.
    passes : bool
        There is nothing to do but to run it.
    """

    name: str
    plain: str
    role: Role
    copies: bool
    composite: bool
    passes: bool


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
        self.noted: dict[str, int] = {}
        self._names = names
        self._ignore = ignore
        self._known: dict[Any, Operator] = {}
        self._ledger = Ledger()
        self._matrices = Matrices(self._ledger, names, functions, copier)
        self._convolutions = Convolutions(self._ledger, names, copier)
        self._bags = EmbeddingBags(self._ledger, names, copier)
        self._elementwise = Elementwise(self._ledger, names, copier, self._note)
        self._passed: set[int] = set()
        self._handed_on: OpOverload | None = None
        self._refusal: CaptureError | None = None

    @property
    def products(self) -> list[Product]:
        """What was captured, in the order in which it ran."""
        return self._ledger.products

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Record what `func` multiplies, and run it."""
        try:
            return self._run(func, types, args, kwargs or {})
        except CaptureError as error:
            # A script's interpreter makes an error of its own of it, and a program may go on after an error.
            self._refusal = self._refusal or error
            raise

    def tell_refusal(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:  # noqa: ARG002
        """End a step (as an exit callback) with the refusal that was met in it, if the step ends with another error or
        with none.
        """
        if self._refusal is not None and error is not self._refusal and (error is None or isinstance(error, Exception)):
            raise self._refusal from None

    def _run(self, func: Any, types: Sequence[type], args: Sequence[Any], given: Mapping[str, Any]) -> Any:
        if not isinstance(func, OpOverload):
            raise CaptureError(
                f"operator {func.name()}{self._where()}: capture cannot see into an operator that runs functions; in "
                "captured steps use "
                "a plain form, such as scaled_dot_product_attention for flex_attention, or an `if` or loop of Python"
            )
        known = self._known.get(func) or self._learn(func)
        if types:
            if any(issubclass(each, FakeTensor) for each in types):
                self._note_without_values(known)
                return func(*args, **given)
            if any(each.__torch_dispatch__ is not Tensor.__torch_dispatch__ for each in types):  # type: ignore[attr-defined]  # all have it
                return self._wrapped(known, func, args, given)
        if known.passes:
            return func(*args, **given)
        # Operators arrive whole in inference mode and from within a tensor subclass; else as what they are made of.
        if known.composite and not any(tensor.is_nested for tensor in tensors_in(args)):
            with self:
                parts = func.decompose(*args, **given)
            if parts is not NotImplemented:
                return parts
        apart = TAKEN_APART.get(known.plain)
        if apart is not None and known.role == "harmless" and args[0].numel():
            with self:
                return apart(*args, **given)
        # Operands are copied before the operator runs: it may write into one of them.
        if known.role == "sum":
            self._elementwise.sum(known.name, args)
        elif known.role == "sum_elsewhere":
            self._elementwise.sum_elsewhere(known.name, args)
        elif known.role == "bag":
            self._bags.record(known.plain, args)
        elif known.role not in _OFTEN_NO_PRODUCT:
            self._record(known, args)
        result = func(*args, **given)
        if known.role == "multiplication":
            self._elementwise.multiply(known.name, args, result, func._schema.is_mutable)
        if known.copies:
            self._names.cast(args[0], result)
        return result

    def _learn(self, func: OpOverload) -> Operator:
        name = func._schema.name
        namespace, _, operator = name.partition("::")
        # What is let pass is told in the trace.
        what = "noted" if name in self._ignore else role(namespace, operator)
        copies, composite = (
            operator in ("_to_copy", "clone"),
            torch._C._dispatch_has_kernel(str(func._name)) and func._can_decompose(),
        )
        plain = operator.removesuffix("_")
        passes = what == "harmless" and not (copies or composite or plain in TAKEN_APART)
        known = Operator(name, plain, what, copies, composite, passes)
        self._known[func] = known
        return known

    def _wrapped(self, known: Operator, func: OpOverload, args: Sequence[Any], given: Mapping[str, Any]) -> Any:
        """Let a tensor subclass, such as a distributed or a jagged tensor, take an operator apart; its parts arrive
        here in turn.
        """
        if self._handed_on is func:
            self._handed_on = None
            return NotImplemented
        before = self._ledger.wrapped_by
        # Autograd sees the subclass alone: what it wraps needs no gradient by itself.
        if before is None and any(tensor.requires_grad for tensor in tensors_in((*args, *given.values()))):
            self._ledger.wrapped_by = known.plain
        self._handed_on = func
        try:
            with self:
                return func(*args, **given)
        finally:
            self._ledger.wrapped_by = before

    def _record(self, known: Operator, args: Sequence[Any]) -> None:
        what = known.role
        if what == "noted":
            self._note(known.name)
            return
        node: Any = torch._C._current_autograd_node()
        if node is not None and node._sequence_nr() in self._passed:
            return
        tensors = list(tensors_in(args))
        # A refused operator's integers may be indices.
        odd = next(
            (
                why
                for tensor in tensors
                if (why := unseen(tensor)) and (what != "refused" or tensor.is_floating_point())
            ),
            None,
        )
        if any(tensor.is_meta for tensor in tensors):
            self._note_without_values(known)
        elif what == "refused" or odd:
            operator = known.name if what == "refused" or odd is None else f"{known.name} of {odd[0]}"
            self._refuse(operator, INSTEAD.get(known.plain, "use another form of it") if odd is None else odd[1])
            # Who lets an operator pass means its gradients too.
            number = self._ledger.node_of(*tensors)
            if number is not None:
                self._passed.add(number)
        elif what == "product":
            first, second = args[:2] if known.plain in ("mm", "bmm") else args[1:3]
            self._matrices.record(known.plain, first, second)
        elif what == "convolution":
            self._convolutions.record(*args[:9])
        elif what == "convolution_backward":
            self._convolutions.record_backward(*args[:11])

    def _note(self, operator: str) -> None:
        self.noted[operator] = self.noted.get(operator, 0) + 1

    def _note_without_values(self, known: Operator) -> None:
        if known.role not in (*_OFTEN_NO_PRODUCT, "noted"):
            self._note(f"{known.name} of tensors without values")

    def _where(self) -> str:
        return f" in module {self._names.path!r}" if self._names.path else " outside of any module"

    def _refuse(self, operator: str, instead: str) -> None:
        """Refuse an operator, unless the user lets it pass; `instead` is what to use in its place."""
        if operator in self._ignore:
            self._note(operator)
            return
        raise CaptureError(
            f"operator {operator}{self._where()}: it may multiply in a way that capture cannot see into, so the step "
            "would be "
            f"under-counted; {instead}, or ignore={{{operator!r}}} if it does no multiply-accumulate work that counts"
        )
