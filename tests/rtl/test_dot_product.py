"""The PE of multipliers and float32 adders equals NumPy's float32, adder by adder."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.rtl.float32_sums import as_float32, dot_product

pytest.importorskip("amaranth", reason="hardware twins need Amaranth")

from amaranth.hdl import Const, Signal

from simhw.rtl import dot_product as unit
from simhw.rtl import pipeline
from simhw.rtl.dot_product import DotProduct, most_stages
from simhw.rtl.float32_adder import Float32Adder
from tests.rtl.pipelines import Given, outputs_equal, packed

Patterns = npt.NDArray[np.uint32]


def operands(rng: np.random.Generator, width: int, sets: int, lanes: int) -> Iterator[tuple[Patterns, Patterns]]:
    """Sets of values near one, of any size, with zeros, of pairs that nearly cancel, and of the format's ends."""
    for index in range(sets):
        x, y = rng.standard_normal((2, lanes)).astype(np.float32).view(np.uint32)
        if index % 5 == 1:
            x, y = rng.integers(0, 255 << 23, (2, lanes), dtype=np.uint32) | rng.integers(2, size=(2, lanes)) << 31
        elif index % 5 == 2:
            x = np.where(rng.random(lanes) < 0.6, np.uint32(0x80000000), x)
        elif index % 5 == 3:  # neighbours in the tree, at every level
            x[lanes // 2 :], y[lanes // 2 :] = x[: lanes // 2] ^ (rng.integers(4) << 15), y[: lanes // 2] ^ 1 << 31
        elif index % 5 == 4:
            x += (rng.choice([-63, 63]) * (1 << 23)).astype(np.uint32)
            y += (rng.choice([-64, 64]) * (1 << 23)).astype(np.uint32)
        yield x.astype(np.uint32) >> (32 - width), y.astype(np.uint32) >> (32 - width)


def sums_equal(seed: int, sets: int, width: Any, lanes: int, stages: int) -> None:
    """Run sums of three sets or so, one after another; now and then the PE is not enabled for a cycle."""
    dut = DotProduct(width, lanes, stages)
    rng = np.random.default_rng([seed, width, lanes])

    def givens() -> Iterator[Given]:
        running = 0.0
        for index, (x, y) in enumerate(operands(rng, width, sets, lanes)):
            first = index == 0 or bool(rng.random() < 0.3)
            running = dot_product(width, 0.0 if first else running, x.tolist(), y.tolist())
            inputs = {"x": packed(x, width), "y": packed(y, width), "first": first}
            yield Given(f"set {index}", inputs, np.float32(running))

    outputs_equal(dut, stages, givens(), lambda context: as_float32(context.get(dut.sum)), pause_every=8)


@pytest.mark.parametrize(("width", "lanes", "stages"), [(16, 4, 1), (32, 4, 3), (16, 8, 5)])
def test_sums_equal_those_of_each_adder_in_turn(width, lanes, stages):
    sums_equal(1, 40, width, lanes, stages)


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize("width", [16, 32])
def test_many_sums_equal_those_of_each_adder_in_turn(width, lanes):
    for stages in range(1, most_stages(lanes) + 1):
        sums_equal(stages, 200, width, lanes, stages)


# Mutants


class _OneSided(Float32Adder):
    """Loses its second addend."""

    def elaborate(self, platform: object) -> Any:
        self.y = Signal.like(self.y)
        return super().elaborate(platform)


def _late_cut(m: Any, name: str, values: Any) -> Any:
    """The products are registered, but not what says that they begin a sum."""
    enable, _, *addends = pipeline.registered(m, name, values)
    return [enable, values[1], *addends]


MUTANTS: dict[str, tuple[str, Any]] = {
    "an adder loses an addend": ("Float32Adder", _OneSided),
    "a sum begins a cycle early": ("registered", _late_cut),
    "sums count as products": ("_addend", lambda value: Const(0, 37) if len(value) == 32 else value),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_of_the_tree_differs(mutant, monkeypatch):
    monkeypatch.setattr(unit, *MUTANTS[mutant])
    with pytest.raises(AssertionError, match="set"):
        sums_equal(1, 60, 16, 4, 2)
