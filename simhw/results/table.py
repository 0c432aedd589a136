"""The rows of the tidy table: a result as columns, which carry units; ``_ci95`` is a half-width of a 95% confidence
interval.
"""

from math import nan
from typing import Any

from simhw.machine.energy import COMPONENTS
from simhw.memory.model import MemoryCost
from simhw.results.operation import OperationCost, OperationResult
from simhw.results.totals import Totals


def operation_row(item: OperationResult) -> dict[str, Any]:
    """An operation of a layer: what was run, its time and energy without and with memories, and its counters."""
    row = {
        "layer": item.layer,
        "kind": item.kind,
        "operation": item.operation,
        "operand": item.operand,
        "macs": item.macs,
        "fed_macs": item.fed_macs,
        "padding_macs": item.padding_macs,
        "passes": item.passes,
        "simulated": item.simulated,
        **_compute_columns(item),
        **_overall_columns(item),
        **_energy_columns(item.cost),
    }
    if item.cost.memory is not None:
        row |= _memory_columns(item.cost.memory)
    for name, estimate in item.counters.items():
        row[name] = estimate.value
        row[f"{name}_ci95"] = estimate.half_width
    return row


def _compute_columns(item: OperationResult) -> dict[str, Any]:
    """Memories aside."""
    base = item.baseline
    return {
        "cycles": item.cycles,
        "cycles_ci95": item.half_width,
        "tile_cycles": item.tile_cycles,
        "tile_cycles_ci95": item.cost.tile_cycles.half_width,
        "cycles_per_set": item.cycles_per_set,
        "baseline_cycles": item.baseline_cycles,
        "speedup": item.speedup,
        "speedup_ci95": item.speedup_half_width,
        "time_s": item.cost.time_s,
        "baseline_time_s": base.time_s if base else nan,
        "energy_j": item.cost.energy_j,
        "baseline_energy_j": base.energy_j if base else nan,
        "energy_efficiency": item.energy_efficiency,
        "busy": item.cost.busy,
        "baseline_busy": base.busy if base else nan,
        "occupancy": item.cost.occupancy,
    }


def _overall_columns(item: OperationResult) -> dict[str, Any]:
    """Time by cause, with memories."""
    cost, base = item.cost, item.baseline
    energy = cost.overall_energy_j
    return {
        "overall_cycles": cost.overall_cycles,
        "baseline_overall_cycles": base.overall_cycles if base else nan,
        "overall_speedup": item.overall_speedup,
        "overall_energy_efficiency": item.overall_energy_efficiency,
        "bound_by": cost.bound_by,
        **{f"{name}_cycles": cycles for name, cycles in cost.shares.items()},
        "overall_energy_j": energy.mid,
        "overall_energy_low_j": energy.low,
        "overall_energy_high_j": energy.high,
        "baseline_overall_energy_j": base.overall_energy_j.mid if base else nan,
    }


def _energy_columns(cost: OperationCost) -> dict[str, Any]:
    """Energy by component."""
    return {f"{name}_j": cost.energy[name].mid if cost.energy else nan for name in COMPONENTS}


def _memory_columns(memory: MemoryCost) -> dict[str, Any]:
    """Bytes and accesses of the memories."""
    return {
        "blocking": str(memory.blocking),
        "off_chip_bytes": memory.off_chip_bytes,
        **{f"{name}_bytes": number for name, number in memory.traffic_bytes.items()},
        **{f"buffer_{tensor}_reads": number for tensor, number in memory.buffer_reads.items()},
        **{f"buffer_{tensor}_writes": number for tensor, number in memory.buffer_writes.items()},
        "scratchpad_reads": memory.on_chip.scratchpad_reads,
        "scratchpad_writes": memory.on_chip.scratchpad_writes,
        "dram_activates": memory.dram.activates,
        "dram_row_hits": memory.dram.row_hits,
        "dram_row_misses": memory.dram.row_misses,
        "dram_turnarounds": memory.dram.turnarounds,
    }


def totals_row(totals: Totals) -> dict[str, Any]:
    """The totals of several operations."""
    return {
        "macs": totals.macs,
        "cycles": totals.cycles.value,
        "cycles_ci95": totals.cycles.half_width,
        "cycles_per_set": totals.cycles_per_set,
        "speedup": totals.speedup,
        "speedup_ci95": totals.speedup_half_width,
        "energy_efficiency": totals.energy_efficiency,
        "time_s": totals.time_s,
        "energy_j": totals.energy_j,
        "busy": totals.busy,
        "occupancy": totals.occupancy,
        "overall_cycles": totals.overall.cycles,
        "overall_speedup": totals.overall_speedup,
        "overall_energy_efficiency": totals.overall_energy_efficiency,
        "overall_energy_j": totals.overall.energy_j.mid,
        "bound_by": totals.overall.bound_by,
        "off_chip_bytes": totals.overall.off_chip_bytes,
    }
