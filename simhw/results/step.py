"""A training step on a machine: the results of its operations, their totals, and one tidy table."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simhw.quantities import printable, ratio
from simhw.results.cautions import Caution, compute_cautions, memory_cautions
from simhw.results.operation import OperationResult
from simhw.results.shown import Shown
from simhw.results.table import operation_row, totals_row
from simhw.results.totals import Totals
from simhw.results.values import LayerValues
from simhw.trace.layer import OPERATIONS

if TYPE_CHECKING:
    import pandas as pd

    from simhw.machine.machine import Machine


@dataclass(frozen=True, eq=False, repr=False)
class Results(Shown):
    """A trace on a machine; printed, or at the end of a notebook's cell, it shows what `simhw run` prints first.

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
    values : tuple of LayerValues
        Zeros and terms of the trace's tensors, in its order; a grown step repeats them.
    """

    operations: list[OperationResult]
    provenance: dict[str, Any]
    machine: "Machine"
    baseline: "Machine | None"
    doubts: tuple[str, ...] = ()
    values: tuple[LayerValues, ...] = ()

    @cached_property
    def total(self) -> Totals:
        """All operations together."""
        return Totals.of(self.operations)

    def by_operation(self) -> dict[str, Totals]:
        """The totals of each operation that ran."""
        return self._by_operation

    @cached_property
    def _by_operation(self) -> dict[str, Totals]:
        groups = {name: [item for item in self.operations if item.operation == name] for name in OPERATIONS}
        return {name: Totals.of(items) for name, items in groups.items() if items}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the lane-cycle classes."""
        return self.operations[0].classes if self.operations else ()

    @property
    def cautions(self) -> list[Caution]:
        """What a reader must know before quoting the figures, a sentence each; what `simhw run` prints."""
        return [*self.compute_cautions, *self.memory_cautions]

    @property
    def compute_cautions(self) -> list[Caution]:
        """Those of the figures without memories."""
        return compute_cautions(self.machine, self.baseline, self.doubts, self.provenance["grown_to"])

    @property
    def memory_cautions(self) -> list[Caution]:
        """Those of the figures with memories."""
        batch = self.provenance["grown_to"] or self.provenance["batch"]
        return memory_cautions(self.machine, self.baseline, self.operations, batch)

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """A row per layer and operation; columns carry units, ``_ci95`` is a half-width of a 95% confidence
        interval.
        """
        import pandas as pd

        machine = {"machine": self.provenance["machine"]}
        rest = {name: value for name, value in self.provenance.items() if name != "machine"}
        return pd.DataFrame([machine | operation_row(item) | rest for item in self.operations])

    @property
    def summary(self) -> "pd.DataFrame":
        """A row per operation, and one for the total."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"operation": name, **totals_row(totals)}
                for name, totals in {**self.by_operation(), "total": self.total}.items()
            ]
        )

    def __repr__(self) -> str:
        return printable(
            f"<Results: {self.provenance['machine']} on {Path(self.provenance['trace']).name or 'a trace in memory'}, "
            f"speed-up {ratio(self.total.speedup, self.total.speedup_half_width)}, with memories "
            f"{ratio(self.total.overall_speedup)}; print it to see more>"
        )
