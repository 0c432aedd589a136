"""What an operation's cost says, and its ratios to the baseline."""

import numpy as np
import pytest

from simhw.results.estimate import Estimate
from simhw.results.totals import Totals
from tests.results.parts import cost, operation


def test_time_and_energy_follow_from_cycles_clock_and_power():
    one = cost(1000.0)
    assert one.time_s == pytest.approx(2e-6)
    assert one.energy_j == pytest.approx(4e-6)


def test_speed_up_compares_times_and_not_cycles():
    # The baseline takes twice the cycles at twice the clock: equally long, at half the power.
    item = operation(cost(1000.0), cost(2000.0, clock_hz=1e9, power_w=1.0))
    assert item.speedup == pytest.approx(1)
    assert item.energy_efficiency == pytest.approx(0.5)
    assert item.baseline_cycles == 2000
    assert item.cycles_per_set == 2


def test_without_a_baseline_ratios_are_not_a_number():
    item = operation(cost(1000.0))
    assert np.isnan([item.speedup, item.energy_efficiency, item.baseline_cycles, item.speedup_half_width]).all()


def test_a_sampled_baseline_widens_the_speed_ups_interval():
    # Relative half-widths of 3% and 4% (t is 1.96 with endless degrees of freedom): together 5%.
    part = [Estimate(1000.0, (share * 1000 / 1.959964) ** 2) for share in (0.03, 0.04)]
    alone, both = operation(cost(part[0]), cost(2000.0)), operation(cost(part[0]), cost(part[1]))
    assert alone.speedup_half_width == pytest.approx(0.03 * alone.speedup)
    assert both.speedup_half_width == pytest.approx(0.05 * both.speedup)
    assert Totals.of([both]).speedup_half_width == pytest.approx(0.05 * both.speedup)
