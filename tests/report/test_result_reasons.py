"""What explains a result: its lane cycles, the factors of its speedup, bounds and cautions."""

import numpy as np
import pytest

from simhw import Layer, Trace, load_machine, simulate
from simhw.bfloat16 import from_float32
from simhw.report.result_reasons import explanation, factors, lane_count
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
    [
        ("fpraker", None),
        ("tensordash", None),
        ("fpraker", "tensordash"),
        ("tensordash", "fpraker"),
        ("bitparallel", "fpraker"),
    ],
)
def test_the_factors_of_a_speedup_multiply_to_it(machine: str, baseline: str | None) -> None:
    each = result(machine, baseline=baseline)
    made_of = factors(each)
    assert made_of is not None
    assert made_of.speedup == pytest.approx(each.total.speedup, rel=1e-12)


def test_bounds_come_from_the_machine() -> None:
    assert load_machine("fpraker").pe.least_cycles_per_set == 2  # two PEs share an exponent block
    assert load_machine("fpraker", exponent_sharing=1).pe.least_cycles_per_set == 1
    assert load_machine("fpraker", empty_sets="skip").pe.least_cycles_per_set == 0
    assert load_machine("tensordash").pe.least_cycles_per_set == pytest.approx(1 / 3)  # three steps are staged
    assert load_machine("tensordash-dense").pe.least_cycles_per_set == 1
    # The spec: 36 tiles of 8x8 PEs of 8 lanes, 4.5 times the 4,096 of the baseline.
    assert lane_count(load_machine("fpraker")) == 36 * 64 * 8 == 4.5 * lane_count(load_machine("bitparallel"))


def test_cautions_where_the_comparison_is_not_fair() -> None:
    assert result().compute_cautions == []
    (lowering,) = simulate(
        some_trace(), load_machine("fpraker", fc_windows="image"), progress=False, baseline="bitparallel"
    ).compute_cautions
    assert "fc_windows image against batch" in lowering
    (costs,) = simulate(some_trace(), load_machine("fpraker", **{"pe.oob": "off"}), progress=False).compute_cautions
    assert "they do not follow pe.oob" in costs


def test_speed_up_on_the_zeros_around_dense_gradients_is_named_as_such() -> None:
    """LeNet-5's input gradients, eight images: 2.39 M products, 13.45 M pairs fed with the zeros around G, none in G
    itself.
    """
    rng = np.random.default_rng(0)

    def dense(*shape: int) -> np.ndarray:
        return from_float32(rng.uniform(0.5, 1, shape).astype(np.float32))

    convolutions = [
        Layer(
            "c3",
            "conv2d",
            a=dense(8, 6, 14, 14),
            w=dense(16, 6, 5, 5),
            g=dense(8, 16, 10, 10),
            operations=["input_grad"],
        ),
        Layer(
            "c5",
            "conv2d",
            a=dense(8, 16, 5, 5),
            w=dense(120, 16, 5, 5),
            g=dense(8, 120, 1, 1),
            operations=["input_grad"],
        ),
    ]
    heads = [
        Layer("f6", "linear", w=dense(84, 120), g=dense(8, 84), operations=["input_grad"]),
        Layer("f7", "linear", w=dense(10, 84), g=dense(8, 10), operations=["input_grad"]),
    ]
    trace = Trace([*convolutions, *heads])
    products = 8 * (16 * 6 * 25 * 10**2 + 120 * 16 * 25 + 84 * 120 + 10 * 84)
    fed = 8 * (16 * 6 * 25 * 14**2 + 120 * 16 * 25 * 5**2 + 84 * 120 + 10 * 84)
    assert (products, fed) == (2_391_360, 13_450_560)
    skip = {"lowering.padding": "skip"}
    streamed = simulate(trace, "tensordash", progress=False)
    skipped = simulate(
        trace, load_machine("tensordash", **skip), progress=False, baseline=load_machine("tensordash-dense", **skip)
    )
    assert streamed.total.macs == skipped.total.macs == products
    assert sum(item.fed_macs for item in streamed.operations) == fed
    assert sum(item.padding_macs for item in streamed.operations) == fed - products
    assert streamed.total.speedup > 1.9
    assert skipped.total.speedup < 1.2
    assert any(
        f"input_grad {1 - products / fed:.1%} of the products; skipping them is part of" in line
        for line in explanation(streamed)
    )
    assert not any(line.startswith("Padding:") for line in explanation(skipped))
