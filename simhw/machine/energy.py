"""Energy: events times costs, every cost from the machine file with its uncertainty.

Core is the tiles; on-chip the scratchpads, global buffers and transposers with their leakage; off-chip the DRAM: rows
activated, bytes read and written, refreshes, and what it draws while it waits.  Low and high take every uncertain cost
at its low or its high end together, so they bound the result rather than tell its spread.  Source: spec page energy.md.
"""

from collections.abc import Mapping

from simhw.machine.costs import Range
from simhw.machine.costs_of import sram_cost
from simhw.machine.machine import Machine
from simhw.memory.model import DramUse, MemoryCost, sram_instances
from simhw.trace.layer import TENSORS

GROUPS: dict[str, tuple[str, ...]] = {
    "core": ("compute",),
    "on_chip": ("scratchpads", "buffers", "transposers", "leakage"),
    "off_chip": ("dram_activate", "dram_read", "dram_write", "dram_refresh", "dram_background"),
}
"""The components of each part of the machine."""
STEADY = ("leakage", "dram_refresh", "dram_background")
"""Components that grow with the time alone, whatever is done in it."""
COMPONENTS = tuple(component for components in GROUPS.values() for component in components)


def energy_of(machine: Machine, compute_s: float, power_share: Range, memory: MemoryCost | None) -> dict[str, Range]:
    """Energy of an operation by component [J].

    Parameters
    ----------
    machine : Machine
    compute_s : float
        Time that the tiles take, memories aside.
    power_share : Range
        Of the tiles' power, what they draw in that time: less than 1 where parts are gated or idle lanes save.
    memory : MemoryCost or None
        None for ideal memories, which cost nothing.

    Returns
    -------
    dict of component to Range
        With every name of `COMPONENTS`.
    """
    energies = dict.fromkeys(COMPONENTS, Range(0.0, 0.0, 0.0))
    tiles_w = machine.tile_power.times(machine.values.tiles * 1e-3)
    drawn_s = power_share.times(compute_s)
    energies["compute"] = Range(tiles_w.low * drawn_s.low, tiles_w.mid * drawn_s.mid, tiles_w.high * drawn_s.high)
    if memory is None or machine.values.energy is None:
        return energies
    elapsed_s = memory.cycles / machine.values.clock_hz
    stall = machine.range("energy.stall_power")
    waiting = tiles_w.times(max(0.0, elapsed_s - compute_s))
    energies["compute"] += Range(waiting.low * stall.low, waiting.mid * stall.mid, waiting.high * stall.high)

    def sram(name: str, reads: float, writes: float) -> Range:
        read, write = (sram_cost(machine, name, quantity) for quantity in ("read_pj", "write_pj"))
        return read.times(reads * 1e-12) + write.times(writes * 1e-12)

    chip = memory.on_chip
    energies["scratchpads"] = sram("scratchpad", chip.scratchpad_reads, chip.scratchpad_writes)
    energies["buffers"] = Range.total(
        sram(f"buffer_{tensor}", memory.buffer_reads[tensor], memory.buffer_writes[tensor]) for tensor in TENSORS
    )
    energies["transposers"] = sram("transposer", chip.transposed, chip.transposed)
    memories = sram_instances(machine)
    energies["leakage"] = Range.total(
        sram_cost(machine, name, "leakage_mw").times(number * 1e-3 * elapsed_s) for name, number in memories.items()
    )
    return energies | _dram(machine, memory.dram, elapsed_s)


def _dram(machine: Machine, use: DramUse, elapsed_s: float) -> dict[str, Range]:
    """Energy of the DRAM's events [J]."""
    assert machine.values.energy is not None
    assert machine.values.memory is not None
    dram = machine.values.memory.dram

    def cost(name: str) -> Range:
        return machine.range(f"energy.dram.{name}").times(1e-12)

    if machine.values.energy.dram.model == "flat":
        return {
            "dram_read": cost("flat_pj_per_bit").times(8 * use.read_bytes),
            "dram_write": cost("flat_pj_per_bit").times(8 * use.write_bytes),
        }
    refreshes = elapsed_s * 1e9 / dram.t_refi * dram.channels
    return {
        "dram_activate": cost("activate_pj").times(use.activates),
        "dram_read": (cost("read_core_pj_per_byte") + cost("read_io_pj_per_byte")).times(use.read_bytes),
        "dram_write": (cost("write_core_pj_per_byte") + cost("write_io_pj_per_byte")).times(use.write_bytes),
        "dram_refresh": cost("refresh_pj").times(refreshes),
        "dram_background": machine.range("energy.dram.background_mw").times(dram.channels * 1e-3 * elapsed_s),
    }


def by_group(energies: Mapping[str, Range]) -> dict[str, Range]:
    """Core, on-chip and off-chip sums."""
    return {group: Range.total(energies[component] for component in components) for group, components in GROUPS.items()}
