"""Why a machine takes as long as it does: its time on the steps from an ideal down to what is measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from simhw.machine.overrides import label
from simhw.quantities import printable
from simhw.results.operation import quotient
from simhw.results.shown import Shown
from simhw.results.step import Results
from simhw.trace.layer import OPERATIONS

if TYPE_CHECKING:
    import pandas as pd

TOTAL = "total"
"""All operations together."""


@dataclass(frozen=True)
class LimitStep:
    """A limit of a machine, and the variant in which it is the last one that is switched on.

    Attributes
    ----------
    limit : str
        On the first step what is left where all limits are off.
    meaning : str
        What it does.
    overrides : mapping of dotted name to value
        What makes the variant of the machine.
    memories : bool
        True where memories take part.
    """

    limit: str
    meaning: str
    overrides: Mapping[str, Any]
    memories: bool = False


@dataclass(frozen=True, eq=False)
class Attribution:
    """A trace on a machine, limit by limit.

    Attributes
    ----------
    results : Results
        What is measured, beside the machine's baseline.
    steps : list of LimitStep
        The ideal first, what is measured last.
    cycles : (operations, steps) float64
        What each operation of `results` takes on each step, on all tiles [cycles].
    """

    results: Results
    steps: list[LimitStep]
    cycles: npt.NDArray[np.float64]

    @property
    def scopes(self) -> list[str]:
        """The operations that ran, and all of them together."""
        return [*self.results.by_operation(), TOTAL]

    @cached_property
    def times_s(self) -> dict[str, npt.NDArray[np.float64]]:
        """Time of each step, (steps,) float64, by operation and in total [s]."""
        seconds = self.cycles / self.results.machine.values.clock_hz
        of = np.array([item.operation for item in self.results.operations])
        return {name: seconds[of == name].sum(axis=0) for name in OPERATIONS if (of == name).any()} | {
            TOTAL: seconds.sum(axis=0)
        }

    def factors(self, scope: str = TOTAL) -> list[float]:
        """Time of each step over that of the step before it: what a limit costs.  NaN for the first.

        Their product, times the ideal time, is the measured time.
        """
        times = self.times_s[scope].tolist()
        return [nan, *(quotient(now, before) for before, now in pairwise(times))]

    def shares(self, scope: str = TOTAL) -> list[float]:
        """What each step adds, as a share of the measured time; they add up to 1."""
        times = self.times_s[scope]
        return [quotient(added, float(times[-1])) for added in np.diff(times, prepend=0.0).tolist()]

    def speedups(self, scope: str = TOTAL) -> list[float]:
        """How many times as fast as the baseline each step is: its tiles, or with its memories where a step has them.

        NaN without a baseline.
        """
        totals = {**self.results.by_operation(), TOTAL: self.results.total}[scope]
        overall = totals.baseline_overall
        beside = {False: totals.baseline_time_s, True: overall.time_s if overall else nan}
        times = self.times_s[scope].tolist()
        return [quotient(beside[step.memories], time) for step, time in zip(self.steps, times, strict=True)]

    def reproduced_by(self, step: LimitStep) -> str:
        """The variant of a step, as `--pe` takes it."""
        machine = self.results.machine
        return label(machine.name, {**machine.overrides, **step.overrides})


@dataclass(frozen=True, eq=False)
class Explanation(Shown):
    """A trace on several machines, limit by limit."""

    attributions: list[Attribution]

    @property
    def limits(self) -> list[str]:
        """The limits of all machines, each once; what a later machine alone has stands before the next shared one."""
        found: list[str] = []
        for each in self.attributions:
            own: list[str] = []
            for step in each.steps:
                if step.limit in found:
                    place = found.index(step.limit)
                    found[place:place] = own
                    own = []
                else:
                    own.append(step.limit)
            found += own
        return found

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """A row per machine, layer, operation and limit, with its cycles and time."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "machine": each.results.machine.label,
                    "machine_hash": each.results.machine.content_hash,
                    "trace": each.results.provenance["trace"],
                    "layer": item.layer,
                    "operation": item.operation,
                    "step": number,
                    "limit": step.limit,
                    "cycles": cycles,
                    "time_s": cycles / each.results.machine.values.clock_hz,
                    "variant": each.reproduced_by(step),
                }
                for each in self.attributions
                for item, row in zip(each.results.operations, each.cycles.tolist(), strict=True)
                for number, (step, cycles) in enumerate(zip(each.steps, row, strict=True))
            ]
        )

    @cached_property
    def summary(self) -> "pd.DataFrame":
        """A row per machine, operation (and the total) and limit: its time, factor, share and speed-up."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "machine": each.results.machine.label,
                    "operation": scope,
                    "step": number,
                    "limit": step.limit,
                    "time_s": time,
                    "factor": factor,
                    "added_share": share,
                    "speedup": speedup,
                }
                for each in self.attributions
                for scope in each.scopes
                for number, (step, time, factor, share, speedup) in enumerate(
                    zip(
                        each.steps,
                        each.times_s[scope].tolist(),
                        each.factors(scope),
                        each.shares(scope),
                        each.speedups(scope),
                        strict=True,
                    )
                )
            ]
        )

    def __repr__(self) -> str:
        machines = ", ".join(each.results.provenance["machine"] for each in self.attributions)
        trace = Path(self.attributions[0].results.provenance["trace"]).name or "a trace in memory"
        return printable(f"<Explanation of {machines} on {trace}; see its summary and plot()>")
