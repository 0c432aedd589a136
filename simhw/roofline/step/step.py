"""What a framework executes for one step of a network: inference, or training with gradients and the optimizer's
update.
"""

from dataclasses import dataclass
from math import prod
from numbers import Integral
from typing import Literal, get_args

from simhw.errors import ShapeError, quoted
from simhw.roofline.layers.network import (
    Attention,
    Conv,
    Embedding,
    Experts,
    Linear,
    MatMul,
    Network,
    NetworkLayer,
    Pointwise,
    Pool,
    RecurrentLayer,
    Softmax,
)
from simhw.roofline.numbers import PRECISIONS, Precision, StepNumbers
from simhw.roofline.operators import GATES, Layout, Operator
from simhw.roofline.step.attention import Attend, with_attention
from simhw.roofline.step.backward import input_gradient_operators, weight_gradient_operators
from simhw.roofline.step.forward import forward_operators
from simhw.roofline.step.placed import place
from simhw.roofline.step.update import loss_operators, update_operators

Mode = Literal["inference", "training"]
Fusion = Literal["eager", "fused"]
"""Whether every elementwise function is a kernel of its own, or joins the one before it."""
Launch = Literal["eager", "graph"]
"""Whether the framework issues every kernel of a step, or the device replays them as one graph."""
Optimizer = Literal["sgd", "adam"]
Phase = Literal["forward", "input_grad", "weight_grad", "update"]


MAX_COUNT = 2**63 - 1
"""Of products, parameters or values of a layer in a step: what hardware counts in 64 bits, far above all that any
device holds.
"""


@dataclass(frozen=True)
class Run:
    """How a network is run.

    Raises
    ------
    ShapeError
        The batch is no positive whole number, another value is none of those known, or training is asked for in int8.
    """

    batch: int
    mode: Mode = "training"
    precision: Precision = "fp32"
    fusion: Fusion = "eager"
    optimizer: Optimizer = "sgd"
    launch: Launch = "eager"
    layout: Layout = "nchw"
    attention: Attend = "products"

    def __post_init__(self) -> None:
        for name, known in (
            ("mode", Mode),
            ("precision", Precision),
            ("fusion", Fusion),
            ("optimizer", Optimizer),
            ("launch", Launch),
            ("layout", Layout),
            ("attention", Attend),
        ):
            if getattr(self, name) not in get_args(known):
                raise ShapeError(f"{name} is {quoted(getattr(self, name))}; give one of {', '.join(get_args(known))}")
        whole = issubclass(type(self.batch), Integral) and type(self.batch) is not bool  # numpy's integers too
        if not whole or not 1 <= self.batch <= MAX_COUNT:
            raise ShapeError(f"batch is {quoted(self.batch)}; give a whole number from 1 to {MAX_COUNT:,}")
        if self.mode == "training" and not self.numbers.trains:
            raise ShapeError(f"{self.precision} is for inference; train in fp32 or amp")

    @property
    def numbers(self) -> StepNumbers:
        """Numbers of products and of weights."""
        return PRECISIONS[self.precision]


@dataclass(frozen=True)
class Work:
    """An operator and the layer and phase that it belongs to."""

    layer: str
    phase: Phase
    operator: Operator


def step(network: Network, run: Run) -> list[Work]:
    """The operators of one step, in the order of execution.

    Inference is the forward pass.  Training adds the loss (cross-entropy, where the network ends in a linear layer),
    the backward pass in reverse order, and the optimizer's update of every trainable parameter.  A layer's input
    gradient is computed where something trainable lies before it, frozen layers pass theirs on; weight gradients only
    of trainable layers.

    Kernels and their traffic: `simhw.roofline.step.forward`, `backward` and `update` say which and how many bytes.
    Data are in the numbers of `Run.precision`:

    - fp32, fp16: everything, parameters and the optimizer's state too.  int8: products and activations of a byte a
      value.
    - amp, eager: as PyTorch's autocast places numbers (`simhw.roofline.step.placed`).  Weights are kept in fp32 and
      cast to fp16 once a step, a kernel for each layer with weights (6 bytes a value), and their gradients cast back
      likewise; loss scaling adds a pass over all gradients before the update.  Inference casts weights too.
    - amp, fused: every activation is in fp16; weights are cast by kernels, gradients where they are written.

    A graph compiler (fused) runs elementwise functions inside the kernel before them, and in inference batch norm,
    which is an elementwise function there (folded into the weights after a convolution).  Such a function costs no
    kernel; bytes that it moves on top of the kernel's own (a residual's second input, a dropout's mask, what a gelu
    keeps for its gradient) stand in a `Streaming` that is marked `joined`.  A function without such bytes does not
    appear.  Copies to another layout and products with a gate, which wait for a whole tensor, stay kernels; in training
    so does a batch norm, and functions after it join it.

    Parameters
    ----------
    network : Network
        Sizes are per sample; the batch multiplies them.
    run : Run

    Returns
    -------
    list of Work
        The loss belongs to the layer ``loss`` and the update to ``optimizer``.

    Raises
    ------
    ShapeError
        A layer has more products, parameters or values than 64 bits count.
    """
    _check_sizes(network, run.batch)
    network = with_attention(network, run.attention)
    numbers, fused, training = run.numbers, run.fusion == "fused", run.mode == "training"
    placed = place(network, run.batch, training, numbers, fused, run.layout)
    work = [Work(each.layer.name, "forward", operator) for each in placed for operator in forward_operators(each)]
    if not training:
        return work
    logits = placed[-1].writes if placed else numbers.products
    forward, backward = loss_operators(network, run.batch, logits, mixed=numbers.mixed)
    work += [Work("loss", "forward", operator) for operator in forward]
    work += [Work("loss", "input_grad", operator) for operator in backward]
    for each in reversed(placed):
        work += [Work(each.layer.name, "input_grad", operator) for operator in input_gradient_operators(each)]
        work += [Work(each.layer.name, "weight_grad", operator) for operator in weight_gradient_operators(each)]
    parameters = sum(layer.parameters for layer in network.layers if getattr(layer, "trainable", False))
    updates = update_operators(parameters, run.optimizer, numbers.weights, fused, scaled=numbers.scales_loss)
    return work + [Work("optimizer", "update", operator) for operator in updates]


def _check_sizes(network: Network, batch: int) -> None:
    """Refuse what no machine could count, before anything is made of it."""
    for layer in network.layers:
        values = getattr(layer, "elements", 0), *(prod(size) for size in _tensors(layer))
        for what, count in (
            ("multiply-accumulates", batch * layer.macs),
            ("parameters", layer.parameters),
            ("values", batch * max(values)),
        ):
            if count > MAX_COUNT:
                raise ShapeError(
                    f"{network.name}: layer {quoted(layer.name)} has {count:.2g} {what} at batch {batch:,}; "
                    f"there may be {MAX_COUNT:.2g}: make its sizes or --batch smaller"
                )


def _tensors(layer: NetworkLayer) -> tuple[tuple[int, ...], ...]:
    """Shapes of the largest tensors of a sample."""
    match layer:
        case Conv():
            return (layer.in_channels, *layer.size), (layer.out_channels, *layer.out_size)
        case Linear():
            return (layer.rows, layer.in_features), (layer.rows, layer.out_features)
        case Experts():
            return (layer.rows, layer.in_features), (layer.rows, layer.out_features)
        case MatMul():
            return (
                (layer.products, layer.m, layer.k),
                (layer.products, layer.k, layer.n),
                (layer.products, layer.m, layer.n),
            )
        case Attention():
            return (
                (layer.queries, layer.heads, layer.width),
                (layer.keys, layer.heads, layer.width),
                (layer.heads, layer.queries, layer.keys),
            )
        case RecurrentLayer():
            return (layer.steps, layer.inputs), (layer.steps, GATES[layer.cell], layer.hidden)
        case Pointwise():
            return ((layer.elements, layer.inputs),)
        case Softmax():
            return ((layer.rows, layer.columns),)
        case Pool():
            return (
                (layer.channels, *layer.size),
                (layer.channels, *layer.out_size),
                (layer.channels, *layer.out_size, *layer.kernel),
            )
        case Embedding():
            return ((layer.rows, layer.width),)
    return ()
