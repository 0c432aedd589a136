"""Area: what the tiles and the memories of a machine take on the chip, and how many tiles fit into another machine's
area.

The papers compare machines of equal compute area: the PEs and what feeds them terms or pairs, without memories.
FPRaker's 36 tiles of 317,068 um^2 take 11.414 mm^2, its baseline's 8 of 1,421,579 um^2 11.373 mm^2: 0.37% less, so
"equal" needs a tolerance.  Source: spec pages fpraker.md section 4, tensordash.md section 3, energy.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import floor, isfinite
from typing import Literal

from simhw.errors import MachineError
from simhw.machine.costs_of import size_factor
from simhw.machine.machine import Machine
from simhw.memory.model import sram_instances

Counted = Literal["compute", "chip"]

PUBLISHED_NAMES = {
    "buffer_a": "buffer_a",
    "buffer_w": "buffer_w",
    "buffer_g": "buffer_g",
    "scratchpad": "scratchpads",
    "transposer": "transposers",
}
"""Memories as `sram` names a single one, and as `memory_area_mm2` names all of them."""

NUMBER_DEPENDS_ON = {
    "buffer_a": ("memory.buffers.a.",),
    "buffer_w": ("memory.buffers.w.",),
    "buffer_g": ("memory.buffers.g.",),
    "scratchpad": ("tiles", "tile.", "memory.scratchpads."),
    "transposer": ("memory.transposers.",),
}
"""Overrides that may change how many memories of a kind there are (`simhw.memory.model.sram_instances`), by their first
letters.
"""

PER_TILE = ("scratchpad",)
"""Memories of which every tile has its own.  Buffers keep their number (`memory.buffers`) however many tiles there are.
"""

ROUNDING = 1e-12
"""Relative error of an area for which floating point alone may be to blame."""


@dataclass(frozen=True)
class MemoryArea:
    """All memories of one kind.

    Attributes
    ----------
    name : str
        As `sram` names it: ``buffer_a``, ``scratchpad``, ...
    instances : int
        Single memories; a buffer has one for each bank.
    instance_mm2 : float
        Area of one [mm^2].
    published : bool
        Whether the area is the paper's (`memory_area_mm2`), spread over its instances, or CACTI's (`sram`).
    """

    name: str
    instances: int
    instance_mm2: float
    published: bool

    @property
    def area_mm2(self) -> float:
        """Of all of them [mm^2]."""
        return self.instances * self.instance_mm2


@dataclass(frozen=True)
class ChipArea:
    """Area of a machine by part.

    Attributes
    ----------
    tiles : int
    tile_um2 : mapping of part to float
        What one tile consists of, its memories aside [um^2].
    memories : tuple of MemoryArea
        Empty where the machine's file has no memories.
    """

    tiles: int
    tile_um2: Mapping[str, float]
    memories: tuple[MemoryArea, ...]

    @property
    def tile_mm2(self) -> float:
        """One tile, its memories aside [mm^2]."""
        return sum(self.tile_um2.values()) / 1e6

    @property
    def compute_mm2(self) -> float:
        """All tiles, their memories aside [mm^2]."""
        return self.tiles * self.tile_mm2

    @property
    def memories_mm2(self) -> float:
        """All memories [mm^2]."""
        return sum(memory.area_mm2 for memory in self.memories)

    @property
    def total_mm2(self) -> float:
        """Tiles and memories [mm^2]."""
        return self.compute_mm2 + self.memories_mm2

    def fixed_mm2(self, counted: Counted) -> float:
        """What counts and does not depend on the tiles: no more than the memories that they share [mm^2]."""
        if counted == "compute":
            return 0.0
        return sum(memory.area_mm2 for memory in self.memories if memory.name not in PER_TILE)

    def per_tile_mm2(self, counted: Counted) -> float:
        """What counts of each tile: its compute, and on the chip its own memories [mm^2]."""
        if counted == "compute":
            return self.tile_mm2
        own = sum(memory.area_mm2 for memory in self.memories if memory.name in PER_TILE)
        return self.tile_mm2 + own / self.tiles

    def with_tiles_mm2(self, counted: Counted, tiles: int) -> float:
        """What counts with so many tiles [mm^2]."""
        return self.fixed_mm2(counted) + tiles * self.per_tile_mm2(counted)


@dataclass(frozen=True)
class IsoArea:
    """The tile count at which a machine takes about the area of a baseline.

    Attributes
    ----------
    baseline, machine : ChipArea
        As they are; the machine's own tile count plays no role.
    counted : {"compute", "chip"}
    tolerance : float
        Share by which the machine may exceed the baseline.
    tiles : int
        The solution.
    """

    baseline: ChipArea
    machine: ChipArea
    counted: Counted
    tolerance: float
    tiles: int

    @property
    def budget_mm2(self) -> float:
        """What the baseline takes [mm^2]."""
        return self.baseline.with_tiles_mm2(self.counted, self.baseline.tiles)

    @property
    def quotient(self) -> float:
        """Tiles that would fill the budget exactly."""
        return (self.budget_mm2 - self.machine.fixed_mm2(self.counted)) / self.machine.per_tile_mm2(self.counted)

    def area_mm2(self, tiles: int) -> float:
        """What the machine takes with so many tiles [mm^2]."""
        return self.machine.with_tiles_mm2(self.counted, tiles)

    def excess(self, tiles: int) -> float:
        """Its area over the budget, less 1; negative where it takes less."""
        return self.area_mm2(tiles) / self.budget_mm2 - 1

    def allows(self, tiles: int) -> bool:
        """Whether so many tiles stay within the tolerance."""
        return self.excess(tiles) <= self.tolerance + ROUNDING


def compute_area(machine: Machine) -> ChipArea:
    """Area of a machine's tiles alone."""
    return ChipArea(machine.values.tiles, machine.tile_areas_um2, ())


def chip_area(machine: Machine, filed: Machine | None = None) -> ChipArea:
    """Area of a machine's tiles and of its memories.

    Parameters
    ----------
    machine : Machine
    filed : Machine, optional
        The same machine without overrides.  A published area is that of as many memories as the file has; with it the
        area follows where an override changes their number.  Needed only then.

    Returns
    -------
    ChipArea
        Memories at the published area where `memory_area_mm2` has it, else at CACTI's for the chosen `energy.cells`.
        Transposers count with the tiles where `tile_area_um2` has them.  A memory model that is switched to ``ideal``
        changes times, not areas.

    Raises
    ------
    MachineError
        No area is known for a memory, `memory_area_mm2` names one that does not exist, or `filed` is needed.

    Notes
    -----
    Areas of buffers follow the size of a bank (`simhw.machine.sram`); `simhw.machine.costs_of.stale_memories` tells
    what areas do not follow.
    """
    values = machine.values
    unknown = set(values.memory_area_mm2) - set(PUBLISHED_NAMES.values())
    if unknown:
        known = ", ".join(PUBLISHED_NAMES.values())
        raise MachineError(f"{machine.name}: memory_area_mm2 has no {', '.join(sorted(unknown))}; it may have {known}")
    numbers = sram_instances(machine)
    filed_numbers = None if filed is None else sram_instances(filed)
    memories = [
        _memory_area(machine, name, number, None if filed_numbers is None else filed_numbers[name])
        for name, number in numbers.items()
        if PUBLISHED_NAMES[name] not in values.tile_area_um2
    ]
    return replace(compute_area(machine), memories=tuple(memories))


def iso_area(
    baseline: ChipArea,
    machine: ChipArea,
    tolerance: float = 0.01,
    counted: Counted = "compute",
    names: tuple[str, str] = ("baseline", "machine"),
) -> IsoArea:
    """The tile count whose area comes closest to a baseline's without exceeding it by more than a tolerance.

    Parameters
    ----------
    baseline, machine : ChipArea
    tolerance : float
        Share of the baseline's area that counts.  1% lets FPRaker have its published 36 tiles, which take 0.37% more
        than the baseline; 0 would leave 35.
    counted : {"compute", "chip"}
        Tiles alone, as in the papers, or all memories of both with them.
    names : (str, str)
        Of baseline and machine, for errors.

    Raises
    ------
    MachineError
        A negative tolerance, tiles without area, or not even one tile fits.
    """
    if not tolerance >= 0:
        raise MachineError(f"tolerance {tolerance:g}: give a share of at least 0, such as 0.01 for 1%")
    for name, area in zip(names, (baseline, machine), strict=True):
        if area.tile_mm2 <= 0:
            raise MachineError(f"{name}: its tiles have no area; state tile_area_um2 in its file")
    any_count = IsoArea(baseline, machine, counted, tolerance, 1)
    if not isfinite(any_count.quotient):
        raise MachineError(f"{names[1]}: a tile of {machine.tile_mm2:g} mm^2 is too small to count how many fit")
    below = floor(any_count.quotient)
    # The area grows with the tiles, so the closest is a neighbour of the quotient, or one tile where that is below one.
    fitting = [tiles for tiles in (max(1, below), max(1, below + 1)) if any_count.allows(tiles)]
    if not fitting:
        budget = f"the {any_count.budget_mm2:,.4g} mm^2 of {names[0]}"
        raise MachineError(
            f"{names[1]}: one tile makes {any_count.area_mm2(1):,.4g} mm^2, over {tolerance:.3%} more than {budget}: "
            "no tile fits"
        )
    return IsoArea(baseline, machine, counted, tolerance, min(fitting, key=lambda tiles: abs(any_count.excess(tiles))))


def _memory_area(machine: Machine, name: str, number: int, filed_number: int | None) -> MemoryArea:
    """All memories of one kind; `filed_number` is how many of them the file has, None where nobody said."""
    values, published_name, factor = machine.values, PUBLISHED_NAMES[name], size_factor(machine, name, "area_mm2")
    if published_name in values.memory_area_mm2:
        if f"memory_area_mm2.{published_name}" in machine.overrides:
            # Whoever overrides the area means it for the machine with its other overrides.
            filed_number = number
        elif filed_number is None:
            changed = [key for key in machine.overrides if key.startswith(NUMBER_DEPENDS_ON[name])]
            if changed:
                keys = ", ".join(changed)
                raise MachineError(
                    f"{machine.label}: memory_area_mm2.{published_name} holds without {keys}; give the machine "
                    "without it too"
                )
            filed_number = number
        return MemoryArea(name, number, values.memory_area_mm2[published_name] / filed_number * factor, published=True)
    costs = values.sram.get(name, {}).get(values.energy.cells) if values.energy else None
    if costs is None:
        raise MachineError(
            f"{machine.name}: no area of {name}: state memory_area_mm2.{published_name}, or its sram costs for "
            "energy.cells"
        )
    return MemoryArea(name, number, costs.area_mm2 * factor, published=False)
