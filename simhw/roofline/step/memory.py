"""What a step keeps in a device's memory: parameters, gradients, the optimizer's state, and tensors that wait for the
backward pass.

A tensor that several layers read is kept once.  It waits where the layer that made it needs its output again (relu,
softmax), or one that reads it needs its input (products, norms, gelu).  Work space, the framework's own and what lies
between blocks of an allocator come on top.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import prod

from simhw.roofline.functions import function_of
from simhw.roofline.layers.network import (
    Attention,
    Conv,
    Embedding,
    Experts,
    Linear,
    MatMul,
    Network,
    NetworkLayer,
    Normalization,
    Pointwise,
    Pool,
    RecurrentLayer,
    Softmax,
    is_free,
)
from simhw.roofline.layers.repeated import blocks_of
from simhw.roofline.numbers import BYTES
from simhw.roofline.operators import GATES
from simhw.roofline.step.attention import with_attention
from simhw.roofline.step.placed import Placed, place
from simhw.roofline.step.run import Run

STATES = {"sgd": 1, "adam": 2, "lamb": 2}
"""Values that an optimizer keeps per parameter: momentum; mean and square."""
STATISTICS_BYTES = 4
"""Fused attention keeps a logarithm per query in fp32."""


@dataclass(frozen=True)
class Memory:
    """Bytes of a step on one device.

    Attributes
    ----------
    weights : float
    copies : float
        Of weights in the narrower numbers that products work in.
    gradients, states : float
    activations : float
        Tensors that wait for the backward pass; in inference the largest input and output of a layer, and keys and
        values that are kept.
    """

    weights: float
    copies: float
    gradients: float
    states: float
    activations: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.parts.values())

    @property
    def parts(self) -> dict[str, float]:
        """Bytes by what they hold."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def memory_of(network: Network, run: Run) -> Memory:
    """What a step needs of a device's memory.

    Optimizer's states that `run.shards` devices share are divided between them; by `run.zero` also gradients (2) and
    weights (3).  With `run.checkpoint` the input of every block is kept, and all tensors of the largest block, whose
    forward pass runs again.
    """
    numbers = run.numbers
    weight, training = BYTES[numbers.weights], run.mode == "training"
    weights = float(weight) * network.parameters
    copies = float(BYTES[numbers.products]) * network.parameters if numbers.mixed else 0.0
    placed = place(
        with_attention(network, run.attention), run.batch, training, numbers, run.fusion == "fused", run.layout
    )
    if not training:
        cache = float(BYTES[numbers.products]) * run.batch * _cached(network)
        return Memory(weights, copies, 0.0, 0.0, _widest(placed) + cache)
    trained = float(weight) * sum(layer.parameters for layer in network.layers if getattr(layer, "trainable", False))
    shared = [run.shards if run.zero >= stage else 1 for stage in (1, 2, 3)]
    states = STATES[run.optimizer] * trained / shared[0]
    kept = _kept(placed)
    activations = _checkpointed(placed, kept) if run.checkpoint else float(sum(kept))
    return Memory(weights / shared[2], copies / shared[2], trained / shared[1], states, activations)


def _widest(placed: Sequence[Placed]) -> float:
    """Bytes of the largest input and output of one layer."""
    return max(
        (float(BYTES[each.reads] * each.input_values + BYTES[each.writes] * _outputs(each)) for each in placed),
        default=0.0,
    )


def _cached(network: Network) -> int:
    """Keys and values of a sample that wait for later tokens."""
    return sum(
        2 * layer.heads // layer.shared * layer.keys * layer.width
        for layer in network.layers
        if isinstance(layer, Attention) and layer.causal
    )


def _kept(placed: Sequence[Placed]) -> list[float]:
    """Bytes that each layer leaves for the backward pass: its output, if that layer or a later one needs it, and what
    it keeps besides.
    """
    working = [index for index, each in enumerate(placed) if not is_free(each.layer)]
    kept = [0.0] * len(placed)
    for position, index in enumerate(working):
        each = placed[index]
        kept[index] += _besides(each)
        if not each.input_grad and not getattr(each.layer, "trainable", False):
            continue  # nothing flows back through it
        if _needs_input(each.layer):
            if each.casts_input:
                kept[index] += float(BYTES[each.works]) * each.input_values
            elif position and not _keeps_output(placed[working[position - 1]]):
                before = working[position - 1]
                kept[before] += float(BYTES[each.reads]) * min(each.input_values, _outputs(placed[before]))
            elif not position:
                kept[index] += float(BYTES[each.reads]) * each.input_values
        if _keeps_output(each):
            kept[index] += float(BYTES[each.writes]) * _outputs(each)
    return kept


def _checkpointed(placed: Sequence[Placed], kept: Sequence[float]) -> float:
    blocks = blocks_of([each.layer for each in placed])
    inside = {index for start, end in blocks for index in range(start, end)}
    outside = sum(each for index, each in enumerate(kept) if index not in inside)
    inputs = 0.0
    for start, _ in blocks:
        size = float(BYTES[placed[start].reads]) * placed[start].input_values
        inputs += size
        if start and start - 1 not in inside:  # the layer before keeps the same tensor
            outside -= min(size, kept[start - 1])
    return outside + inputs + max((sum(kept[start:end]) for start, end in blocks), default=0.0)


def _needs_input(layer: NetworkLayer) -> bool:
    if isinstance(layer, Pointwise):
        return function_of(layer.function).keeps == "inputs"
    return isinstance(layer, Conv | Linear | Experts | MatMul | Attention | RecurrentLayer | Normalization)


def _keeps_output(placed: Placed) -> bool:
    layer = placed.layer
    if not placed.input_grad:
        return False
    if isinstance(layer, Pointwise):
        return function_of(layer.function).keeps == "output"
    return isinstance(layer, Softmax | Attention)


def _besides(placed: Placed) -> float:
    """Bytes that a layer keeps beside its input and output: second operands, masks, indices, gates, statistics."""
    layer, batch = placed.layer, placed.batch
    if not placed.input_grad:
        return 0.0
    match layer:
        case MatMul():
            samples = 1 if layer.fixed else batch
            return float(BYTES[placed.works]) * samples * layer.products * layer.k * layer.n
        case Attention():
            shared = 2.0 * layer.heads // layer.shared * layer.keys * layer.width
            return batch * (BYTES[placed.works] * shared + STATISTICS_BYTES * layer.heads * layer.queries)
        case RecurrentLayer():
            return float(BYTES[placed.works]) * batch * layer.steps * GATES[layer.cell] * layer.hidden
        case Pool(kind="max"):
            return 8.0 * batch * layer.channels * prod(layer.out_size)
        case Pointwise() if function_of(layer.function).keeps == "mask":
            return float(batch) * layer.elements
        case Pointwise() if function_of(layer.function).keeps == "inputs":
            return float(BYTES[placed.other]) * batch * layer.elements * (layer.inputs - 1)
    return 0.0


def _outputs(placed: Placed) -> int:
    """Values of a batch that flow out of a layer."""
    layer, batch = placed.layer, placed.batch
    match layer:
        case Conv():
            return batch * layer.out_channels * prod(layer.out_size)
        case Linear() | Experts():
            return batch * layer.rows * layer.out_features
        case MatMul():
            return batch * layer.products * layer.m * layer.n
        case RecurrentLayer():
            return batch * layer.steps * layer.hidden
        case Pool():
            return batch * layer.channels * prod(layer.out_size)
        case Embedding():
            return batch * layer.rows * layer.width
    return placed.input_values
