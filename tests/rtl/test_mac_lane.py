"""MAC lanes in hardware equal NumPy's float32 at every corner of the formats."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.rtl.float32_sums import as_float32, dot_product

pytest.importorskip("amaranth", reason="hardware twins need Amaranth")

from amaranth.hdl import Cat, Const, Module, Value

from simhw.pe.accumulator import EXPONENT_OFFSET
from simhw.rtl import float32_accumulator, float32_adder, float32_multiplier, multipliers, rounding
from simhw.rtl.dot_product import DotProduct
from simhw.rtl.float32_adder import Float32Adder
from simhw.rtl.float32_multiplier import Float32Multiplier
from simhw.rtl.multipliers import Bfloat16Multiplier
from tests.rtl.pipelines import Given, outputs_equal

FRACTION_BITS = {16: 7, 32: 23}


def products(seed: int, count: int, width: int) -> Iterator[Given]:
    """Products near the sum so far and far from it, opposite to the one before, at the format's ends, of subnormals."""
    rng = np.random.default_rng([seed, width])
    bits = FRACTION_BITS[width]
    x = y = 0
    running = 0.0

    def pattern(field: int) -> int:
        fraction = int(rng.choice([0, 0, 1, (1 << bits) - 1, 1 << bits - 1, *rng.integers(1 << bits, size=4)]))
        return int(rng.integers(2)) << width - 1 | min(254, max(0, field)) << bits | fraction

    for index in range(count):
        first = bool(index % 24 == 0 or rng.random() < (0.5 if math.isinf(running) else 0.05))
        kind = rng.random()
        if kind < 0.1:
            x, y = x ^ int(rng.integers(4)), y ^ 1 << width - 1
        elif kind < 0.15:  # a subnormal operand, and one that would lift it into sight
            x, y, first = pattern(0), pattern(254 - int(rng.integers(30))), True
        else:
            # The fields of x and y add up to that of the product and 127.
            near = np.float32(running).view(np.uint32) >> 23 & 0xFF if math.isfinite(running) else 254
            fields = int(near) + 127 + int(rng.choice([*rng.integers(-4, 5, 6), *rng.integers(-30, 31, 2)]))
            if kind < 0.3:
                fields = int(rng.choice([rng.integers(509), rng.integers(95, 135), rng.integers(375, 385)]))
            part = min(254, max(0, fields // 2 + int(rng.integers(-20, 21))))
            x, y = pattern(part), pattern(fields - part)
        so_far = 0.0 if first else running
        running = dot_product(width, so_far, [x], [y])
        where = f"product {index}, {x:#x} * {y:#x} onto {so_far}"
        yield Given(where, {"x": x, "y": y, "first": first}, np.float32(running))


def lanes_equal(seed: int, count: int, width: Any, stages: Any = 1) -> None:
    """Run sums of products through a lane, one after another; now and then it is not enabled for a cycle."""
    dut = DotProduct(width, 1, stages)
    givens = products(seed, count, width)
    outputs_equal(dut, stages, givens, lambda context: as_float32(context.get(dut.sum)), pause_every=16)


@pytest.mark.parametrize(("width", "stages"), [(16, 1), (16, 2), (32, 1), (32, 2)])
def test_every_sum_of_a_lane_equals_the_oracle(width, stages):
    lanes_equal(stages, 400, width, stages)


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32])
@pytest.mark.parametrize("seed", range(3, 8))
def test_many_sums_of_a_lane_equal_the_oracle(seed, width):
    lanes_equal(seed, 20_000, width, seed % 2 + 1)


# Mutants


class _NoSticky(Float32Adder):
    """Loses what is shifted out."""

    def _placed(self, *args: Any) -> Value:
        return Cat(Const(0, 1), super()._placed(*args)[1:])


class _LostInfinity(Float32Adder):
    """Lets an infinite sum go."""

    def elaborate(self, platform: object) -> Any:
        m = super().elaborate(platform)
        with m.If(self.x.infinite):
            m.d.comb += self.sum.eq(0)
        return m


class _Unnormalised(Bfloat16Multiplier):
    """Leaves a product below two where it is."""

    def elaborate(self, platform: object) -> Any:
        m = super().elaborate(platform)
        m.d.comb += [
            self.product.significand.eq(m.submodules.multiplier.product << 8),
            self.product.field.eq(m.submodules.multiplier.exponent - (EXPONENT_OFFSET + 126)),
        ]
        return m


class _WideProduct(Float32Multiplier):
    """Does not tell products that are too large."""

    def elaborate(self, platform: object) -> Any:
        m = super().elaborate(platform)
        m.d.comb += self.product.infinite.eq(0)
        return m


class _Truncated(rounding.RoundOff):
    """Drops bits."""

    def elaborate(self, _platform: object) -> Any:
        m = Module()
        m.d.comb += self.rounded.eq(self.value >> self.dropped)
        return m


def _subnormals(value: Value) -> Value:
    return Cat(value[:23], value[23:-1].any())


MUTANTS: dict[str, tuple[int, Any, str, Any]] = {
    "what is shifted out is lost": (16, float32_accumulator, "Float32Adder", _NoSticky),
    "an infinite sum is lost": (16, float32_accumulator, "Float32Adder", _LostInfinity),
    "a product is not normalised": (16, multipliers, "Bfloat16Multiplier", _Unnormalised),
    "ties are rounded up": (32, rounding, "rounds_up", lambda _, rest: rest[-1]),
    "sums are truncated": (32, float32_adder, "RoundOff", _Truncated),
    "products are truncated": (32, float32_multiplier, "RoundOff", _Truncated),
    "products are never infinite": (32, multipliers, "Float32Multiplier", _WideProduct),
    "subnormals are multiplied": (32, float32_multiplier, "significand", _subnormals),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_of_a_lane_differs_from_the_oracle(mutant, monkeypatch):
    width, module, name, changed = MUTANTS[mutant]
    monkeypatch.setattr(module, name, changed)
    with pytest.raises(AssertionError, match="product"):
        lanes_equal(1, 1000, width)
