"""One forward pass watched at PyTorch's dispatcher: every operator becomes a layer with the sizes of the whole batch.

Values are followed through views and in-place writes, so that it is known where one is used more than once.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from simhw.capture.names import Names
from simhw.capture.tensors import storage, tensors_in
from simhw.errors import CaptureError
from simhw.roofline.from_model.constants import Constants
from simhw.roofline.from_model.operators import function_name, plain_name, role_of
from simhw.roofline.from_model.pools import of_bag, of_pool, of_reduction
from simhw.roofline.from_model.record import OperatorRecord
from simhw.roofline.layers.network import (
    SLICE,
    Conv,
    Embedding,
    Experts,
    Linear,
    MatMul,
    NetworkLayer,
    Normalization,
    NormKind,
    Pointwise,
    Pool,
    RecurrentLayer,
    Softmax,
    Weight,
)
from simhw.roofline.operators import Cell

IMAGES = 4
"""Dimensions from which a tensor is taken to hold images: samples, channels, and two of space."""


class ShapeRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class has no hints
    """Records the operators of a forward pass.

    Parameters
    ----------
    names : Names
    leaves : set of str
        Paths of PyTorch's own modules, after which their operator is called.
    parameters : mapping of str to Tensor
        The model's, by name.
    inputs : sequence of Tensor
        Of the forward pass.
    constants : Constants or None
        Values of tensors that have none; None where all have.
    """

    def __init__(
        self,
        names: Names,
        leaves: set[str],
        parameters: Mapping[str, Tensor],
        inputs: Sequence[Tensor],
        constants: Constants | None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.records: list[OperatorRecord] = []
        self._names = names
        self._leaves = leaves
        self._parameters = parameters
        self._values: dict[int, OperatorRecord] = {}
        self._inputs = {storage(tensor) for tensor in inputs}
        self._held = list(inputs)  # so that no new tensor is given the address of one that is followed
        self._constants = constants
        self._sliced: dict[tuple[object, ...], OperatorRecord] = {}
        self._hidden = False
        self.failed = ""
        self._used: set[str] = set()

    @property
    def unused(self) -> list[str]:
        """Parameters that nothing read."""
        return [name for name in self._parameters if name not in self._used]

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Within, operators are part of a function that is recorded as a whole."""
        before, self._hidden = self._hidden, True
        try:
            yield
        finally:
            self._hidden = before

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator and record it."""
        given = dict(kwargs or {})
        if not isinstance(func, OpOverload):
            raise CaptureError(
                f"{self._where()}: operator {func.name()} has no layer in a network by shape; use another form of it"
            )
        try:
            result = self._run(func, args, given)
        except (NotImplementedError, RuntimeError):
            self.failed = f"{self._where()}: operator {func._schema.name}"
            raise
        if not self._hidden:
            self._record(func, args, given, result)
        return result

    def _run(self, func: Any, args: Sequence[Any], given: Mapping[str, Any]) -> Any:
        if func._schema.name == "aten::_grouped_mm" and args[0].is_meta:  # runs in some numbers alone
            return args[0].new_empty((*args[0].shape[:-1], args[1].shape[-1]))
        return func(*args, **given) if self._constants is None else self._constants.run(func, args, given)

    def _record(self, func: Any, args: Sequence[Any], given: Mapping[str, Any], result: Any) -> None:
        name, operator, what = plain_name(func), func._schema.name, role_of(func)
        if what in ("product", "convolution") and not result.numel():
            return
        match what:
            case "free":
                return
            case "slice":
                self._slice(operator, args[0], list(tensors_in([result])))
            case "refused":
                raise CaptureError(
                    f"{self._where()}: operator {operator} has no layer in a network by shape; it cannot be captured"
                )
            case "convolution":
                self._convolution(operator, args, result)
            case "product":
                self._product(operator, args, result)
            case "experts":
                self._experts(operator, args[0], args[1], result)
            case "batchnorm":
                self._normalization("batchnorm", operator, args[0], args[0].shape[1], args[1:3], result[0])
            case "layernorm":
                self._normalization("layernorm", operator, args[0], math.prod(args[1]), args[2:4], result[0])
            case "rmsnorm":
                self.rms_norm(operator, args[0], args[1], args[2], result[0])
            case "groupnorm":
                self.channel_norm(operator, args[0], args[1:3], result[0])
            case "softmax":
                columns = args[0].shape[args[1]] if args[0].dim() else 1
                self.add(
                    Softmax(self._name("softmax"), args[0].numel() // columns, columns), operator, [args[0]], result
                )
            case "pool":
                self._pool(name, operator, args, result[0] if isinstance(result, tuple) else result)
            case "reduction":
                self._reduction(name, operator, args[0], result)
            case "embedding":
                table, indices = args[0], args[1]
                layer = Embedding(
                    self.weight_name(table, "embedding"),
                    table.shape[0],
                    table.shape[1],
                    indices.numel(),
                    self.trainable(table),
                    self._tied(table),
                )
                self.add(layer, operator, [], result, [table])
            case "embedding_bag":
                self._embedding_bag(operator, args, result[0])
            case "dropout":
                self.pointwise("dropout", operator, [args[0]], result[0])
            case "pointwise":
                self._elementwise(name, operator, [*args, *given.values()], result)
            case "pass":
                self._pass(name, operator, [*args, *given.values()], result)

    def value(self, tensor: Tensor) -> Tensor | None:
        """The values of a tensor that has none itself, if they are known."""
        return None if self._constants is None else self._constants.value(tensor)

    # What layers share

    def add(
        self,
        layer: NetworkLayer,
        operator: str,
        reads: Sequence[Tensor],
        output: Tensor,
        weights: Sequence[Tensor | None] = (),
        images: int = 1,
    ) -> None:
        """Record a layer that reads tensors and writes another, and holds parameters."""
        held = self._parameter_names([weight for weight in weights if weight is not None])
        constant = not held and all(self._is_constant(tensor) for tensor in reads)
        for tensor in reads:
            self._read(tensor, operator)
        counts = bool(reads) and not any(tensor.is_floating_point() or tensor.is_complex() for tensor in reads)
        record = OperatorRecord(layer, images, operator, max(1, output.numel()), held, constant, counts)
        self.records.append(record)
        self.wrote(record, output)

    def wrote(self, record: OperatorRecord, output: Tensor) -> None:
        """From now on a tensor holds what a record computed."""
        self._values[storage(output)] = record
        self._held.append(output)

    def weight_name(self, weight: Tensor, what: str) -> str:
        """A layer's name by its weight's."""
        return self._names.layer_name(self._names.weight(weight), what)

    def trainable(self, weight: Tensor | None) -> bool:
        """Whether the optimizer updates a weight: it is a parameter that wants a gradient."""
        names = self._names.weight(weight) if weight is not None else []
        if weight is not None and not names:
            return True  # computed, from what wants a gradient
        return any(name in self._parameters and self._parameters[name].requires_grad for name in names)

    def is_weight(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter or buffer, or a view of one."""
        return bool(self._names.weight(tensor))

    def pointwise(self, function: str, operator: str, reads: Sequence[Tensor], output: Tensor) -> None:
        """Record an elementwise function."""
        # A tensor that is repeated along an axis, such as a gate per channel, is read once and is small.
        full = sum(2 * _distinct(tensor) > output.numel() for tensor in reads)
        inputs = 1 if function == "copy" else max(1, full)
        part = _common_channels(reads) if operator == "aten::cat" else 1
        layer = Pointwise(self._name(function), function, max(1, output.numel()), inputs, part)
        self.add(layer, operator, reads, output)

    def _is_constant(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on neither inputs nor parameters."""
        value = self._values.get(storage(tensor))
        if value is not None:
            return value.constant
        names = self._names.weight(tensor)
        return storage(tensor) not in self._inputs and not any(name in self._parameters for name in names)

    def _tied(self, weight: Tensor) -> bool:
        """Whether an embedding before has the same parameter as its table."""
        names = [name for name in self._names.weight(weight) if name in self._parameters]
        return any(
            isinstance(record.layer, Embedding) and any(name in record.weights for name in names)
            for record in self.records
        )

    def _name(self, what: str) -> str:
        path = self._names.path
        return path if path in self._leaves else f"{path}.{what}" if path else what

    def _where(self) -> str:
        return f"module {self._names.path!r}" if self._names.path else "the model"

    def _parameter_names(self, weights: Sequence[Tensor]) -> tuple[str, ...]:
        found = []
        for weight in weights:
            names = [name for name in self._names.weight(weight) if name in self._parameters]
            found += names[:1]
            self._used.update(names)
        return tuple(found)

    def _read(self, tensor: Tensor, operator: str) -> None:
        value = self._values.get(storage(tensor))
        if value is not None:
            value.read += min(_distinct(tensor), value.elements)
            return
        for name in self._parameter_names([tensor]):
            if not any(name in record.weights for record in self.records):
                parameter = self._parameters[name]
                layer = Weight(name, parameter.numel(), parameter.requires_grad)
                self.records.append(OperatorRecord(layer, 1, operator, 1, (name,)))

    # Kinds of layers

    def recurrent(
        self, cell: Cell, batch: int, steps: int, weights: Sequence[Tensor], reads: Sequence[Tensor], output: Tensor
    ) -> None:
        """Record one direction of one recurrent layer; `weights` are the input's, the state's and their biases."""
        name = self.weight_name(weights[0], cell).replace(".weight_ih_", ".").replace("weight_ih_", "")
        layer = RecurrentLayer(name, cell, weights[0].shape[1], weights[1].shape[1], steps, self.trainable(weights[0]))
        self.add(layer, f"aten::{cell}", reads, output, weights, batch)

    def cell(
        self,
        cell: Cell,
        x: Tensor,
        state: Tensor,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor | None],
        output: Tensor,
    ) -> None:
        """Record a step of a recurrent cell; the steps of one cell are one layer."""
        held = self._parameter_names([weight for weight in (*weights, *biases) if weight is not None])
        for record in self.records:
            if isinstance(record.layer, RecurrentLayer) and record.weights == held:
                record.layer = replace(record.layer, steps=record.layer.steps + 1)
                self._read(x, f"aten::{cell}")
                self.wrote(record, output)
                return
        layer = RecurrentLayer(
            self._name(cell), cell, weights[0].shape[1], weights[1].shape[1], 1, self.trainable(weights[0])
        )
        self.add(layer, f"aten::{cell}", [x, state], output, [*weights, *biases], x.shape[0])

    def _convolution(self, operator: str, args: Sequence[Any], result: Tensor) -> None:
        x, weight, bias, stride, padding, dilation, transposed, _, groups = args[:9]
        name = self.weight_name(weight, f"conv{weight.dim() - 2}d")
        if transposed:
            self._transposed(name, operator, x, weight, bias, groups, result)
            return
        dims = weight.dim() - 2
        stride, padding, dilation = (
            tuple(each) * dims if len(each) == 1 else tuple(each) for each in (stride, padding, dilation)
        )
        sizes = tuple(x.shape[2:]), tuple(weight.shape[2:]), stride, padding, dilation
        layer = Conv(name, x.shape[1], weight.shape[0], *sizes, groups, bias is not None, self.trainable(weight))
        self.add(layer, operator, [x], result, [weight, bias], x.shape[0])

    def _transposed(
        self, name: str, operator: str, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, result: Tensor
    ) -> None:
        """A transposed convolution is a product at every position of its input, whose columns are added up where they
        overlap.
        """
        positions, columns = x.numel() // x.shape[1], weight[0].numel()
        product: NetworkLayer = Linear(name, x.shape[1], columns, positions, False, self.trainable(weight))
        if groups > 1:
            product = MatMul(name, groups, positions, columns, x.shape[1] // groups)
        self.add(product, operator, [x], result, [weight])
        self.add(Pointwise(f"{name}.col2im", "col2im", groups * columns * positions), operator, [result], result)
        if bias is not None:
            self.pointwise("bias", operator, [result, bias], result)

    def linear(
        self, operator: str, x: Tensor, weight: Tensor, bias: Tensor | None, result: Tensor, held: Tensor | None = None
    ) -> None:
        """Record a linear layer; `weight` is (out, in), and `held` the parameter that it is of, where that has another
        form.
        """
        rows, held = x.numel() // x.shape[-1], weight if held is None else held
        if not rows:
            return  # an expert that no row goes to
        name = self.weight_name(held, "linear")
        sizes = weight.shape[1], weight.shape[0], rows
        layer = Linear(name, *sizes, bias is not None, self.trainable(held), self._tied(held))
        self.add(layer, operator, [x], result, [held, bias])

    def _experts(self, operator: str, x: Tensor, weight: Tensor, result: Tensor) -> None:
        """Record the products of rows with the weights of the expert that each goes to."""
        if x.dim() != 2 or weight.dim() != 3 or not self.is_weight(weight):
            raise CaptureError(
                f"{self._where()}: operator {operator} multiplies other tensors than rows with experts' weights; it "
                "has no layer in a network by shape"
            )
        name, (experts, inputs, outputs) = self.weight_name(weight, "experts"), weight.shape
        layer = Experts(name, experts, inputs, outputs, x.shape[0], self.trainable(weight))
        self.add(layer, operator, [x], result, [weight])

    def _product(self, operator: str, args: Sequence[Any], result: Tensor) -> None:
        added = args[0] if operator in ("aten::addmm", "aten::baddbmm") else None
        x, y = args[0 if added is None else 1], args[1 if added is None else 2]
        if x.dim() == 2 and self.is_weight(x) != self.is_weight(y):
            bias = added if added is not None and self.is_weight(added) else None
            reads, (a, w) = (
                [] if added is None or bias is not None else [added],
                (x, y.mT) if self.is_weight(y) else (y.mT, x),
            )
            self.linear(operator, a, w, bias, result)
            for tensor in reads:
                self._read(tensor, operator)
            return
        products = x.shape[0] if x.dim() == 3 else 1
        layer = MatMul(self._name("matmul"), products, x.shape[-2], y.shape[-1], x.shape[-1])
        self.add(layer, operator, [x, y, *([] if added is None else [added])], result)

    def _normalization(
        self,
        kind: NormKind,
        operator: str,
        x: Tensor,
        channels: int,
        weights: Sequence[Tensor | None],
        out: Tensor,
    ) -> None:
        weight = weights[0]
        name = self._name(kind) if weight is None else self.weight_name(weight, kind)
        layer = Normalization(name, kind, channels, x.numel(), self.trainable(weight))
        self.add(layer, operator, [x], out, weights)

    def rms_norm(self, operator: str, x: Tensor, shape: Sequence[int], weight: Tensor | None, out: Tensor) -> None:
        """Record an RMS norm over the last axes."""
        self._normalization("rmsnorm", operator, x, math.prod(shape), [weight], out)

    def channel_norm(self, operator: str, x: Tensor, weights: Sequence[Tensor | None], out: Tensor) -> None:
        """Record a group or instance norm: each sample by itself, as in layer norm, with a scale and a shift per
        channel.
        """
        self._normalization("layernorm", operator, x, x.shape[1], weights, out)

    def _embedding_bag(self, operator: str, args: Sequence[Any], result: Tensor) -> None:
        """Look up vectors, scale them where they have weights, and pool those of a bag."""
        table, indices = args[:2]
        weights = args[6] if len(args) > 6 else None
        name, width = self.weight_name(table, "embedding"), table.shape[1]
        layer = Embedding(name, table.shape[0], width, indices.numel(), self.trainable(table))
        self.add(layer, operator, [], result, [table])
        if weights is not None:
            self.add(Pointwise(self._name("scale"), "mul", indices.numel() * width), operator, [weights], result)
        sizes = of_bag(indices.numel(), len(args) > 4 and args[4] == 2, result)
        self.add(Pool(f"{name}.bag", *sizes), operator, [result], result)

    def _pool(self, name: str, operator: str, args: Sequence[Any], result: Tensor) -> None:
        sizes = of_pool(name, args, result)
        self.add(Pool(self._name(f"{sizes.kind}pool"), *sizes), operator, [args[0]], result)

    def _slice(self, operator: str, x: Tensor, views: Sequence[Tensor]) -> None:
        """Record parts of images' channels: one layer for all that are read of a tensor."""
        if x.dim() < IMAGES or storage(x) not in self._values:
            return
        parts = [view for view in views if view.shape[1] < x.shape[1] and view.stride() == x.stride()]
        if not parts:
            return
        key = storage(x), x.storage_offset(), tuple(x.shape), tuple(x.stride())
        if key not in self._sliced:
            layer = Pointwise(self._name(SLICE), SLICE, x.numel(), 0)
            self._sliced[key] = OperatorRecord(layer, 1, operator, x.numel(), ())
            self.records.append(self._sliced[key])
        record = self._sliced[key]
        assert isinstance(record.layer, Pointwise)
        record.layer = replace(record.layer, inputs=record.layer.inputs + len(parts))

    def _reduction(self, name: str, operator: str, x: Tensor, result: Tensor) -> None:
        self.add(Pool(self._name(name), *of_reduction(name, x, result)), operator, [x], result)

    def _elementwise(self, name: str, operator: str, given: Sequence[Any], result: Any) -> None:
        if not isinstance(result, Tensor):
            return  # an answer, such as whether two tensors are equal
        tensors = list(tensors_in(given))
        reads = [tensor for tensor in tensors if not self.is_weight(tensor)]
        if result.numel() <= 1 or (not reads and not self._of_parameters(tensors)):
            return  # a counter, such as batch norm's of its steps
        parameter = len(reads) < len(tensors)
        # A tensor of one value is a number, but for a parameter.
        constant = not parameter and sum(tensor.numel() > 1 for tensor in tensors) <= 1
        if name == "hardtanh" and tuple(given[1:3]) == (0, 6):
            name = "relu6"
        function = function_name(name, constant, parameter)
        if name == "copy_":
            tensors = tensors[1:]
        self.pointwise(function, operator, tensors, result)

    def _pass(self, name: str, operator: str, given: Sequence[Any], result: Any) -> None:
        """Any operator that multiplies nothing: where an axis is gone, a reduction; else a pass over its largest
        tensor.
        """
        tensors, outputs = list(tensors_in(given)), list(tensors_in([result]))
        reads = [tensor for tensor in tensors if not self.is_weight(tensor)]
        if not outputs or not (reads or self._of_parameters(tensors)):
            return  # an answer, or a tensor made without reading any
        largest, output = max(tensors, key=Tensor.numel), outputs[0]
        kept = max(1, output.numel())
        if (
            1 < kept < largest.numel()
            and output.dim() < largest.dim() + (1 in output.shape)
            and largest.numel() % kept == 0
        ):
            self._reduction(name, operator, largest, output)
        else:
            elements = max(1, largest.numel(), *(each.numel() for each in outputs))
            full = sum(2 * _distinct(tensor) > elements for tensor in tensors)
            self.add(Pointwise(self._name(name), name, elements, max(1, full)), operator, tensors, output)
        for each in outputs[1:]:
            self.wrote(self.records[-1], each)

    def _of_parameters(self, tensors: Sequence[Tensor]) -> bool:
        return any(name in self._parameters for tensor in tensors for name in self._names.weight(tensor))


def _common_channels(tensors: Sequence[Tensor]) -> int:
    """The channels that all images which are joined to one have a multiple of; 1 where these are no images."""
    alike = bool(tensors) and all(t.dim() >= IMAGES and t.shape[2:] == tensors[0].shape[2:] for t in tensors)
    return math.gcd(*(t.shape[1] for t in tensors)) if alike else 1


def _distinct(tensor: Tensor) -> int:
    """Values of a tensor in memory: those of an expanded axis once."""
    return math.prod(n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or n == 1)
