"""Training steps beside each other on the same machines: what a compressed one gains over the uncompressed, and where.

The first trace is what the others are set against.  Machines and their baselines alike are hardware that a step runs
on: each is asked how much faster the other step is there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot
from typing import TYPE_CHECKING

from simhw.errors import SimhwError
from simhw.quantities import printable
from simhw.results.comparison import Comparison, labels
from simhw.results.matching import Pair, Part, paired
from simhw.results.operation import OperationCost, OperationResult, quotient
from simhw.results.shown import Shown
from simhw.results.step import Results
from simhw.results.totals import MachineTotals

if TYPE_CHECKING:
    import pandas as pd


def check_names(names: Sequence[str]) -> None:
    """Find out whether traces of these names can be told apart.

    Raises
    ------
    SimhwError
        There are fewer than two, or two of one name.
    """
    if len(names) < 2:
        raise SimhwError(f"traces {', '.join(names) or 'none'}: give at least two to set beside each other")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SimhwError(f"two traces are called {twice}; give each a name of its own: {twice}-2=PATH")


@dataclass(frozen=True)
class StepCost:
    """A training step on one piece of hardware.

    Attributes
    ----------
    trace, hardware : str
        What they are called.
    macs : int
        Products of the step.
    totals : MachineTotals
    costs : list of (OperationResult, OperationCost)
        Each operation, and what it takes there.
    """

    trace: str
    hardware: str
    macs: int
    totals: MachineTotals
    costs: list[tuple[OperationResult, OperationCost]]


@dataclass(frozen=True)
class Gain:
    """What a step gains over the first one on the same hardware.

    Attributes
    ----------
    first, other : StepCost
    """

    first: StepCost
    other: StepCost

    @property
    def with_memories(self) -> bool:
        """Whether the hardware's memories are modelled."""
        return any(cost.memory is not None for step in (self.first, self.other) for _, cost in step.costs)

    @property
    def times_as_fast(self) -> float:
        """Time of the first step over that of the other, with memories."""
        return quotient(self.first.totals.overall.time_s, self.other.totals.overall.time_s)

    @property
    def times_as_fast_half_width(self) -> float:
        """Bounds the half-width of its 95% confidence interval."""
        return self.times_as_fast * hypot(*(step.totals.overall_half_width for step in (self.first, self.other)))

    @property
    def times_less_energy(self) -> float:
        """Energy of the first step over that of the other, with memories."""
        return quotient(self.first.totals.overall.energy_j.mid, self.other.totals.overall.energy_j.mid)

    @property
    def times_less_energy_half_width(self) -> float:
        """Bounds the half-width of its 95% confidence interval."""
        errors = (
            quotient(step.totals.overall_energy_half_width_j, step.totals.overall.energy_j.mid)
            for step in (self.first, self.other)
        )
        return self.times_less_energy * hypot(*errors)

    @property
    def tiles_times_as_fast(self) -> float:
        """The first of these ratios for the tiles alone."""
        return quotient(self.first.totals.time_s, self.other.totals.time_s)

    def pairs(self) -> list[Pair]:
        """Each layer's operation in both steps, in the order of the first."""
        return list(paired(self.first.costs, self.other.costs))

    def parts(self) -> list[Part]:
        """The difference by layer and operation, in the order of the first trace."""
        return [pair.saved for pair in self.pairs()]


@dataclass(frozen=True, eq=False, repr=False)
class TraceComparison(Shown):
    """Several traces on the same machines; printed, or at the end of a notebook's cell, it shows what `simhw compare`
    prints first.

    Attributes
    ----------
    comparisons : dict of str to Comparison
        By what the trace is called, in the order given; all of the same machines.
    """

    comparisons: Mapping[str, Comparison]

    @property
    def results(self) -> list[Results]:
        """Every trace on every machine."""
        return [each for comparison in self.comparisons.values() for each in comparison.results]

    @cached_property
    def gains(self) -> list[Gain]:
        """Each other trace beside the first, on each machine and then on each baseline."""
        first, *others = self.comparisons
        steps = {(step.trace, step.hardware): step for step in self.steps}
        hardware = dict.fromkeys(step.hardware for step in self.steps)
        return [Gain(steps[first, each], steps[other, each]) for each in hardware for other in others]

    @cached_property
    def steps(self) -> list[StepCost]:
        """Each trace on each machine and then on each baseline that is no machine."""
        return [*self._on_machines(), *self._on_baselines()]

    @property
    def steps_by_hardware(self) -> dict[str, list[StepCost]]:
        """Every trace, on each machine and then on each baseline."""
        hardware = dict.fromkeys(step.hardware for step in self.steps)
        return {name: [step for step in self.steps if step.hardware == name] for name in hardware}

    @property
    def names(self) -> list[str]:
        """What the trace of each of `results` is called."""
        return [name for name, comparison in self.comparisons.items() for _ in comparison.results]

    @property
    def machines(self) -> list[str]:
        """What the machines are called."""
        first = next(iter(self.comparisons.values()))
        return labels(first.results)

    def _on_machines(self) -> Iterator[StepCost]:
        for trace, comparison in self.comparisons.items():
            for label, result in zip(labels(comparison.results), comparison.results, strict=True):
                costs = [(item, item.cost) for item in result.operations]
                yield StepCost(trace, label, result.total.macs, result.total.machine, costs)

    def _on_baselines(self) -> Iterator[StepCost]:
        machines = {result.machine.content_hash for result in self.results}
        for trace, comparison in self.comparisons.items():
            baselines = {
                result.baseline.content_hash: (result.baseline.label, result)
                for result in comparison.results
                if result.baseline is not None and result.baseline.content_hash not in machines
            }
            for label, result in baselines.values():
                costs = [(item, item.baseline) for item in result.operations if item.baseline is not None]
                if result.total.baseline is not None:
                    yield StepCost(trace, label, result.total.macs, result.total.baseline, costs)

    @property
    def summary(self) -> "pd.DataFrame":
        """A row per trace and piece of hardware: products, time, energy, bytes, and the gain over the first trace."""
        import pandas as pd

        gains = {(gain.other.trace, gain.other.hardware): gain for gain in self.gains}
        return pd.DataFrame([_row(step, gains.get((step.trace, step.hardware))) for step in self.steps])

    @property
    def differences(self) -> "pd.DataFrame":
        """A row per other trace, piece of hardware, layer and operation: how much less it takes than in the first."""
        import pandas as pd

        rows = [
            {"hardware": gain.other.hardware, "trace_name": gain.other.trace, **vars(part)}
            for gain in self.gains
            for part in gain.parts()
        ]
        return pd.DataFrame(rows).rename(columns={name: f"saved_{name}" for name in SAVED})

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """The rows of all results, told apart by ``trace_name`` and ``machine``."""
        import pandas as pd

        frames = []
        for name, comparison in self.comparisons.items():
            frame = comparison.frame.copy()
            frame.insert(0, "trace_name", name)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def __repr__(self) -> str:
        return printable(
            f"<TraceComparison of {', '.join(self.comparisons)} on {', '.join(self.machines)}; print it to see more>"
        )


def traces_of(names: Sequence[str], results: Sequence[Results]) -> TraceComparison | None:
    """Results beside each other by what the trace of each is called; None where they are not several traces, all on
    the same machines.

    Parameters
    ----------
    names : sequence of str
        One per result.
    results : sequence of Results
    """
    steps: dict[str, list[Results]] = {}
    for name, each in zip(names, results, strict=True):
        steps.setdefault(name, []).append(each)
    for step in steps.values():
        if len({each.provenance["trace_hash"] for each in step}) > 1:
            return None
    first, *others = ([_hardware(each) for each in step] for step in steps.values())
    if not others or len(set(first)) < len(first) or any(other != first for other in others):
        return None
    return TraceComparison({name: Comparison(step) for name, step in steps.items()})


def _hardware(results: Results) -> tuple[str, str, str]:
    baseline = results.baseline.content_hash if results.baseline else ""
    return results.machine.label, results.machine.content_hash, baseline


SAVED = ("macs", "time_s", "energy_j", "off_chip_bytes")


def _row(step: StepCost, gain: Gain | None) -> dict[str, object]:
    overall = step.totals.overall
    return {
        "trace_name": step.trace,
        "hardware": step.hardware,
        "macs": step.macs,
        "time_s": step.totals.time_s,
        "overall_time_s": overall.time_s,
        "overall_energy_j": overall.energy_j.mid,
        "off_chip_bytes": overall.off_chip_bytes,
        "bound_by": overall.bound_by,
        "times_as_fast": gain.times_as_fast if gain else 1.0,
        "times_as_fast_ci95": gain.times_as_fast_half_width if gain else 0.0,
        "times_less_energy": gain.times_less_energy if gain else 1.0,
        "times_less_energy_ci95": gain.times_less_energy_half_width if gain else 0.0,
        "tiles_times_as_fast": gain.tiles_times_as_fast if gain else 1.0,
    }
