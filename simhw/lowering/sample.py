"""A trace small enough to bundle: random cells of every operation's products instead of whole tensors.

A cell is 16 consecutive rows of X and 16 of Y over the whole reduction, since a tile shares neighbouring rows; fewer at
the edges.  A stratum is the cells of one size of a family of products of one layer and operation; its cells are drawn
with equal probability and without replacement, so that the mean of a stratum's cells times their number estimates the
stratum's total without bias, whatever is totalled.  Statistics of the whole tensors stay beside the sample.
"""

import heapq
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.errors import TraceError
from simhw.lowering import BlockClass, Family, block_classes, lower
from simhw.progress import track
from simhw.trace.layer import BLOCK_ROWS, OPERATIONS, TENSORS, InMemory, Layer, Operation, ProductBlock
from simhw.trace.statistics import layer_statistics
from simhw.trace.trace import Trace

# Two cells are the fewest from which a stratum's own variance can be told.
CELLS_FOR_VARIANCE = 2
PILOT_CELLS = 2
# The pilot's mean is an estimate: aim below the limit, so that cutting the sample afterwards stays rare.
FILL = 0.97
# A cell's share of the archive beside its values: two members' headers, names and array headers, one line of metadata
# (measured: 430).
CELL_OVERHEAD_BYTES = 440
# Pieces of a tensor that tell its compressed size, and values in each.
PIECES, PIECE_VALUES = 4, 1 << 12
PILOT, DRAW = 0, 1

Key = tuple[int, int, int, int]


@dataclass(frozen=True)
class BlockStratum:
    """The cells of one size of a family of a layer's operation.

    Attributes
    ----------
    key : (layer index, operation index, family index, index of the cells' size)
    cells : int
        Population.
    reduction : int
        K of every cell, unpadded.
    outputs : int
        Rows of X times rows of Y of every cell.
    bytes_per_cell : float
        Expected share of the compressed file.
    """

    key: Key
    cells: int
    reduction: int
    bytes_per_cell: float
    outputs: int = BLOCK_ROWS**2

    @property
    def weight(self) -> float:
        """The stratum's share of the total work, to which its part of the total's error is taken to be proportional."""
        return self.cells * self.reduction * self.outputs


def sample_trace(trace: Trace, max_bytes: int, seed: int) -> Trace:
    """A trace of random product cells whose compressed file is at most `max_bytes` long.

    Every stratum gets two cells (all, where it has fewer; one, where the budget is too small for two everywhere), and
    the rest of the budget goes, cell by cell, where a byte lowers the variance of an estimated total most.  How many
    cells a stratum gets depends on shapes and on a pilot drawn apart, not on the cells drawn, so estimates stay
    unbiased.  A trace that fits the budget whole stays whole.

    Parameters
    ----------
    trace : Trace
        Whole tensors.
    max_bytes : int
        Limit on the file that ``save(path, compress=True)`` writes.
    seed : int
        Not negative; the same seed gives the same sample.

    Returns
    -------
    Trace
        Its layers hold `blocks`, the shapes and the statistics of the whole tensors; ``metadata.extra["sample"]``
        holds the seed and the limit.

    Raises
    ------
    TraceError
        The trace is already a sample, or not even one cell of each stratum fits.
    """
    if seed < 0:
        raise TraceError(f"sample seed {seed}: give 0 or more")
    for layer in trace.layers:
        if layer.sampled:
            raise TraceError(
                f"{trace.path or 'trace'}: layer {layer.name!r} is already a sample; sample the whole trace instead"
            )
    layers = [_with_statistics(layer) for layer in track(trace.layers, "measuring tensors", len(trace.layers))]
    whole = Trace(layers, trace.metadata, trace.path)
    # The estimate only tells whether writing the whole trace to see is worth the time.
    held = ((layer.source(t).read() for t in TENSORS if layer.holds(t)) for layer in layers)
    if (
        sum(_deflated_estimate(values) for tensors in held for values in tensors) <= max_bytes
        and whole.saved_bytes(compress=True) <= max_bytes
    ):
        return whole
    extra = {**trace.metadata.extra, "sample": {"seed": seed, "max_bytes": max_bytes, "block_rows": BLOCK_ROWS}}
    metadata = replace(trace.metadata, extra=extra)
    fixed = Trace([_sampled(layer, {}) for layer in layers], metadata).saved_bytes(compress=True)
    strata = [
        s for i, layer in enumerate(track(layers, "sizing the sample", len(layers))) for s in _strata(layer, i, seed)
    ]
    budget = FILL * (max_bytes - fixed)
    drawn: list[dict[Operation, dict[Key, list[ProductBlock]]]] = []
    while True:
        counts = dict(zip((s.key for s in strata), allocate(strata, budget), strict=True))
        if not drawn:
            drawn = [
                _draw(layer, i, counts, seed)
                for i, layer in enumerate(track(layers, "drawing the sample", len(layers)))
            ]
        blocks = [_prefixes(operations, counts) for operations in drawn]
        sample = Trace(
            [_sampled(layer, cells) for layer, cells in zip(layers, blocks, strict=True)], metadata, trace.path
        )
        size = sample.saved_bytes(compress=True)
        if size <= max_bytes:
            return sample
        # A shorter prefix of a random order is again a random sample.
        budget -= 1.1 * (size - max_bytes) + 0.001 * max_bytes


def allocate(strata: Sequence[BlockStratum], budget_bytes: float) -> list[int]:
    """Cells of each stratum: two of each (or one, or all), then one by one the cell that gains most per byte.

    The variance of the estimated total is the sum of ``weight**2 * (1 / n - 1 / cells)``.

    Raises
    ------
    TraceError
        One cell of each stratum exceeds the budget.
    """

    def cost(counts: list[int]) -> float:
        return sum(n * stratum.bytes_per_cell for n, stratum in zip(counts, strata, strict=True))

    def gain(index: int, n: int) -> float:
        return strata[index].weight ** 2 * (1 / n - 1 / (n + 1)) / strata[index].bytes_per_cell

    counts = [min(CELLS_FOR_VARIANCE, stratum.cells) for stratum in strata]
    if cost(counts) > budget_bytes:
        counts = [1] * len(strata)
    if cost(counts) > budget_bytes:
        needed, given = (f"{amount / 1e6:.2f} MB" for amount in (cost(counts), max(budget_bytes, 0)))
        raise TraceError(
            f"one cell of each of {len(strata)} strata takes about {needed}, the limit leaves {given}; raise the limit"
        )
    left = budget_bytes - cost(counts)
    queue = [(-gain(index, n), index) for index, n in enumerate(counts) if n < strata[index].cells]
    heapq.heapify(queue)
    while queue:
        _, index = heapq.heappop(queue)
        if strata[index].bytes_per_cell > left:
            continue
        left -= strata[index].bytes_per_cell
        counts[index] += 1
        if counts[index] < strata[index].cells:
            heapq.heappush(queue, (-gain(index, counts[index]), index))
    return counts


def draw_cells(cells: int, size: int, seed: int, purpose: int, key: Key) -> npt.NDArray[np.int64]:
    """`size` different cells out of `cells`, every ordered choice equally likely; (size,) int64."""
    return np.random.default_rng([seed, purpose, *key]).choice(cells, size=size, replace=False).astype(np.int64)


def _cell(family: Family, number: int, alike: BlockClass, cell: int) -> ProductBlock:
    product, x_start, y_start = alike.place(cell)
    x, y = family.product(product)
    x_rows, y_rows = x.rows(x_start, x_start + BLOCK_ROWS), y.rows(y_start, y_start + BLOCK_ROWS)
    return ProductBlock(number, product, x_start, y_start, InMemory(x_rows), InMemory(y_rows))


def _lowered(layer: Layer) -> Iterator[tuple[int, Operation, list[Family]]]:
    """The families of each operation that ran, their reductions without padding to sets."""
    for index, operation in enumerate(OPERATIONS):
        if operation in layer.operations:
            yield index, operation, lower(layer, operation, 1)


def _strata(layer: Layer, layer_index: int, seed: int) -> Iterator[BlockStratum]:
    for operation_index, _, families in _lowered(layer):
        for number, family in enumerate(families):
            for kind, alike in enumerate(block_classes(family)):
                key = (layer_index, operation_index, number, kind)
                drawn = draw_cells(alike.cells, min(PILOT_CELLS, alike.cells), seed, PILOT, key)
                pilot = [_cell(family, number, alike, int(cell)) for cell in drawn]
                deflated = sum(_deflated_bytes(side.read()) for cell in pilot for side in (cell.x, cell.y))
                share = deflated / len(pilot) + CELL_OVERHEAD_BYTES
                yield BlockStratum(key, alike.cells, family.k(), share, alike.x_rows * alike.y_rows)


def _draw(
    layer: Layer, layer_index: int, counts: dict[Key, int], seed: int
) -> dict[Operation, dict[Key, list[ProductBlock]]]:
    """Cells of every stratum of every operation, in the random order in which they were drawn."""
    drawn: dict[Operation, dict[Key, list[ProductBlock]]] = {}
    for operation_index, operation, families in _lowered(layer):
        drawn[operation] = {}
        for number, family in enumerate(families):
            for kind, alike in enumerate(block_classes(family)):
                key = (layer_index, operation_index, number, kind)
                chosen = draw_cells(alike.cells, counts[key], seed, DRAW, key)
                drawn[operation][key] = [_cell(family, number, alike, int(cell)) for cell in chosen]
    return drawn


def _prefixes(
    drawn: dict[Operation, dict[Key, list[ProductBlock]]], counts: dict[Key, int]
) -> dict[Operation, list[ProductBlock]]:
    return {
        operation: [cell for key, cells in strata.items() for cell in cells[: counts[key]]]
        for operation, strata in drawn.items()
    }


def _with_statistics(layer: Layer) -> Layer:
    missing = [t for t in TENSORS if layer.holds(t) and t not in layer.statistics]
    statistics = layer.statistics | {t: layer_statistics(layer, t) for t in missing}
    a, w, g = (layer.source(t) if layer.holds(t) else None for t in TENSORS)
    return Layer(
        layer.name,
        layer.kind,
        layer.geometry,
        a,
        w,
        g,
        layer.operations,
        layer.shapes,
        statistics,
        scales=layer.scales,
    )


def _sampled(layer: Layer, blocks: dict[Operation, list[ProductBlock]]) -> Layer:
    return Layer(
        layer.name,
        layer.kind,
        layer.geometry,
        operations=layer.operations,
        shapes=layer.shapes,
        statistics=layer.statistics,
        blocks=blocks,
        blocks_by_size=True,
        scales=layer.scales,
    )


def _deflated_estimate(values: BF16Array) -> float:
    """Compressed size of a tensor, told from a few pieces of it."""
    flat = values.reshape(-1)
    starts = np.linspace(0, max(flat.size - PIECE_VALUES, 0), PIECES).astype(np.int64)
    pieces = [flat[start : start + PIECE_VALUES] for start in starts]
    return flat.size / sum(piece.size for piece in pieces) * sum(map(_deflated_bytes, pieces))


def _deflated_bytes(values: BF16Array) -> int:
    return len(zlib.compress(np.ascontiguousarray(values).data))
