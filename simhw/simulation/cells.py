"""Cells: the pieces in which an operation's tile passes are simulated, drawn at random, and spread over processor
cores.

Products that share an operand form a cluster, in which every tile of X meets every tile of Y; so Y is laid out once for
all images of a convolution, and tiles of several images fill a vector.  A cell is one tile of X with as many tiles of Y
as cost no more than one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.errors import TraceError
from simhw.lowering import SampledBlock, Side
from simhw.pe.passes import ParallelRows, StackingTile, whole_tiles
from simhw.simulation.plan import PassPlan
from simhw.trace.layer import BLOCK_ROWS

UNIT_VALUES = 2_000_000
"""Operand values that a unit of work may hold on either side: bounds memory, and keeps a unit near the caches."""
SHARING_GROUPS = 8
"""Groups of Y that each row of X should meet at the least, since it is laid out for all that it meets in a unit."""
LEAST_UNIT_MACS, MOST_UNIT_MACS = 20_000_000, 400_000_000
"""Multiply-accumulates of a unit of work.  The kernels take 2 to 5 G of them a second, and Python, which one thread
runs at a time, a third of a millisecond a unit.
"""
UNIT_MACS_PER_WORKER = 1_000_000
"""A unit has at least so many for each worker: what kernels do while Python has another worker's unit.  With smaller
ones many workers wait for Python.
"""


def unit_macs(left: int, workers: int) -> int:
    """Multiply-accumulates of a unit where so many are left of a trace.

    Units are large, and towards the end no more than what a worker has still to do if all do the same, but for the
    least size: so none ends much later than the others.  Source: Polychronopoulos and Kuck, Guided self-scheduling,
    IEEE Transactions on Computers C-36 (1987).
    """
    return min(max(left // workers, LEAST_UNIT_MACS, workers * UNIT_MACS_PER_WORKER), MOST_UNIT_MACS)


@dataclass(frozen=True)
class Strip:
    """Consecutive tiles of one side of one product: tiles `first` up to `last`."""

    product: int
    first: int
    last: int


@dataclass(frozen=True)
class WorkUnit:
    """Every tile of the X strips against every tile of the Y strips."""

    xs: tuple[Strip, ...]
    ys: tuple[Strip, ...]


@dataclass(frozen=True)
class WholeProducts:
    """Every tile pass of some products that share nothing, which a `StackingTile` runs at once."""

    products: Sequence[int]


def whole_product(plan: PassPlan, product: int) -> WorkUnit:
    """Every tile pass of a product that shares nothing."""
    x_tiles, y_tiles = plan.tiles
    return WorkUnit((Strip(product, 0, x_tiles),), (Strip(product, 0, y_tiles),))


def split_strips(products: Sequence[int], tiles: int, size: int) -> Iterator[tuple[Strip, ...]]:
    """All tiles of the products in order, `size` at a time."""
    pending: list[Strip] = []
    room = size
    for product in products:
        first = 0
        while first < tiles:
            last = min(tiles, first + room)
            pending.append(Strip(product, first, last))
            room -= last - first
            first = last
            if room == 0:
                yield tuple(pending)
                pending, room = [], size
    if pending:
        yield tuple(pending)


def exact_units(plan: PassPlan, macs: int) -> Iterator[WorkUnit]:
    """Units of about so many multiply-accumulates, alike in size, that cover every tile pass once."""
    x_tiles, y_tiles = plan.tiles
    tile, reduction = plan.tile, plan.reduction
    for xs, ys in plan.clusters():
        all_xs, all_ys = len(xs) * x_tiles, len(ys) * y_tiles
        x_macs = tile.tile_x * reduction
        y_size = all_ys
        if plan.y_tiles_per_cell is not None:
            group_rows = plan.y_tiles_per_cell * tile.tile_y
            groups = max(SHARING_GROUPS, macs // (all_xs * x_macs * group_rows))
            groups = min(groups, UNIT_VALUES // (group_rows * reduction))
            y_size = plan.y_tiles_per_cell * _even(-(-all_ys // plan.y_tiles_per_cell), groups, groups)
        y_rows = min(y_size, all_ys) * tile.tile_y if tile.needs_y else 1
        x_size = _even(all_xs, macs // (x_macs * y_rows), UNIT_VALUES // x_macs)
        for y_strips in split_strips(ys, y_tiles, y_size):
            for x_strips in split_strips(xs, x_tiles, x_size):
                yield WorkUnit(x_strips, y_strips)


def _even(number: int, wanted: int, most: int) -> int:
    """Size of parts of a number that are alike: about as large as is wanted, no larger than `most`, and at least 1."""
    wanted, most = max(1, wanted), max(1, most)
    parts = max(1, round(number / wanted), -(-number // most))
    return -(-number // parts)


@dataclass(frozen=True, eq=False)
class CellStratum:
    """Cells of one plan that hold the same number of passes, so that any of them stands equally well for all."""

    plan: PassPlan
    cells: int
    passes_per_cell: int
    _clusters: list[tuple[tuple[int, ...], tuple[int, ...]]]
    _groups: range

    def unit(self, cell: int) -> WorkUnit:
        """The unit of work of one cell, numbered from 0 to `cells` - 1."""
        plan = self.plan
        x_tiles, y_tiles = plan.tiles
        xs, ys = self._clusters[0]
        per_cluster = len(xs) * x_tiles * len(self._groups)
        xs, ys = self._clusters[cell // per_cluster]
        x_index, group = divmod(cell % per_cluster, len(self._groups))
        product, x_tile = divmod(x_index, x_tiles)
        per_group = plan.y_tiles_per_cell or len(ys) * y_tiles
        first = self._groups[group] * per_group
        strips: list[Strip] = []
        for index in range(first, min(first + per_group, len(ys) * y_tiles)):
            y_product, y_tile = divmod(index, y_tiles)
            if strips and strips[-1].product == ys[y_product]:
                strips[-1] = Strip(ys[y_product], strips[-1].first, y_tile + 1)
            else:
                strips.append(Strip(ys[y_product], y_tile, y_tile + 1))
        return WorkUnit((Strip(xs[product], x_tile, x_tile + 1),), tuple(strips))


def cell_strata(plan: PassPlan) -> list[CellStratum]:
    """The plan's cells: those with a full group of Y, and those with the rest of one."""
    clusters = plan.clusters()
    x_tiles, y_tiles = plan.tiles
    strata = []
    by_shape: dict[tuple[int, int], list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    for xs, ys in clusters:
        by_shape.setdefault((len(xs), len(ys)), []).append((xs, ys))
    for (x_count, y_count), alike in by_shape.items():
        total = y_count * y_tiles
        per_group = plan.y_tiles_per_cell or total
        full, rest = divmod(total, per_group)
        for groups, passes in ((range(full), per_group), (range(full, full + (rest > 0)), rest)):
            if groups:
                strata.append(CellStratum(plan, len(alike) * x_count * x_tiles * len(groups), passes, alike, groups))
    return strata


def simulator_macs(plan: PassPlan, unit: WorkUnit) -> int:
    """Multiply-accumulates that a unit costs the simulator; values of X where Y does not matter."""
    x_rows, y_rows = _tile_rows(plan, unit)
    return x_rows * plan.reduction * (y_rows if plan.tile.needs_y else 1)


def batches(plan: PassPlan, macs: int) -> Iterator[tuple[WorkUnit | WholeProducts, ...]]:
    """All that there is to simulate of a plan, about so many multiply-accumulates at a time: small units go together,
    since Python costs a batch about as much as a unit.
    """
    if (together := _stacked(plan, macs)) > 1:
        for first in range(0, len(plan.products), together):
            yield (WholeProducts(plan.products[first : first + together]),)
        return
    batch: list[WorkUnit] = []
    macs_left, values_left = macs, UNIT_VALUES
    for unit in exact_units(plan, macs):
        cost, values = simulator_macs(plan, unit), _values(plan, unit)
        if batch and (cost > macs_left or values > values_left):
            yield tuple(batch)
            batch, macs_left, values_left = [], macs, UNIT_VALUES
        batch.append(unit)
        macs_left -= cost
        values_left -= values
    if batch:
        yield tuple(batch)


def _stacked(plan: PassPlan, macs: int) -> int:
    """How many products of a plan are to run at once; 0 where the tile cannot or they share operands or leave out
    sets.
    """
    count = len(plan.products)
    apart = plan.family.border is None and plan.cluster_sizes() == {(1, 1): count}
    if not (apart and isinstance(plan.tile, StackingTile)):
        return 0
    one = whole_product(plan, plan.products[0])
    return min(count, macs // simulator_macs(plan, one), UNIT_VALUES // _values(plan, one))


def _values(plan: PassPlan, unit: WorkUnit) -> int:
    """Operand values of a unit's larger side, with Y filled up to whole vectors."""
    x_rows, y_rows = _tile_rows(plan, unit)
    vector = plan.tile.vector_rows or 1
    return max(x_rows, -(-y_rows // vector) * vector) * plan.reduction


def _tile_rows(plan: PassPlan, unit: WorkUnit) -> tuple[int, int]:
    """Rows of X and of Y in a unit, tiles filled up."""
    x_tiles, y_tiles = (sum(strip.last - strip.first for strip in strips) for strips in (unit.xs, unit.ys))
    return x_tiles * plan.tile.tile_x, y_tiles * plan.tile.tile_y


def stacked_rows(plan: PassPlan, unit: WholeProducts) -> tuple[BF16Array, BF16Array, npt.NDArray[np.bool_]]:
    """What `StackingTile.run_stacked` takes for some products."""
    x_side, y_side = plan.sides
    rows = np.arange(plan.tiles[1] * plan.tile.tile_y)
    return x_side.stack(unit.products), y_side.stack(unit.products), rows < plan.rows[1]


def _tile_groups(
    side: Side, strips: Sequence[Strip], tile_rows: int
) -> list[tuple[npt.NDArray[np.bool_] | None, list[Strip]]]:
    """The strips, split where passes leave out different sets; (None, strips) where none leaves out any."""
    groups: dict[bytes, tuple[npt.NDArray[np.bool_], list[Strip]]] = {}
    for strip in strips:
        for index in range(strip.first, strip.last):
            live = side.live_sets(index * tile_rows, (index + 1) * tile_rows)
            if live is None:
                return [(None, list(strips))]
            groups.setdefault(live.tobytes(), (live, []))[1].append(Strip(strip.product, index, index + 1))
    return list(groups.values())


def unit_rows(
    plan: PassPlan, unit: WorkUnit | WholeProducts, y_values: bool
) -> Iterator[tuple[ParallelRows, Iterator[BF16Array]]]:
    """What a unit runs: rows of Y, each with the rows of X that meet them, as many in one array as are whole tiles.

    Without `y_values` the rows of Y are only counted: they have no columns.
    """
    if isinstance(unit, WholeProducts):
        for product in unit.products:
            yield from unit_rows(plan, whole_product(plan, product), y_values)
        return
    tile, (x_side, y_side) = plan.tile, plan.sides
    for y_live, y_strips in _tile_groups(y_side, unit.ys, tile.tile_y):
        for x_live, x_strips in _tile_groups(x_side, unit.xs, tile.tile_x):
            live = x_live if y_live is None else y_live  # at most one side reads a convolution's padding
            yield _y_rows(plan, y_strips, live, y_values), _x_rows(plan, x_strips, live)


def _y_rows(plan: PassPlan, strips: Sequence[Strip], live: npt.NDArray[np.bool_] | None, values: bool) -> ParallelRows:
    """Rows of Y in whole tiles, those of each strip filled up."""
    size = plan.tile.tile_y
    parts = [(strip.product, strip.first * size, strip.last * size) for strip in strips]
    if values:
        rows, real = plan.sides[1].gather(parts, size)
        return ParallelRows(_executed(rows, live, plan.family.reduction.lanes), real)
    real = np.concatenate([np.arange(first, last) < plan.rows[1] for _, first, last in parts])
    return ParallelRows(np.zeros((len(real), 0), np.uint16), real)


def _x_rows(plan: PassPlan, strips: Sequence[Strip], live: npt.NDArray[np.bool_] | None) -> Iterator[BF16Array]:
    """Rows of X of the strips, cut where a product's last tile is not full: a tile takes no rows of two products."""
    size, lanes = plan.tile.tile_x, plan.family.reduction.lanes
    parts: list[tuple[int, int, int]] = []
    for strip in strips:
        parts.append((strip.product, strip.first * size, strip.last * size))
        if strip.last * size > plan.rows[0] or strip is strips[-1]:
            yield _executed(plan.sides[0].gather(parts)[0], live, lanes)
            parts = []


def _executed(rows: BF16Array, live: npt.NDArray[np.bool_] | None, lanes: int) -> BF16Array:
    """The columns of the sets that a pass executes."""
    if live is None or live.all() or not rows.shape[1]:
        return rows
    return np.ascontiguousarray(rows.reshape(len(rows), -1, lanes)[:, live].reshape(len(rows), -1))


def block_passes(plan: PassPlan, x_rows: int, y_rows: int) -> int:
    """Tile passes of a sampled block of so many rows of the family's X and Y."""
    x, y = (y_rows, x_rows) if plan.swapped else (x_rows, y_rows)
    return -(-x // plan.tile.tile_x) * -(-y // plan.tile.tile_y)


def block_rows(plan: PassPlan, block: SampledBlock) -> Iterator[tuple[ParallelRows, Iterator[BF16Array]]]:
    """What a sampled block runs, in the form of `unit_rows`.

    Raises
    ------
    TraceError
        The tile takes more rows at a time than the block's are consecutive.
    """
    tile, lanes = plan.tile, plan.family.reduction.lanes
    for rows in (tile.tile_x, tile.tile_y):
        if BLOCK_ROWS % rows:
            raise TraceError(
                f"{plan.family.name}: the trace holds blocks of {BLOCK_ROWS} rows, which tiles of {rows} rows do not "
                "divide; "
                f"use a tile of 1, 2, 4, 8 or 16, or a trace of whole tensors"
            )
    family_x, family_y = block.x, block.y
    if block.border is None:
        x, y = (family_y, family_x) if plan.swapped else (family_x, family_y)
        yield whole_tiles([y], tile.tile_y), iter([x])
        return
    # Only the family's X can read padding; its tiles run one by one, each with the sets that it executes.
    size = tile.tile_y if plan.swapped else tile.tile_x
    for start in range(0, len(family_x), size):
        live = block.live_sets(start, start + size)
        mine, other = _executed(family_x[start : start + size], live, lanes), _executed(family_y, live, lanes)
        x, y = (other, mine) if plan.swapped else (mine, other)
        yield whole_tiles([y], tile.tile_y), iter([x])
