"""Plans: which tile passes an operation comes to on a machine, from shapes alone.

Products that share an operand form a cluster, in which every tile of X meets every tile of Y.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

from simhw.lowering import Family, Side, lower, multiply_accumulates
from simhw.machine.machine import Machine
from simhw.pe.passes import Tile
from simhw.trace.layer import Layer, Operation


@dataclass(frozen=True, eq=False)
class PassPlan:
    """The tile passes of some products of a family, with X and Y as the machine takes them.

    Attributes
    ----------
    family : Family
    swapped : bool
        True where the machine's X is the family's Y.
    products : sequence of int
        The family's products that are planned.
    tile : Tile
    """

    family: Family
    swapped: bool
    products: Sequence[int]
    tile: Tile

    @property
    def rows(self) -> tuple[int, int]:
        """Rows of X and of Y of one product."""
        return (self.family.n, self.family.m) if self.swapped else (self.family.m, self.family.n)

    @property
    def tiles(self) -> tuple[int, int]:
        """Tiles of X and of Y of one product."""
        return -(-self.rows[0] // self.tile.tile_x), -(-self.rows[1] // self.tile.tile_y)

    @property
    def passes(self) -> int:
        """Tile passes of all planned products."""
        return len(self.products) * self.tiles[0] * self.tiles[1]

    @property
    def reduction(self) -> int:
        """K, padded to sets."""
        return self.family.reduction.size

    @property
    def y_tiles_per_cell(self) -> int | None:
        """Tiles of Y in a cell; None where a cell holds all of its cluster's."""
        rows = self.tile.cell_rows
        return None if rows is None else max(1, rows // self.tile.tile_y)

    @property
    def sides(self) -> tuple[Side, Side]:
        """X and Y of all products as the machine takes them."""
        x, y = self.family.sides
        return (y, x) if self.swapped else (x, y)

    def cluster_sizes(self) -> Counter[tuple[int, int]]:
        """How many clusters there are of so many products that give tiles of X and so many that give tiles of Y."""
        count, family = len(self.products), self.family
        if not count:
            return Counter()
        # Where only some images are planned, their products share what all do.
        distinct = tuple(count if number == family.count else number for number in family.distinct)
        xs, ys = distinct[::-1] if self.swapped else distinct
        return Counter({(count // ys, 1): ys} if ys <= xs else {(1, count // xs): xs})

    def clusters(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Clusters as (products that give tiles of X, products that give tiles of Y)."""
        family = self.family
        x_key, y_key = (family.y_key, family.x_key) if self.swapped else (family.x_key, family.y_key)
        by_x: dict[Hashable, list[int]] = {}
        by_y: dict[Hashable, list[int]] = {}
        for product in self.products:
            by_x.setdefault(x_key(product), []).append(product)
            by_y.setdefault(y_key(product), []).append(product)
        if len(by_y) <= len(by_x):
            return [(tuple(products), (products[0],)) for products in by_y.values()]
        return [((products[0],), tuple(products)) for products in by_x.values()]

    @cached_property
    def passes_by_sets(self) -> Counter[int]:
        """How many passes execute how many sets, which are the cycles of a machine that takes one cycle a set; no value
        is read.
        """
        x_tiles, y_tiles = self.tiles
        border = self.family.border
        if border is None:
            return Counter({self.reduction // self.tile.lanes: self.passes})
        size, tiles, others = (
            (self.tile.tile_y, y_tiles, x_tiles) if self.swapped else (self.tile.tile_x, x_tiles, y_tiles)
        )
        sets = Counter(
            int(border.live_sets(index * size, (index + 1) * size, self.family.reduction).sum())
            for index in range(tiles)
        )
        return Counter({number: count * others * len(self.products) for number, count in sets.items()})

    @property
    def sets(self) -> int:
        """Sets that all passes together execute."""
        return sum(sets * number for sets, number in self.passes_by_sets.items())

    @property
    def filled_sets(self) -> int:
        """Sets that the PEs execute which have both a row of X and one of Y, over all passes."""
        x_rows, y_rows = self.rows
        border, number = self.family.border, len(self.products)
        if border is None:
            return number * x_rows * y_rows * (self.reduction // self.tile.lanes)
        size, rows, others = (self.tile.tile_y, y_rows, x_rows) if self.swapped else (self.tile.tile_x, x_rows, y_rows)
        sets = sum(
            int(border.live_sets(start, start + size, self.family.reduction).sum()) * (min(start + size, rows) - start)
            for start in range(0, rows, size)
        )
        return number * sets * others

    @property
    def simulator_work(self) -> float:
        """Work of simulating all passes: value pairs that meet in the kernel, or values of X where Y does not
        matter.
        """
        x_tiles, y_tiles = self.tiles
        rows = len(self.products) * x_tiles * self.tile.tile_x * self.reduction
        if self.tile.fixed_time or not self.tile.needs_y:
            return float(rows)
        if self.tile.vector_rows is None:
            return float(rows * y_tiles * self.tile.tile_y)
        group = max(1, self.tile.vector_rows // self.tile.tile_y)
        shared = max((ys for _, ys in self.cluster_sizes()), default=1)
        groups = -(-shared * y_tiles // group) / shared
        return float(rows * groups * group * self.tile.tile_y)


@dataclass(frozen=True, eq=False)
class LoweredOperation:
    """An operation of a layer as a machine's file lowers it."""

    layer: Layer
    operation: Operation
    families: list[Family]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the operation, whatever the machine is fed for it."""
        return multiply_accumulates(self.layer, self.operation)

    @property
    def fed_macs(self) -> int:
        """Products that the machine is fed, padding to sets and partial tiles excluded."""
        return sum(family.fed for family in self.families)

    @property
    def padding_macs(self) -> int:
        """Those of them that multiply a zero around a convolution's input or gradient."""
        return sum(family.fed - family.real for family in self.families)


def lower_for(layer: Layer, operation: Operation, machine: Machine) -> LoweredOperation:
    """The operation lowered as the machine's file says."""
    lowering = machine.values.lowering
    families = lower(
        layer,
        operation,
        machine.tile.lanes,
        fc_windows=lowering.fc_windows,
        lane_padding=lowering.lane_padding,
        padding=lowering.padding,
    )
    return LoweredOperation(layer, operation, families)
