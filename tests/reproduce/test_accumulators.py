"""Widths of accumulators by how long sums are, and speed-ups with a width per layer."""

from math import erfc, isclose, sqrt

import pytest

from simhw import load_machine, simulate
from simhw.machine.machine import parse_machine
from simhw.reproduce import widths
from simhw.reproduce.accumulators import least_width, reduction_length, retained
from simhw.reproduce.readings import load_readings
from tests.cli_runs import some_trace
from tests.reproduce.benches import small_bench

TABLE = load_readings()


def slowly_retained(width, length):
    """The lemma, term by term."""

    def swamped(products):
        return erfc(2.0**width / sqrt(products) / sqrt(2))  # 2 Q(x) = erfc(x / sqrt 2)

    terms = [(i, swamped(i) * (1 - swamped(i - 1))) for i in range(2, length)]
    rest = 1 - swamped(length)
    whole = sum(share for _, share in terms) + rest
    return (sum(i * share for i, share in terms) + length * rest) / (whole * length)


@pytest.mark.parametrize(("width", "length"), [(1, 1), (2, 5), (3, 64), (5, 576), (6, 4608), (9, 4608)])
def test_retained_variance_is_the_lemma_s(width, length):
    assert isclose(retained(width, length), slowly_retained(width, length), rel_tol=1e-9)


def test_widths_grow_with_the_length_and_chunks_save_bits():
    lengths = (27, 144, 576, 4608, 131072)
    plain = [least_width(length, None) for length in lengths]
    chunked = [least_width(length, 64) for length in lengths]
    assert plain == sorted(plain)
    assert all(short <= long for short, long in zip(chunked, plain, strict=True))
    # 128 images of 32 x 32: 11 bits, and 8 in chunks of 64, as Sakr et al. have for ResNet-32's weight gradients
    # (recalled).
    assert (plain[-1], chunked[-1]) == (11, 8)


def test_lengths_of_sums_are_those_of_the_operations():
    conv, linear = some_trace().layers
    # 8 channels of 3 x 3, 12 channels of 3 x 3, 2 images of 6 x 6; a linear layer of 40 inputs on 24 samples.
    lengths = [reduction_length(conv, operation) for operation in conv.operations]
    assert lengths == [8 * 9, 12 * 9, 2 * 36]
    assert [reduction_length(linear, operation, grown=3) for operation in linear.operations] == [40, 72]


def test_every_layer_runs_with_its_own_accumulator(tmp_path):
    bench = small_bench(tmp_path)
    captured = bench.present[0]
    (step,) = captured.steps
    needed = widths.widths_of(step, TABLE)
    # The trace holds 2 of 4 images.
    assert needed["conv", "weight_grad"] == least_width(2 * 2 * 36, 64)
    wanted = widths.wanted(captured, TABLE, {})
    assert len(wanted) == len(set(needed.values())) > 1
    found = widths.speedups(bench, captured, TABLE, {})
    own = baseline = 0.0
    for bits in set(needed.values()):
        overrides = {"pe.accumulator_fraction_bits": bits, "pe.oob_threshold": bits, "memory.model": "ideal"}
        results = simulate(some_trace(), load_machine("fpraker-literal", **overrides), progress=False)
        for item in results.operations:
            if needed[item.layer, item.operation] == bits:
                own += item.cost.time_s
                baseline += item.baseline.time_s
    assert found["total"] == pytest.approx(baseline / own)


@pytest.mark.parametrize(("threshold", "bits", "expected"), [(7, 9, 7), (7, 5, 5), (None, 9, 9)])
def test_bounds_of_a_reading_are_never_beyond_the_last_bit(threshold, bits, expected):
    overrides = {} if threshold is None else {"pe.oob_threshold": threshold}
    values = parse_machine(TABLE.with_width(overrides, bits)).values
    assert (values.pe.accumulator_fraction_bits, values.pe.threshold) == (bits, expected)
