"""Results: a trace on machines, as objects and as one tidy table."""

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from simhw.cautions import compute_cautions, memory_cautions
from simhw.energy import COMPONENTS
from simhw.files.writing import write_frame
from simhw.results.operation import OperationResult
from simhw.results.totals import Summary, summarise
from simhw.trace.layer import OPERATIONS

if TYPE_CHECKING:
    import pandas as pd

    from simhw.machine import Machine


@dataclass(frozen=True, eq=False)
class Results:
    """A trace on a machine.

    Attributes
    ----------
    operations : list of OperationResult
        In the order of the trace's layers; forward, input_grad, weight_grad.
    provenance : dict of str to value
        Trace, machine, their hashes, sampling, seed and versions; every row of `frame` carries them.
    machine : Machine
    baseline : Machine or None
    doubts : tuple of str
        Where the step was grown: layers of which shapes alone do not tell how they grow, and what was taken.
    """

    operations: list[OperationResult]
    provenance: dict[str, Any]
    machine: "Machine"
    baseline: "Machine | None"
    doubts: tuple[str, ...] = ()

    @cached_property
    def total(self) -> Summary:
        """All operations together."""
        return summarise(self.operations)

    def by_operation(self) -> dict[str, Summary]:
        """The totals of each operation that ran."""
        return self._by_operation

    @cached_property
    def _by_operation(self) -> dict[str, Summary]:
        groups = {name: [item for item in self.operations if item.operation == name] for name in OPERATIONS}
        return {name: summarise(items) for name, items in groups.items() if items}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the lane-cycle classes."""
        return self.operations[0].classes if self.operations else ()

    @property
    def cautions(self) -> list[str]:
        """What a reader must know before quoting the figures, a sentence each; what `simhw run` prints."""
        return [*self.compute_cautions, *self.memory_cautions]

    @property
    def compute_cautions(self) -> list[str]:
        """Those of the figures without memories."""
        return compute_cautions(self.machine, self.baseline, self.doubts, self.provenance["grown_to"])

    @property
    def memory_cautions(self) -> list[str]:
        """Those of the figures with memories."""
        batch = self.provenance["grown_to"] or self.provenance["batch"]
        return memory_cautions(self.machine, self.baseline, self.operations, batch)

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """A row per layer and operation; columns carry units, ``_ci95`` is a half-width of a 95% confidence
        interval.
        """
        import pandas as pd

        return pd.DataFrame([self._row(item) for item in self.operations])

    def _row(self, item: OperationResult) -> dict[str, Any]:
        base = item.baseline
        nan = float("nan")
        row: dict[str, Any] = {
            "machine": self.provenance["machine"],
            "layer": item.layer,
            "kind": item.kind,
            "operation": item.operation,
            "operand": item.operand,
            "macs": item.macs,
            "fed_macs": item.fed_macs,
            "padding_macs": item.padding_macs,
            "passes": item.passes,
            "simulated": item.simulated,
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
        row |= self._overall_row(item)
        for name, estimate in item.counters.items():
            row[name] = estimate.value
            row[f"{name}_ci95"] = estimate.half_width
        return row | {name: value for name, value in self.provenance.items() if name != "machine"}

    @staticmethod
    def _overall_row(item: OperationResult) -> dict[str, Any]:
        """What memories make of an operation: time by cause, bytes, accesses and energies."""
        cost, base, nan = item.cost, item.baseline, float("nan")
        energy = cost.overall_energy_j
        row: dict[str, Any] = {
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
            **{f"{name}_j": cost.energy[name].mid if cost.energy else nan for name in COMPONENTS},
        }
        memory = cost.memory
        if memory is not None:
            row |= {"blocking": str(memory.blocking), "off_chip_bytes": memory.off_chip_bytes}
            row |= {f"{name}_bytes": number for name, number in memory.traffic_bytes.items()}
            row |= {f"buffer_{tensor}_reads": number for tensor, number in memory.buffer_reads.items()}
            row |= {f"buffer_{tensor}_writes": number for tensor, number in memory.buffer_writes.items()}
            row |= {
                "scratchpad_reads": memory.on_chip.scratchpad_reads,
                "scratchpad_writes": memory.on_chip.scratchpad_writes,
            }
            row |= {
                f"dram_{name}": getattr(memory.dram, name)
                for name in ("activates", "row_hits", "row_misses", "turnarounds")
            }
        return row

    def write(self, path: str | PathLike[str]) -> None:
        """Write `frame` as .csv, .json or .parquet; see `simhw.files.writing.write_frame`."""
        write_frame(self.frame, path)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A trace on several machines."""

    results: list[Results]

    @property
    def cautions(self) -> list[str]:
        """Those of all results, each once."""
        return list(dict.fromkeys(line for result in self.results for line in result.cautions))

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """The rows of all results, told apart by the column ``machine``."""
        import pandas as pd

        return pd.concat([result.frame for result in self.results], ignore_index=True)

    @property
    def summary(self) -> "pd.DataFrame":
        """A row per machine and operation, and one for the total."""
        import pandas as pd

        rows = []
        for result in self.results:
            for name, total in {**result.by_operation(), "total": result.total}.items():
                rows.append(
                    {
                        "machine": result.provenance["machine"],
                        "operation": name,
                        "macs": total.macs,
                        "cycles": total.cycles.value,
                        "cycles_ci95": total.cycles.half_width,
                        "cycles_per_set": total.cycles_per_set,
                        "speedup": total.speedup,
                        "speedup_ci95": total.speedup_half_width,
                        "energy_efficiency": total.energy_efficiency,
                        "time_s": total.time_s,
                        "energy_j": total.energy_j,
                        "busy": total.busy,
                        "occupancy": total.occupancy,
                        "overall_cycles": total.overall.cycles,
                        "overall_speedup": total.overall_speedup,
                        "overall_energy_efficiency": total.overall_energy_efficiency,
                        "overall_energy_j": total.overall.energy_j.mid,
                        "bound_by": total.overall.bound_by,
                        "off_chip_bytes": total.overall.off_chip_bytes,
                    }
                )
        return pd.DataFrame(rows)

    def write(self, path: str | PathLike[str]) -> None:
        """Write `frame` as .csv, .json or .parquet; see `simhw.files.writing.write_frame`."""
        write_frame(self.frame, path)
