"""The score of a reading: points of facts, charges of departures."""

from math import exp, isclose, log

import pytest

from simhw.reproduce.facts import Fact
from simhw.reproduce.readings import Departure
from simhw.reproduce.score import points, score


def fact(low: float, high: float | None = None, confidence: float = 0.9, **changed: object) -> Fact:
    stated = {"says": "x", "source": "s", "measure": "mean_speedup", "spread": 0.1, "confidence": confidence}
    return Fact.model_validate({**stated, "low": low, "high": low if high is None else high, **changed})


def test_a_fact_that_is_met_gives_no_points_and_a_range_is_met_everywhere_within() -> None:
    assert points(fact(1.5), 1.5) == pytest.approx(0, abs=1e-12)
    for measured in (0.05, 0.07, 0.1):
        assert points(fact(0.05, 0.1), measured) == pytest.approx(0, abs=1e-12)
    assert points(fact(0.05, 0.1), 0.11) < -0.1


def test_a_deviation_of_one_spread_gives_what_the_formula_says() -> None:
    assert isclose(points(fact(1.5), 1.5 * exp(0.1)), log(0.9 * exp(-0.5) + 0.1))
    assert isclose(points(fact(-0.06, scale="difference", spread=0.03), -0.09), log(0.9 * exp(-0.5) + 0.1))


def test_ratios_deviate_alike_in_both_directions() -> None:
    assert isclose(points(fact(1.5), 1.5 * 1.2), points(fact(1.5), 1.5 / 1.2))


@pytest.mark.parametrize("confidence", [0.6, 0.77, 0.97])
def test_no_fact_costs_more_than_the_doubt_in_its_recall(confidence: float) -> None:
    floor = log(1 - confidence)
    assert isclose(points(fact(1.5, confidence=confidence), 1e-3), floor, rel_tol=1e-6)
    assert points(fact(1.5, confidence=confidence), 0.0) == floor
    assert points(fact(1.5, confidence=confidence), 1.2) > floor


def test_departures_are_charged_by_the_odds_for_their_rule() -> None:
    assert isclose(Departure("pe.shift_window", 7, 0.9).charge, log(9))
    assert Departure("pe.chunk", 64, 0.5).charge == 0
    assert Departure("pe.chunk", 64, 0.3).charge == 0  # a rule that is likelier wrong gives no bonus


def test_the_total_is_points_less_charges_and_what_was_not_measured_counts_nowhere() -> None:
    facts = {"a": fact(1.5), "b": fact(2.0)}
    found = score(facts, {"a": 1.5 * exp(0.1), "b": None}, [Departure("tile.sync", "term", 0.6)])
    assert found.points.keys() == {"a"}
    assert isclose(found.total, log(0.9 * exp(-0.5) + 0.1) - log(0.6 / 0.4))
