"""What a framework executes for one step of a network: inference, or training with gradients and the optimizer's
update.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, prod
from typing import Literal

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
from simhw.roofline.layers.parameters import parameter_tensors
from simhw.roofline.layers.repeated import blocks_of
from simhw.roofline.operators import GATES, Operator
from simhw.roofline.step.attention import with_attention
from simhw.roofline.step.backward import input_gradient_operators, weight_gradient_operators
from simhw.roofline.step.compiler import FRAMEWORK, Compiler
from simhw.roofline.step.forward import forward_operators
from simhw.roofline.step.placed import place
from simhw.roofline.step.run import MAX_COUNT, Run
from simhw.roofline.step.update import accumulation_operators, loss_operators, update_operators

Phase = Literal["forward", "recompute", "input_grad", "weight_grad", "update"]


@dataclass(frozen=True)
class Work:
    """An operator, the layer and phase that it belongs to, and how often a step runs it."""

    layer: str
    phase: Phase
    operator: Operator
    times: int = 1


def step(network: Network, run: Run, compiler: Compiler = FRAMEWORK) -> list[Work]:
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
      cast to fp16 once a step, a kernel for each tensor of weights (6 bytes a value), and their gradients cast back
      likewise; loss scaling adds a pass over all gradients before the update.  Inference casts weights too.
    - amp, fused: every activation is in fp16; weights are cast by kernels, gradients where they are written.

    A graph compiler (fused) runs elementwise functions inside the kernel before them, and in inference batch norm,
    which is an elementwise function there (folded into the weights after a convolution).  Such a function costs no
    kernel; bytes that it moves on top of the kernel's own (a residual's second input, a dropout's mask, what a gelu
    keeps for its gradient) stand in a `Streaming` that is marked `joined`.  A function without such bytes does not
    appear.  Which functions join, and where data change layout between kernels, the device's compiler says
    (`simhw.roofline.step.compiler`, `relayout`).  In training a batch norm stays a kernel, and functions after it join
    it.

    Several passes may add their gradients up before an update; a kernel per layer adds each but the first.  Blocks may
    run forward again before their backward pass (phase ``recompute``), so that their tensors need not be kept.  Devices
    that share the optimizer's state update their part each; what they send each other is not counted.

    Parameters
    ----------
    network : Network
        Sizes are per sample; the batch multiplies them.
    run : Run
    compiler : Compiler
        Of the device, where the run is fused.

    Returns
    -------
    list of Work
        The loss belongs to the layer ``loss`` and the update to ``optimizer``.

    Raises
    ------
    ShapeError
        A layer has more products, parameters or values than 64 bits count, or there are no blocks to run again.
    """
    _check_sizes(network, run.batch)
    network = with_attention(network, run.attention)
    numbers, fused, training = run.numbers, run.fusion == "fused", run.mode == "training"
    placed = place(network, run.batch, training, numbers, fused, run.layout, compiler)
    passes = run.accumulate if training else 1

    def work_of(layer: str, phase: Phase, operators: Iterable[Operator]) -> list[Work]:
        return [Work(layer, phase, operator, passes) for operator in operators]

    work = [each for item in placed for each in work_of(item.layer.name, "forward", forward_operators(item))]
    if not training:
        return work
    logits = placed[-1].writes if placed else numbers.products
    forward, backward = loss_operators(network, run.batch, logits, mixed=numbers.mixed)
    work += work_of("loss", "forward", forward)
    work += work_of("loss", "input_grad", backward)
    again = _recomputed(network, run)
    for index, each in reversed(list(enumerate(placed))):
        for earlier in placed[again[index] : index + 1] if index in again else ():
            work += work_of(earlier.layer.name, "recompute", forward_operators(earlier))
        work += work_of(each.layer.name, "input_grad", input_gradient_operators(each))
        work += work_of(each.layer.name, "weight_grad", weight_gradient_operators(each))
        if run.accumulate > 1:
            sums = accumulation_operators(each.layer, numbers.weights)
            work += [Work(each.layer.name, "weight_grad", operator, run.accumulate - 1) for operator in sums]
    updates = update_operators(
        _updated(network, run.shards),
        run.optimizer,
        numbers.weights,
        fused,
        scaled=numbers.scales_loss,
        captured=run.launch == "graph",
    )
    return work + [Work("optimizer", "update", operator) for operator in updates]


def _updated(network: Network, shards: int) -> list[int]:
    """Values of each tensor that a device updates; a share of all parameters is one flat tensor."""
    trained = [layer for layer in network.layers if getattr(layer, "trainable", False)]
    tensors = [size for layer in trained for size in parameter_tensors(layer)]
    return tensors if shards == 1 or not tensors else [ceil(sum(tensors) / shards)]


def _recomputed(network: Network, run: Run) -> dict[int, int]:
    """The first layer of every block whose forward pass runs again, by the block's last layer."""
    if not run.checkpoint:
        return {}
    blocks = blocks_of(network.layers)
    if not blocks:
        raise ShapeError(
            f"{network.name}: no blocks to checkpoint; layers of a block are called NAME.NUMBER. and so on"
        )
    return {end - 1: start for start, end in blocks}


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
