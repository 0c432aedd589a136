"""Tiles of machines in cells, and what stands for the tile of a bit-parallel baseline.

The paper's text does not say how its bit-parallel PE adds eight products.  So a baseline has readings: a fused one,
whose products are aligned to the largest and summed exactly, and separate multipliers with a float32 adder each.
What a baseline feeds forward is cut by registers until its loop is left; FPRaker's twin is cut so already.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, cast

from amaranth.lib.wiring import Component

from simhw.errors import MachineError
from simhw.machine.values import MachineValues
from simhw.pe.bitparallel.parameters import BitParallelPE, BitParallelValues
from simhw.pe.fpraker.parameters import FPRakerValues
from simhw.pe.tensordash.parameters import TensorDashValues
from simhw.rtl.bitparallel import BitParallel
from simhw.rtl.dot_product import DotProduct, most_stages
from simhw.rtl.fpraker.tile import FPRakerTile
from simhw.rtl.synthesis.library import Library
from simhw.rtl.synthesis.netlist import Netlist
from simhw.rtl.synthesis.synthesise import synthesise
from simhw.rtl.synthesis.timing import Path, critical_path
from simhw.rtl.tensordash_datapath import TensorDashDatapath

MOST_CELLS_OF_A_PATH = 100_000
"""Of a circuit whose paths are followed as a whole."""
WIDEST_ALIGNMENT = 32
"""Positions of a fused PE that loses next to nothing."""
APART = (
    "column_*",
    "pe_*",
    "exponent*",
    "encoders",
    "*buffer*",
    "running_sum",
    "multiplier_*",
    "adder_*_*",
    "accumulator",
    "front",
    "scheduler_*",
    "multiplexers_*",
    "staging_*",
    "z_*",
)
"""Units that a tile has many of, or that are told apart."""


@dataclass(frozen=True)
class Tile:
    """A tile: so many circuits of one kind.

    Attributes
    ----------
    told : str
        What it is, for a user.
    """

    told: str
    netlist: Netlist
    count: int

    @property
    def area(self) -> float:
        """In the library's unit."""
        return self.netlist.area * self.count

    @cached_property
    def cells(self) -> Counter[str]:
        """Cells by their type."""
        return Counter({kind: count * self.count for kind, count in self.netlist.cells.items()})

    @property
    def flip_flops(self) -> int:
        """Cells that hold a bit."""
        return self.netlist.flip_flops * self.count

    @property
    def path(self) -> Path:
        """The longest one within a circuit."""
        return _longest(self.netlist)

    @cached_property
    def units(self) -> dict[str, tuple[int, float]]:
        """Units in it that were synthesised apart, by name: how many there are, and the area of all, with what is in
        them.
        """
        found: dict[str, tuple[int, float]] = {}
        for name, count, netlist in _units(self.netlist, self.count):
            number, area = found.get(name, (0, 0.0))
            found[name] = (number + count, area + count * netlist.area)
        return found


def _units(netlist: Netlist, times: int) -> Iterator[tuple[str, int, Netlist]]:
    for kind, part in netlist.parts.items():
        count = times * netlist.own_cells[kind]
        yield re.sub(r"(_\d+)*_[0-9a-f]{12}$", "", kind), count, part
        yield from _units(part, count)


def _longest(netlist: Netlist) -> Path:
    """The longest path within a unit of at most so many cells; those from unit to unit of a larger circuit are left
    out.
    """
    if netlist.cells.total() <= MOST_CELLS_OF_A_PATH:
        return critical_path(netlist)
    return max((_longest(part) for part in netlist.parts.values()), key=lambda path: path.delay_ps)


def tile_of(values: MachineValues, library: Library) -> Tile:
    """The tile of a machine.

    Raises
    ------
    MachineError
        There is no hardware for it.
    """
    if isinstance(values, FPRakerValues):
        tile = values.tile
        told = f"{tile.rows * tile.cols} FPRaker PEs, encoders, exponent blocks, buffers"
        return _tile(FPRakerTile(values.pe, tile), told, library)
    if isinstance(values, BitParallelValues):
        return fused(values, values.pe.align_range, library)
    if isinstance(values, TensorDashValues):
        if values.pe.order == "any":
            raise MachineError("pe.order=any has no hardware: give pe.order=paper or pe.order=dnnsim")
        told = f"{values.tile.rows * values.tile.cols} TensorDash PEs, schedulers, multiplexers, staging buffers"
        component = TensorDashDatapath(values.pe, values.tile, value_bits(values), most_stages(values.pe.lanes))
        return _tile(component, told, library)
    raise MachineError(f"pe.kind={values.pe.kind} has no hardware here: give a machine of simhw's own PEs")


def fused(values: BitParallelValues, align_range: int, library: Library) -> Tile:
    """A tile of PEs that align the products of a set to the largest, over so many positions, and sum them exactly."""
    pe: BitParallelPE = values.pe.model_copy(update={"align_range": align_range})
    pes = values.tile.rows * values.tile.cols
    told = f"{pes} fused PEs of {pe.lanes} lanes, aligned over {align_range} positions"
    # The multipliers and the maximum are together shorter than the loop: one cut.
    return _tile(BitParallel(pe, stages=2), told, library, pes)


def separate(values: BitParallelValues | TensorDashValues, library: Library) -> Tile:
    """A tile of PEs with a multiplier and a float32 adder for each lane: a tree of them, and one for the sum."""
    pes, lanes = values.tile.rows * values.tile.cols, values.pe.lanes
    bits = value_bits(values)
    told = f"{pes} PEs of {lanes} separate {NUMBERS[bits]} multipliers, each with a float32 adder"
    return _tile(DotProduct(bits, lanes, most_stages(lanes)), told, library, pes)


def baselines_of(values: MachineValues, baseline: MachineValues | None, library: Library) -> list[Tile]:
    """Every reading of the tile that a machine is set beside.

    Raises
    ------
    MachineError
        The baseline has no bit-parallel PEs.
    """
    if isinstance(values, TensorDashValues):
        return [separate(values, library)]
    if not isinstance(baseline, BitParallelValues):
        raise MachineError("the baseline is to be a machine of bit-parallel PEs: --baseline bitparallel")
    ranges = dict.fromkeys((baseline.pe.align_range, WIDEST_ALIGNMENT))
    return [*(fused(baseline, positions, library) for positions in ranges), separate(baseline, library)]


NUMBERS = {16: "bfloat16", 32: "float32"}


def value_bits(values: MachineValues) -> Literal[16, 32]:
    """Bits of an operand."""
    return cast(Literal[16, 32], 8 * values.memory.value_bytes) if values.memory else 16


def _tile(component: Component, told: str, library: Library, count: int = 1) -> Tile:
    chunk_adder = ("read_out",) if isinstance(component, BitParallel) and component.pe.chunk != "off" else ()
    return Tile(told, synthesise(component, "tile", library, (*APART, *chunk_adder)), count)
