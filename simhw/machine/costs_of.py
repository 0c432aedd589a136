"""Which geometry a machine's costs are of, and where they do not follow the machine's own.

`tile_costs_of` says for which PEs and tiles the file's area and power hold, `sram_costs_of` for which memories, as
overrides are written: ``tile.rows=8``.  Costs of tiles follow their make-up where it is known how
(`simhw.machine.tile_costs`), those of global buffers the size of a bank (`simhw.machine.sram`), other costs nothing.
"""

from functools import lru_cache
from typing import Any

from simhw.machine.costs import Range
from simhw.machine.machine import Machine
from simhw.machine.overrides import parse_overrides
from simhw.machine.sram import BITS, Quantity, cacti_cost, within_table
from simhw.machine.tile_costs import Cost, departing

SIZES = ("bank_bytes", "access_bytes", "operand_bytes", "partial_bytes")
"""Ends of the names of memories' sizes."""


def stale_tile(machine: Machine, cost: Cost) -> list[str]:
    """Values of a tile's make-up that its area or power does not follow; none where the user overrode that cost too."""
    if any(name.startswith(f"{cost}.") for name in machine.overrides):
        return []
    return list(machine.tile_costs.stale)


def stale_memories(machine: Machine) -> list[str]:
    """Sizes of memories that their energy, leakage and area do not follow."""
    return [name for name in _sizes_changed(machine) if not _scalable(machine, name)]


def scaled_memories(machine: Machine) -> list[str]:
    """Sizes of buffers' banks that their energy, leakage and area follow."""
    return [name for name in _sizes_changed(machine) if _scalable(machine, name)]


def memory_cost_cautions(machine: Machine) -> list[str]:
    """What is to be known of the costs of memories that have another size than the file's costs are of."""
    lines = []
    costs = f"Caution: energy, leakage and area of {machine.name}'s memories are those of the file"
    if scaled := scaled_memories(machine):
        buffers = {name: machine.value(name.rpartition(".")[0]) for name in scaled}
        beyond = [name for name, buffer in buffers.items() if not within_table(buffer.bank_bytes, buffer.access_bytes)]
        ends = f"; of {', '.join(beyond)} by extrapolation, beyond the sizes that CACTI was run for" if beyond else ""
        lines.append(f"{costs}, scaled by CACTI's ratios for {', '.join(scaled)}{ends}.")
    if stale := stale_memories(machine):
        lines.append(f"{costs}; they do not follow {', '.join(stale)}.")
    return lines


def sram_cost(machine: Machine, memory: str, quantity: Quantity) -> Range:
    """A cost of a memory, as `sram` names both, at the size that it has."""
    if (memory, quantity) not in machine.sram_costs:
        assert machine.values.energy is not None
        cost = machine.range(f"sram.{memory}.{machine.values.energy.cells}.{quantity}")
        machine.sram_costs[memory, quantity] = cost.times(size_factor(machine, memory, quantity))
    return machine.sram_costs[memory, quantity]


def size_factor(machine: Machine, memory: str, quantity: Quantity) -> float:
    """A cost of one memory over the file's: 1 unless a buffer's banks have another size than the costs are of.

    Parameters
    ----------
    machine : Machine
    memory : str
        As `sram` names it.
    quantity : str
        As `sram` names it; an area of `memory_area_mm2` is an ``area_mm2`` too.
    """
    name, energy = f"memory.buffers.{memory.removeprefix('buffer_')}", machine.values.energy
    if not memory.startswith("buffer_") or energy is None or not _scalable(machine, name):
        return 1.0
    now, then = _sizes(machine, name)
    overridden = {f"sram.{memory}.{energy.cells}.{quantity}", f"memory_area_mm2.{memory}"} & set(machine.overrides)
    if now == then or overridden:  # whoever overrides a cost means it for the machine as it is
        return 1.0
    return cacti_cost(quantity, energy.cells, *now) / cacti_cost(quantity, energy.cells, *then)


def _sizes(machine: Machine, buffer: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Bytes of a buffer's bank and of an access: the machine's, and those that its costs are of."""
    own, of = machine.value(buffer), _parsed(tuple(machine.values.sram_costs_of))
    now = own.bank_bytes, own.access_bytes
    return now, (of.get(f"{buffer}.bank_bytes", now[0]), of.get(f"{buffer}.access_bytes", now[1]))


def _scalable(machine: Machine, name: str) -> bool:
    """Whether the table knows how costs change with a size: of a buffer, whose costs' own size is stated, of accesses
    that it has.
    """
    buffer = ".".join(name.split(".")[:3])
    if not buffer.startswith("memory.buffers.") or f"{buffer}.bank_bytes" not in _parsed(
        tuple(machine.values.sram_costs_of)
    ):
        return False
    return all(8 * access in BITS for _, access in _sizes(machine, buffer))


def _sizes_changed(machine: Machine) -> list[str]:
    """Sizes of memories that are not those that costs are of; none where the user overrode such a cost too."""
    if machine.values.memory is None or any(
        name.startswith(("memory_area_mm2.", "sram.")) for name in machine.overrides
    ):
        return []
    names = departing(machine.values, machine.overrides, machine.values.sram_costs_of, "memory.")
    return [name for name in names if name.endswith(SIZES)]


@lru_cache(maxsize=64)
def _parsed(costs_of: tuple[str, ...]) -> dict[str, Any]:
    return parse_overrides(costs_of)
