"""Totals that add up, and ratios of totals."""

import numpy as np
import pytest

from simhw.results.estimate import Estimate
from simhw.results.totals import Totals
from tests.results.parts import cost, operation


def test_ratios_of_a_total_are_ratios_of_sums():
    slow, fast = operation(cost(3000.0), cost(3000.0)), operation(cost(1000.0), cost(9000.0), useful=30.0)
    total = Totals.of([slow, fast])
    assert total.speedup == pytest.approx(12 / 4)  # not the mean of 1 and 9
    assert total.energy_efficiency == pytest.approx(3)
    assert total.cycles.value == 4000
    assert total.macs == 2000
    assert total.counters["useful"].value == 40
    assert total.cycles_per_set == pytest.approx(200 / 100)
    assert total.class_shares == {"useful": 40 / 220, "idle": 180 / 220}


def test_busy_is_weighted_by_time_and_occupancy_by_sets():
    total = Totals.of(
        [
            operation(cost(3000.0, busy=1.0, occupancy=0.5), dense_sets=10),
            operation(cost(1000.0, busy=0.2, occupancy=1.0), dense_sets=30),
        ]
    )
    assert total.busy == pytest.approx((3 * 1.0 + 1 * 0.2) / 4)
    assert total.occupancy == pytest.approx((10 * 0.5 + 30 * 1.0) / 40)


def test_a_total_with_an_operation_without_baseline_has_none():
    total = Totals.of([operation(cost(1000.0), cost(2000.0)), operation(cost(1000.0))])
    assert np.isnan([total.speedup, total.energy_efficiency, total.baseline_busy]).all()


def test_errors_of_operations_add_as_independent_ones():
    parts = [operation(cost(Estimate(1000.0, 9.0, 5.0))), operation(cost(Estimate(1000.0, 16.0, 5.0)))]
    assert Totals.of(parts).cycles.variance == 25
