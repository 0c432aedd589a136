"""What explains a result: its lane cycles, the factors of its speedup, bounds and cautions."""

import pytest

from simhw import load_machine, simulate
from simhw.report.result_reasons import cautions, factors, lane_count, least_cycles_per_set
from tests.cli_runs import result, some_trace


def test_lane_cycle_shares_add_up_and_cover_all_lanes() -> None:
    for machine in ("fpraker", "tensordash", "bitparallel"):
        total = result(machine).total
        assert sum(total.class_shares.values()) == pytest.approx(1)
        tile_cycles = sum(item.tile_cycles for item in result(machine).operations)
        lanes = lane_count(load_machine(machine)) / load_machine(machine).values.tiles
        assert sum(total.counters[name].value for name in total.classes) == lanes * tile_cycles


@pytest.mark.parametrize(
    ("machine", "baseline"),
    [("fpraker", None), ("tensordash", None), ("fpraker", "tensordash"), ("tensordash", "fpraker"), ("bitparallel", "fpraker")],
)
def test_the_factors_of_a_speedup_multiply_to_it(machine: str, baseline: str | None) -> None:
    each = result(machine, baseline=baseline)
    made_of = factors(each)
    assert made_of is not None
    assert made_of.speedup == pytest.approx(each.total.speedup, rel=1e-12)


def test_bounds_come_from_the_machine() -> None:
    assert least_cycles_per_set(load_machine("fpraker")) == 2  # two PEs share an exponent block
    assert least_cycles_per_set(load_machine("fpraker", exponent_sharing=1)) == 1
    assert least_cycles_per_set(load_machine("tensordash")) == pytest.approx(1 / 3)  # three steps are staged
    assert least_cycles_per_set(load_machine("tensordash-dense")) == 1
    # The spec: 36 tiles of 8x8 PEs of 8 lanes, 4.5 times the 4,096 of the baseline.
    assert lane_count(load_machine("fpraker")) == 36 * 64 * 8 == 4.5 * lane_count(load_machine("bitparallel"))


def test_cautions_where_the_comparison_is_not_fair() -> None:
    assert cautions(result()) == []
    (lowering,) = cautions(simulate(some_trace(), load_machine("fpraker", fc_windows="image"), progress=False, baseline="bitparallel"))
    assert "fc_windows image against batch" in lowering
    (costs,) = cautions(simulate(some_trace(), load_machine("fpraker", **{"tile.rows": 4}), progress=False))
    assert "they do not follow tile.rows" in costs
