"""How well a reading agrees with what was published, and what its departures from the recalled rules cost.

A fact is recalled rightly with its confidence c.  Then a deviation of z spreads is as likely as a normal distribution
says; else the fact tells nothing.  So it gives ``ln(c exp(-z^2 / 2) + 1 - c)`` points: 0 where the figure is met, and
never less than ``ln(1 - c)``, so that no fact that may be recalled wrongly decides alone.  A departure from a rule of
confidence c is charged the logarithm of the odds for the rule, ``ln(c / (1 - c))``.  The score is the points less the
charges: at most 0, and differences between readings are logarithms of odds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp, log

from simhw.reproduce.facts import Fact
from simhw.reproduce.readings import Departure


def points(fact: Fact, measured: float) -> float:
    """What a measured figure gives for a fact: 0 where it is met, at least ``ln(1 - confidence)``."""
    assert fact.spread is not None
    if measured <= 0 and fact.scale == "ratio":
        return log(1 - fact.confidence)
    z = fact.deviation(measured) / fact.spread
    return log(fact.confidence * exp(-(z**2) / 2) + 1 - fact.confidence)


@dataclass(frozen=True)
class Score:
    """A reading's score and its parts.

    Attributes
    ----------
    points : dict of fact to float
        At most 0 each; facts that could not be measured have none.
    charges : dict of rule to float
        At least 0 each.
    """

    points: dict[str, float]
    charges: dict[str, float]

    @property
    def total(self) -> float:
        """Points less charges; higher is better, 0 the best."""
        return sum(self.points.values()) - sum(self.charges.values())

    def without(self, name: str) -> float:
        """The total if a fact or a rule had never been recalled."""
        return self.total - self.points.get(name, 0.0) + self.charges.get(name, 0.0)


def score(facts: Mapping[str, Fact], measured: Mapping[str, float | None], departures: Iterable[Departure]) -> Score:
    """Score a reading.

    Parameters
    ----------
    facts : mapping of name to Fact
    measured : mapping of name to float or None
        None where there is no trace to measure it on.
    departures : iterable of Departure
    """
    found = {name: points(facts[name], value) for name, value in measured.items() if value is not None}
    return Score(found, {departure.name: departure.charge for departure in departures})
