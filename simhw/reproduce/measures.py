"""What gives a published figure here: for each measure the machines that it needs of a reading, and the figure."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from simhw.reproduce import widths
from simhw.reproduce.bench import Bench
from simhw.reproduce.facts import Fact
from simhw.reproduce.networks import Captured
from simhw.reproduce.readings import Reading, Readings
from simhw.reproduce.simulations import Simulation
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
        return {each.name: self.bench.measured(each, self.machine(variant)) for each in self.captured(None)}

    def captured(self, name: str | None) -> list[Captured]:
        """The network of that name, if it has a trace; all of the paper's mean that have one where none is named."""
        return [each for each in self.bench.present if (each.network.counts if name is None else each.name == name)]

    def mean_speedup(self, variant: str = "plain") -> float | None:
        """The arithmetic mean over the networks; None where there are none."""
        found = [measured.total.speedup for measured in self.networks(variant).values()]
        return fmean(found) if found else None


def _on_variants(*variants: str) -> Callable[[View, Fact], list[Simulation]]:
    """Variants of the reading on the networks of a fact."""

    def wanted(view: View, fact: Fact) -> list[Simulation]:
        return [
            simulation
            for variant in variants
            for captured in view.captured(fact.network)
            for simulation in view.bench.of(captured, view.machine(variant))
        ]

    return wanted


@dataclass(frozen=True)
class Measure:
    """A measure: the simulations that it needs, and the figure; None where there is no trace for it."""

    wanted: Callable[[View, Fact], list[Simulation]]
    figure: Callable[[View, Fact], float | None]


def _mean_speedup(view: View, fact: Fact) -> float | None:  # noqa: ARG001  # measures are called alike
    return view.mean_speedup()


def _network_speedup(view: View, fact: Fact) -> float | None:
    for captured in view.captured(fact.network):
        return view.bench.measured(captured, view.machine("plain")).total.speedup
    return None


def _widths_wanted(view: View, fact: Fact) -> list[Simulation]:
    plain = _on_variants("plain")(view, fact)
    return plain + [
        each
        for captured in view.captured(fact.network)
        for each in widths.wanted(captured, view.readings, view.reading.overrides)
    ]


def _widths_over_fixed(view: View, fact: Fact) -> float | None:
    fixed = _network_speedup(view, fact)
    for captured in view.captured(fact.network):
        assert fixed is not None
        return widths.speedups(view.bench, captured, view.readings, view.reading.overrides)["total"] / fixed
    return None


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


def oob_slots(sums: Sums) -> float:
    """Share of all bit slots of the serial operand that were out of bounds."""
    skipped = sums.counters["skipped_oob"]
    return skipped / (sums.counters["processed"] + skipped + sums.counters["skipped_zero"])


def _oob_slots(view: View, fact: Fact) -> float | None:
    for captured in view.captured(fact.network):
        return oob_slots(view.bench.measured(captured, view.machine("plain")).total)
    return None


MEASURES: dict[str, Measure] = {
    "mean_speedup": Measure(_on_variants("plain"), _mean_speedup),
    "network_speedup": Measure(_on_variants("plain"), _network_speedup),
    "operations_above_1": Measure(_on_variants("plain"), _operations_above_1),
    "rows": Measure(_on_variants("few rows", "many rows"), _rows),
    "pragmatic": Measure(_on_variants("pragmatic"), _pragmatic),
    "oob_slots": Measure(_on_variants("plain"), _oob_slots),
    "widths_over_fixed": Measure(_widths_wanted, _widths_over_fixed),
}


def scoring(view: View) -> list[tuple[str, Fact, Measure]]:
    """The published facts that score readings, each with its measure."""
    return [(name, fact, MEASURES[fact.measure]) for name, fact in view.bench.facts.items() if fact.measure is not None]


def wanted_simulations(view: View) -> list[Simulation]:
    """All that a reading is scored by."""
    return [each for _, fact, measure in scoring(view) for each in measure.wanted(view, fact)]


def measured_facts(view: View) -> dict[str, float | None]:
    """Every published fact that scores readings, as measured for one; None where there is no trace for it."""
    return {name: measure.figure(view, fact) for name, fact, measure in scoring(view)}
