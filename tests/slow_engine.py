"""The engine done slowly: an operation tile pass by tile pass through the plain-Python oracles, and the layers to do it
on.

Of simhw it uses only the lowering's operands (checked on their own in tests/lowering) and the machine's switches;
which operand is X, how rows make tiles, what padding leaves out and how passes share the tiles are written here again.
"""

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from simhw.bfloat16 import BF16Array, from_float32, significand_terms
from simhw.lowering import lower
from simhw.machine.machine import Machine
from simhw.trace.layer import Layer
from tests.kernel_runs import oracle
from tests.oracles import lowering

SIDES = {"forward": "aw", "input_grad": "gw", "weight_grad": "ag"}


def tensor(rng: np.random.Generator, *shape: int, zeros: float = 0.4) -> BF16Array:
    values = rng.standard_normal(shape) * 2.0 ** rng.integers(-6, 3, shape)
    return from_float32(np.where(rng.random(shape) < zeros, 0, values).astype(np.float32))


def layer(
    kind: str, a: tuple[int, ...], w: tuple[int, ...], g: tuple[int, ...], seed: int = 0, **geometry: Any
) -> Layer:
    """A layer of random tensors: half of A, none of W and most of G are zeros."""
    rng = np.random.default_rng([seed, len(a), *a])
    return Layer(
        kind, kind, geometry, a=tensor(rng, *a, zeros=0.5), w=tensor(rng, *w, zeros=0), g=tensor(rng, *g, zeros=0.8)
    )


# Sizes leave partial tiles and sets on every side.
LAYERS = {
    "conv1d": lambda: layer("conv1d", (2, 3, 9), (5, 3, 3), (2, 5, 5), stride=2, padding=1),
    "conv2d": lambda: layer("conv2d", (2, 3, 4, 5), (3, 3, 3, 3), (2, 3, 4, 5), padding=1),
    "strided": lambda: layer("conv2d", (2, 2, 6, 5), (5, 2, 3, 3), (2, 5, 3, 3), stride=2, padding=1),
    "dilated": lambda: layer("conv2d", (1, 2, 6, 5), (3, 2, 2, 2), (1, 3, 5, 3), dilation=(1, 2)),
    "grouped": lambda: layer("conv2d", (2, 6, 3, 3), (4, 3, 2, 2), (2, 4, 2, 2), groups=2),
    "depthwise": lambda: layer(
        "conv2d", (1, 3, 5, 4), (3, 1, 3, 3), (1, 3, 3, 2), stride=(2, 2), padding=(1, 1), groups=3
    ),
    "conv3d": lambda: layer("conv3d", (1, 2, 3, 3, 4), (3, 2, 2, 2, 2), (1, 3, 2, 4, 3), padding=(0, 1, 0)),
    "linear": lambda: layer("linear", (3, 2, 11), (5, 11), (3, 2, 5)),
    "matmul": lambda: layer("matmul", (2, 2, 3, 9), (2, 2, 9, 5), (2, 2, 3, 5)),
    "lstm": lambda: layer("lstm", (3, 2, 10), (8, 10), (3, 2, 8)),
}


@dataclass
class Slow:
    """What an operation comes to: durations of all passes, counters, and the sets that all passes execute."""

    durations: list[int] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    sets: int = 0

    @property
    def tile_cycles(self) -> int:
        return sum(self.durations)


def longest_first(durations: list[int], tiles: int) -> int:
    """Passes go, longest first, to the tile with least work."""
    load = [0] * tiles
    for duration in sorted(durations, reverse=True):
        load[load.index(min(load))] += duration
    return max(load)


def zeros(values: BF16Array) -> float:
    return float(np.mean((values & 0x7F80) == 0))


def terms(values: BF16Array, encoder: Any) -> float:
    return (
        sum(len(significand_terms(v & 0x7F, encoder)) for v in values.reshape(-1).tolist() if v & 0x7F80) / values.size
    )


def swapped_products(layer_: Layer, operation: Any, machine: Machine, family: Any) -> list[bool]:
    """For every product of a family: whether the machine's X is the lowering's Y, from the tensors themselves."""
    x, y = (layer_.source(name).read() for name in SIDES[operation])
    lowering, pe = machine.values.lowering, machine.values.pe
    wanted = getattr(lowering, "serial", getattr(lowering, "scheduled", "auto"))
    assert wanted != "oracle"
    if wanted in SIDES[operation]:
        return [wanted == SIDES[operation][1]] * family.count
    if pe.kind == "fpraker":
        return [terms(y, pe.encoder) < terms(x, pe.encoder)] * family.count
    if pe.kind == "bitparallel":
        return [False] * family.count
    if (operation == "weight_grad" and layer_.kind not in ("matmul", "lstm", "gru")) or layer_.kind == "linear":
        return [zeros(y) > zeros(x)] * family.count
    # W of a convolution or a gate product has no images; a matmul's second operand has.
    per_image = y if layer_.kind == "matmul" or operation == "weight_grad" else [y] * len(x)
    choice = [zeros(right) > zeros(left) for left, right in zip(x, per_image, strict=True)]
    return [choice[family.image(index)] for index in range(family.count)]


def simulate_slowly(layer_: Layer, operation: Any, machine: Machine) -> Slow:
    """Every tile pass of an operation, one after another."""
    switches = machine.values.lowering
    families = lower(
        layer_,
        operation,
        machine.values.pe.lanes,
        fc_windows=switches.fc_windows,
        lane_padding=switches.lane_padding,
        padding=switches.padding,
    )
    tile, lanes = machine.values.tile, machine.values.pe.lanes
    # TensorDash schedules the operand that a row shares; a dense tile says on which side it takes X.
    x_on = "rows" if machine.values.pe.kind == "tensordash" else getattr(tile, "x_on", "cols")
    x_size, y_size = (tile.rows, tile.cols) if x_on == "rows" else (tile.cols, tile.rows)
    slow = Slow()
    for family in families:
        for index, swapped in enumerate(swapped_products(layer_, operation, machine, family)):
            operands = family.product(index)
            x, y = operands[::-1] if swapped else operands
            for x_start in range(0, x.shape[0], x_size):
                for y_start in range(0, y.shape[0], y_size):
                    live = np.flatnonzero(
                        x.live_sets(x_start, x_start + x_size) & y.live_sets(y_start, y_start + y_size)
                    )
                    columns = (live[:, None] * lanes + np.arange(lanes)).reshape(-1)
                    x_rows, y_rows = (
                        x.rows(x_start, x_start + x_size)[:, columns],
                        y.rows(y_start, y_start + y_size)[:, columns],
                    )
                    passes = oracle(machine, x_rows, [y_rows])
                    slow.durations.append(passes.cycles)
                    slow.counters.update(passes.counters)
                    slow.sets += len(live)
    return slow


def published_macs(layer_: Layer) -> int:
    """Multiply-accumulates of each operation, as networks are counted: every output is a product of a whole kernel or
    row.
    """
    a, w, g = (layer_.shapes[name] for name in "awg")
    return prod(g) * (prod(w[1:]) if layer_.geometry.stride else a[-1])


def fed_pairs(layer_: Layer, operation: Any) -> int:
    """Products that are fed with padding in the stream: those that read it included, zeros of stride excluded."""
    a, w = layer_.shapes["a"], layer_.shapes["w"]
    if operation != "input_grad" or not layer_.geometry.stride:
        return published_macs(layer_)
    # Input position i meets kernel position k where (i + padding - dilation k) is a multiple of the stride.
    geometry = layer_.geometry
    meetings = prod(
        sum((i + p - d * k) % s == 0 for i in range(n) for k in range(taps))
        for n, taps, s, p, d in zip(a[2:], w[2:], geometry.stride, geometry.padding, geometry.dilation, strict=True)
    )
    return a[0] * a[1] * (w[0] // geometry.groups) * meetings


def real_pairs(layer_: Layer) -> int:
    """Products of two values in each operation, one by one: no padding of any sort."""
    geometry = layer_.geometry
    if not geometry.stride:
        return published_macs(layer_)
    shape = (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    return lowering.count(layer_.shapes["a"], layer_.shapes["w"], shape)
