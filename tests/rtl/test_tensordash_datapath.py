"""TensorDash's PEs in hardware sum what the oracle schedules, adder by adder, and so nearly the exact outputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from simhw.machine.machine import load_machine
from tests.oracles.tensordash import LANES, operand_masks, tile_schedule
from tests.rtl.float32_sums import as_float32, dot_product

pytest.importorskip("amaranth", reason="hardware twins need Amaranth")

from amaranth.hdl import Signal
from amaranth.sim import Simulator

from simhw.rtl import tensordash_datapath
from simhw.rtl.dot_product import DotProduct
from simhw.rtl.tensordash import TensorDashTile
from simhw.rtl.tensordash_datapath import TensorDashDatapath

Patterns = npt.NDArray[np.uint32]


@dataclass
class Output:
    """Operands of one output by row of x and column of y, the advance in every cycle, and the sum of every PE."""

    x: Patterns
    y: Patterns
    advanced: list[int]
    sums: list[float]


def of_oracle(rng: np.random.Generator, width: int, steps: int, zeros: float, pe: Any, tile: Any) -> Output:
    """Gaussian operands, a share of them zeros, scheduled by the oracle and summed in the order of the hardware."""
    shape = (tile.rows + tile.cols, steps, LANES)
    values = np.where(rng.random(shape) < zeros, 0, rng.standard_normal(shape)).astype(np.float32)
    bits = values.view(np.uint32) >> 32 - width
    x, y = bits[: tile.rows], bits[tile.rows :]
    masks, others = (operand_masks((each >> width - 16).reshape(len(each), -1)) for each in (x, y))
    if pe.sides == "two":
        masks = [[a & b for a, b in zip(p, q, strict=True)] for p in masks for q in others]
    schedule = tile_schedule(masks, pe.depth, pe.order)
    sums = []
    for index in range(tile.rows * tile.cols):
        row, column = divmod(index, tile.cols)
        total = 0.0
        for cycle in schedule.chosen:
            pairs = cycle[index if pe.sides == "two" else row]
            picked = ([0 if at is None else int(side[at]) for at in pairs] for side in (x[row], y[column]))
            total = dot_product(width, total, *picked)
        # Whatever is skipped: the exact sum but for a rounding of every addition.
        exact = (x[row] << 32 - width).view(np.float32) * np.float64((y[column] << 32 - width).view(np.float32))
        assert abs(total - exact.sum()) <= 2.0**-24 * (steps + 5) * abs(exact).sum()
        sums.append(total)
    return Output(x, y, schedule.advanced, sums)


def outputs_equal(width: Any, steps: list[int], stages: int, **switches: Any) -> int:
    """Run outputs of some steps through a tile without a bubble between them; gives the sums compared."""
    values = load_machine("tensordash", **switches).values
    dut = TensorDashDatapath(values.pe, values.tile, width, stages)
    rng = np.random.default_rng([width, *steps])
    depth = values.pe.depth
    due: list[tuple[str, list[float]]] = []
    compared = 0

    async def tick(context: Any) -> None:
        nonlocal compared
        await context.tick()
        if context.get(dut.ended):
            assert due, "a sum ends that is none"
            name, sums = due.pop(0)
            found = [as_float32(context.get(dut.sums[index])) for index in range(len(sums))]
            assert found == [np.float32(each) for each in sums], f"{name}: sums"
            compared += len(sums)

    async def bench(context: Any) -> None:
        for number, length in enumerate(steps):
            output = of_oracle(rng, width, length, 0.2 * (number % 5), values.pe, values.tile)
            due.append((f"output {number}", output.sums))
            x, y = (np.pad(each, ((0, 0), (0, 3 * depth), (0, 0))) for each in (output.x, output.y))

            def offer(position: int, sides: Any = ((dut.x_refill, x), (dut.y_refill, y))) -> None:
                for port, stream in sides:
                    window = stream[:, position : position + depth].astype(f"<u{width // 8}")
                    context.set(port.as_value(), int.from_bytes(window.tobytes(), "little"))

            offer(0)
            context.set(dut.steps, length)
            context.set(dut.load, 1)
            await tick(context)
            context.set(dut.load, 0)
            for position in np.cumsum([0, *output.advanced])[:-2].tolist():
                offer(position + depth)
                await tick(context)
            assert context.get(dut.done), f"output {number}: it is not done"
        for _ in range(stages + 1):
            await tick(context)
        assert not due, f"{due[0][0]}: it does not end"

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return compared


@pytest.mark.parametrize(
    ("width", "stages", "switches"),
    [
        (16, 6, {"tile.rows": 1, "tile.cols": 2}),
        (32, 3, {"tile.rows": 1, "tile.cols": 1, "pe.depth": 2}),
    ],
    ids=str,
)
def test_outputs_equal_the_sums_of_the_oracle_s_schedule(width, stages, switches):
    assert outputs_equal(width, [1, 5, 2, 4], stages, **switches) == 4 * switches["tile.cols"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [16, 32])
@pytest.mark.parametrize("sides", ["one", "two"])
@pytest.mark.parametrize("stages", [1, 3, 6])
def test_tiles_sum_what_the_oracle_schedules(width, sides, stages):
    switches = {"tile.rows": 2, "tile.cols": 2, "pe.sides": sides}
    assert outputs_equal(width, [1, 5, 20, 7, 30, 3], stages, **switches) == 24


# Mutants


class _OtherColumn(TensorDashTile):
    """Gives every PE of a row the Y of column 0."""

    def elaborate(self, platform: object) -> Any:
        m = super().elaborate(platform)
        m.d.comb += self.y_values[1].eq(self.y_values[0])
        return m


class _NeverAnew(DotProduct):
    """Sums one output onto another."""

    def elaborate(self, platform: object) -> Any:
        self.first = Signal()
        return super().elaborate(platform)


class _Restless(TensorDashTile):
    """Counts the cycles without an output as work."""

    def elaborate(self, platform: object) -> Any:
        m = super().elaborate(platform)
        m.d.comb += self.running.eq(1)
        return m


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("TensorDashTile", _OtherColumn),
        pytest.param("DotProduct", _NeverAnew, marks=pytest.mark.slow),
        pytest.param("TensorDashTile", _Restless, marks=pytest.mark.slow),
    ],
)
def test_a_mutant_of_the_datapath_differs_from_the_oracle(name, mutant, monkeypatch):
    monkeypatch.setattr(tensordash_datapath, name, mutant)
    with pytest.raises(AssertionError, match="sum"):
        outputs_equal(16, [1, 2], 6, **{"tile.rows": 1, "tile.cols": 2, "pe.depth": 1})
