"""The float32 running sum in hardware equals exact fractions, rounded once, at every corner of the format."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from simhw.bfloat16 import from_float32
from simhw.pe.accumulator import EXPONENT_OFFSET
from tests.oracles.accumulator import BIAS, power_of_two, to_bfloat16, to_float32

pytest.importorskip("amaranth", reason="hardware twins need Amaranth")

from amaranth.hdl import Cat, Const, Value
from amaranth.sim import Simulator

from simhw.rtl import float32_accumulator, float32_adder, rounding
from simhw.rtl.float32_adder import FRACTION_BITS, Float32Adder, unpacked
from simhw.rtl.leading_one import leading_one
from simhw.rtl.running_sum import RunningSum

LARGEST = 580 - 2 * BIAS - EXPONENT_OFFSET
"""An accumulator's largest exponent and more."""
Fold = tuple[int, int, bool]
"""S, its exponent and whether it joins the sum so far."""


def folds(rng: np.random.Generator, count: int, fraction_bits: int) -> list[Fold]:
    """Accumulators far from the sum so far, near it, equal to it but for a few last bits, and at the format's ends."""
    drawn: list[Fold] = []
    last = (0, 0, False)
    for index in range(count):
        exponent = int(rng.choice([rng.integers(-250, LARGEST), rng.integers(-160, -110), rng.integers(115, 135)]))
        size = (1 << fraction_bits) + int(
            rng.choice([0, 1, (1 << fraction_bits) - 1, rng.integers(1 << fraction_bits)])
        )
        if index % 4:
            # Near the one before, which the sum is near as well: cancellation, carries and ties.
            exponent = min(LARGEST, last[1] + int(rng.integers(-fraction_bits - 3, 4)))
        if index % 5 == 4:
            size, exponent = abs(last[0]) or size, last[1]
        s = int(rng.choice([-1, 1, -1 if last[0] > 0 else 1])) * size
        last = (s if rng.random() < 0.95 else 0, max(exponent, -280), index % 8 > 0)
        drawn.append(last)
    return drawn


def folds_equal(seed: int, count: int, fraction_bits: int) -> None:
    dut = RunningSum(fraction_bits)

    async def bench(context: Any) -> None:
        running = 0.0
        for index, (s, exponent, onto) in enumerate(folds(np.random.default_rng(seed), count, fraction_bits)):
            running = running if onto else 0.0
            where = f"fold {index}: {running} and {s} at {exponent}"
            if math.isfinite(running):
                running = to_float32(Fraction(running) + s * power_of_two(exponent - fraction_bits))
            output = to_bfloat16(Fraction(running)) if math.isfinite(running) else running
            context.set(dut.s, s)
            context.set(dut.exponent, exponent + 2 * BIAS + EXPONENT_OFFSET if s else 0)
            context.set(dut.onto, onto)
            context.set(dut.fold, 1)
            await context.tick()
            context.set(dut.fold, 0)
            await context.tick()
            found = np.uint32(context.get(dut.sum)).view(np.float32)
            assert found == np.float32(running), f"{where}: {found}"
            assert context.get(dut.value) == int(from_float32(np.float32([output]))[0]), f"{where}: output"

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("fraction_bits", [4, 12, 23])
def test_running_sums_equal_exact_fractions_rounded_once(fraction_bits):
    folds_equal(fraction_bits, 1000, fraction_bits)


@pytest.mark.slow
@pytest.mark.parametrize("fraction_bits", [4, 7, 12, 16, 20, 23])
def test_many_running_sums_equal_exact_fractions_rounded_once(fraction_bits):
    folds_equal(100 + fraction_bits, 20_000, fraction_bits)


# Mutants


def _leading_bit(pattern: Value) -> Value:
    """Takes a subnormal number for one with a leading bit."""
    addend = unpacked(pattern)
    return Cat(addend[:FRACTION_BITS], Const(1, 1), addend[FRACTION_BITS + 1 :])


class _NoSticky(Float32Adder):
    """Loses what is shifted out."""

    def _placed(self, *args: Any) -> Value:
        return Cat(Const(0, 1), super()._placed(*args)[1:])


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "what is shifted out is lost": (float32_accumulator, "Float32Adder", _NoSticky),
    "subnormal sums have a leading bit": (float32_accumulator, "unpacked", _leading_bit),
    "the leading one is sought too low": (float32_adder, "leading_one", lambda m, value: leading_one(m, value[:-1])),
    "ties are rounded up": (rounding, "rounds_up", lambda _, rest: rest[-1]),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_differs_from_exact_fractions(mutant, monkeypatch):
    monkeypatch.setattr(*MUTANTS[mutant])
    with pytest.raises(AssertionError, match="fold"):
        folds_equal(3, 1000, 23)
