"""Blocks of an operation by their definition: every multiply-accumulate one by one, every step of the loop nest in
turn.

Shares with simhw.memory the loops' names and, in the walk, the sizes of blocks; no formula.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod
from typing import NamedTuple

RUNS_ALONG = {"a": ("g", "p", "c"), "w": ("g", "c", "o"), "g": ("g", "p", "o")}
NOT_ALONG = {"a": "o", "w": "p", "g": "c"}

Element = tuple[int, ...]


class Mac(NamedTuple):
    """One multiply-accumulate: its place in the loops, and the element of each tensor that it meets.

    `row` is the row of the windowed tensor that it reads, which may lie in the padding or, in an input gradient,
    between two rows; the windowed tensor's element is None there.
    """

    g: int
    p: int
    c: int
    o: int
    elements: dict[str, Element | None]
    row: Fraction


def macs(layer, operation) -> Iterator[Mac]:
    """All of an operation's, zeros of padding and, in an input gradient, taps that stride skips among them."""
    products = {"linear": _linear, "matmul": _matmul, "lstm": _gates, "gru": _gates}
    return products[layer.kind](layer) if layer.kind in products else _convolution(layer, operation)


def _linear(layer) -> Iterator[Mac]:
    *leading, inputs = layer.shapes["a"]
    for p, sample in enumerate(product(*map(range, leading))):
        for c, o in product(range(inputs), range(layer.shapes["w"][0])):
            yield Mac(0, p, c, o, {"a": (*sample, c), "w": (o, c), "g": (*sample, o)}, Fraction(p))


def _gates(layer) -> Iterator[Mac]:
    times, batch, inputs = layer.shapes["a"]
    for time, sample, c, o in product(range(times), range(batch), range(inputs), range(layer.shapes["w"][0])):
        p = time * batch + sample  # time steps share W
        yield Mac(0, p, c, o, {"a": (time, sample, c), "w": (o, c), "g": (time, sample, o)}, Fraction(p))


def _matmul(layer) -> Iterator[Mac]:
    *batch, rows, inner = layer.shapes["a"]
    for g, member in enumerate(product(*map(range, batch))):
        for p, c, o in product(range(rows), range(inner), range(layer.shapes["w"][-1])):
            yield Mac(g, p, c, o, {"a": (*member, p, c), "w": (*member, c, o), "g": (*member, p, o)}, Fraction(p))


def _convolution(layer, operation) -> Iterator[Mac]:
    geometry = layer.geometry
    images, _, *sizes = layer.shapes["a"]
    outputs, group_inputs, *kernel = layer.shapes["w"]
    axes = list(zip(geometry.stride, geometry.padding, geometry.dilation, strict=True))
    out = [
        (n + 2 * pad - dil * (k - 1) - 1) // step + 1
        for n, k, (step, pad, dil) in zip(sizes, kernel, axes, strict=True)
    ]
    counted, read = (sizes, out) if operation == "input_grad" else (out, sizes)
    group_outputs = outputs // geometry.groups
    for image, position, tap in product(range(images), product(*map(range, counted)), product(*map(range, kernel))):
        if operation == "input_grad":
            place = [
                Fraction(i + pad - k * dil, step) for i, k, (step, pad, dil) in zip(position, tap, axes, strict=True)
            ]
        else:
            place = [
                Fraction(i * step + k * dil - pad) for i, k, (step, pad, dil) in zip(position, tap, axes, strict=True)
            ]
        real = all(i.denominator == 1 and 0 <= i < n for i, n in zip(place, read, strict=True))
        there = tuple(int(i) for i in place)
        for g, c, o in product(range(geometry.groups), range(group_inputs), range(group_outputs)):
            in_channel, out_channel = g * group_inputs + c, g * group_outputs + o
            elements: dict[str, Element | None] = {"w": (out_channel, c, *tap)}
            if operation == "input_grad":
                elements |= {"a": (image, in_channel, *position), "g": (image, out_channel, *there) if real else None}
            else:
                elements |= {"a": (image, in_channel, *there) if real else None, "g": (image, out_channel, *position)}
            yield Mac(g, image * counted[0] + position[0], c, o, elements, place[0])


def loop_nest(order: str, blocks: Sequence[int]) -> Iterator[dict[str, int]]:
    """The loop nest, step by step: the block of each loop."""
    for indices in product(*map(range, blocks)):
        yield dict(zip(order, indices, strict=True))


@dataclass
class Walk:
    """What became of one tensor: bytes of whole values in and out, bytes of partial sums in and out, and the buffer it
    took.
    """

    values_in: int = 0
    values_out: int = 0
    partial_in: int = 0
    partial_out: int = 0
    need: int = 0


def walk(order, blocks, tensor, sizes, is_output, partial_scale: Fraction, keep: bool) -> Walk:
    """Run the loop nest with an explicit buffer for one tensor.

    Parameters
    ----------
    order, blocks
        Loops, outermost first, and how many blocks each has.
    sizes : dict of tuple of int to int
        Bytes of each block of the tensor, by its indices along ``RUNS_ALONG[tensor]``.
    is_output : bool
        Blocks are made here instead of fetched, and leave.
    partial_scale : Fraction
        Size of a partial sum over that of a value.
    keep : bool
        The buffer keeps all blocks until a loop outside the one that the tensor does not run along moves on; else it
        keeps the block in use.
    """
    again = NOT_ALONG[tensor]
    outside = order[: order.index(again)]
    result = Walk()
    buffer: dict[tuple[int, ...], bool] = {}  # block: complete
    last = blocks[order.index(again)] - 1
    spilled: set[tuple[int, ...]] = set()
    phase = None
    replaced = [0]

    def drop(block):
        complete = buffer.pop(block)
        if not is_output:
            return
        if complete:
            result.values_out += sizes[block]
        else:
            spilled.add(block)
            result.partial_out += int(sizes[block] * partial_scale)

    for step in loop_nest(order, blocks):
        block = tuple(step[dim] for dim in RUNS_ALONG[tensor])
        now = tuple(step[dim] for dim in outside)
        # What one phase holds is replaced as a whole.
        if keep and now != phase:
            for old in list(buffer):
                drop(old)
        if not keep:
            for old in [old for old in buffer if old != block]:
                drop(old)
        phase = now
        if block not in buffer:
            if not is_output:
                result.values_in += sizes[block]
            elif block in spilled:
                result.partial_in += int(sizes[block] * partial_scale)
            buffer[block] = False
        replaced.append(sum(sizes[held] for held in buffer))
        if is_output and step[again] == last:
            buffer[block] = True
    for old in list(buffer):
        drop(old)
    result.need = min(2 * max(replaced), sum(sizes.values()))
    return result


def block_bytes(space, order, blocks, tensor, value_bytes) -> dict[tuple[int, ...], int]:
    """Bytes of each block of a tensor, from the extents of its loops."""
    factor = value_bytes * (space.taps if tensor == "w" else 1)
    extents = [space.extents(dim, space.cuts(dim, blocks[order.index(dim)]), tensor) for dim in RUNS_ALONG[tensor]]
    indices = product(*(range(len(each)) for each in extents))
    return {index: factor * prod(each[i] for each, i in zip(extents, index, strict=True)) for index in indices}


def traffic_of(space, order, blocks, memory, tensor) -> Walk | None:
    """The walk with the least traffic whose buffer suffices; None if not even two blocks, or the whole tensor, fit."""
    sizes = block_bytes(space, order, blocks, tensor, memory.value_bytes)
    scale = Fraction(memory.partial_value_bytes, memory.value_bytes)
    capacity = getattr(memory.buffers, tensor).capacity_bytes
    walks = [walk(order, blocks, tensor, sizes, tensor == space.output, scale, keep) for keep in (False, True)]
    fitting = [each for each in walks if each.need <= capacity]
    return min(fitting, key=lambda each: each.values_in + each.partial_in + each.partial_out, default=None)


def off_chip_bytes(space, order, blocks, memory) -> int | None:
    """Bytes of all tensors that cross the pins under a blocking, before compression; None if it does not fit."""
    walks = [traffic_of(space, order, blocks, memory, tensor) for tensor in RUNS_ALONG]
    if None in walks:
        return None
    return sum(each.values_in + each.values_out + each.partial_in + each.partial_out for each in walks)
