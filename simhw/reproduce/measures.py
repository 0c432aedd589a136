"""What gives a published figure here: for each measure the machines that it needs of a reading, and the figure."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from simhw.reproduce.bench import Bench
from simhw.reproduce.facts import Fact
from simhw.reproduce.readings import Reading, Readings
from simhw.reproduce.sums import Measured, Sums

FEW_ROWS, MANY_ROWS = 2, 16
"""Rows of a tile between which the published loss of speed lies."""


@dataclass(frozen=True)
class View:
    """A reading and the networks that it is measured on."""

    bench: Bench
    readings: Readings
    reading: Reading

    def machine(self, variant: str) -> str:
        """The reading's machine, or one that stands beside it."""
        overrides: dict[str, Any] = self.reading.overrides
        match variant:
            case "few rows":
                return self.readings.with_rows(overrides, FEW_ROWS)
            case "many rows":
                return self.readings.with_rows(overrides, MANY_ROWS)
            case "pragmatic":
                return self.readings.as_pragmatic(overrides)
        return self.readings.named(overrides)

    def networks(self, variant: str = "plain") -> dict[str, Measured]:
        """Every network of the paper's mean that has a trace."""
        return {
            each.name: self.bench.measured(each, self.machine(variant))
            for each in self.bench.present
            if each.network.counts
        }

    def network(self, name: str) -> Measured | None:
        """One network; None where it has no trace."""
        for each in self.bench.present:
            if each.name == name:
                return self.bench.measured(each, self.machine("plain"))
        return None

    def mean_speedup(self, variant: str = "plain") -> float | None:
        """The arithmetic mean over the networks; None where there are none."""
        found = [measured.total.speedup for measured in self.networks(variant).values()]
        return fmean(found) if found else None


@dataclass(frozen=True)
class Measure:
    """A measure: the variants of the reading's machine that it needs, and the figure; None without a trace for it."""

    variants: tuple[str, ...]
    figure: Callable[[View, Fact], float | None]


def _mean_speedup(view: View, fact: Fact) -> float | None:  # noqa: ARG001  # measures are called alike
    return view.mean_speedup()


def _network_speedup(view: View, fact: Fact) -> float | None:
    assert fact.network is not None
    found = view.network(fact.network)
    return found.total.speedup if found else None


def _operations_above_1(view: View, fact: Fact) -> float | None:  # noqa: ARG001
    found = [each.speedup > 1 for measured in view.networks().values() for each in measured.operations.values()]
    return fmean(found) if found else None


def _rows(view: View, fact: Fact) -> float | None:  # noqa: ARG001
    few, many = view.mean_speedup("few rows"), view.mean_speedup("many rows")
    return many / few - 1 if few and many else None


def _pragmatic(view: View, fact: Fact) -> float | None:  # noqa: ARG001
    return view.mean_speedup("pragmatic")


def oob_share(sums: Sums) -> float:
    """Share of the terms of non-zero values that were out of bounds."""
    skipped = sums.counters["skipped_oob"]
    return skipped / (sums.counters["processed"] + skipped)


def _oob_share(view: View, fact: Fact) -> float | None:  # noqa: ARG001
    found = [oob_share(measured.total) for measured in view.networks().values()]
    return fmean(found) if found else None


MEASURES: dict[str, Measure] = {
    "mean_speedup": Measure(("plain",), _mean_speedup),
    "network_speedup": Measure(("plain",), _network_speedup),
    "operations_above_1": Measure(("plain",), _operations_above_1),
    "rows": Measure(("few rows", "many rows"), _rows),
    "pragmatic": Measure(("pragmatic",), _pragmatic),
    "oob_share": Measure(("plain",), _oob_share),
}


def measured_facts(view: View) -> dict[str, float | None]:
    """Every published fact that scores readings, as measured for one; None where there is no trace for it."""
    facts = {name: fact for name, fact in view.bench.facts.items() if fact.measure is not None}
    return {name: MEASURES[str(fact.measure)].figure(view, fact) for name, fact in facts.items()}
