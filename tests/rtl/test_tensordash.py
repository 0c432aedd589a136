"""TensorDash's hardware equals the oracle: what every lane takes in every cycle, the advance, and the values that reach
the multipliers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from simhw.bfloat16 import BF16Array
from simhw.machine.machine import load_machine
from tests.oracles.inputs import any_finite, pack, sparse
from tests.oracles.tensordash import LANES, OPTIONS, operand_masks, schedule_window, tile_schedule

pytest.importorskip("amaranth", reason="hardware twins need Amaranth")

from amaranth.hdl import Cat, Const
from amaranth.sim import Simulator

from simhw.rtl import multiplexer, scheduler, staging, tensordash
from simhw.rtl.comparators import largest
from simhw.rtl.scheduler import Scheduler, levels, places
from simhw.rtl.tensordash import TensorDashTile

FULL = (1 << LANES) - 1
Windows = npt.NDArray[np.int64]


def values_of(**switches: Any) -> Any:
    return load_machine("tensordash", **switches).values


def simulate(dut: Any, bench: Callable[[Any], Any], clocked: bool = True) -> None:
    simulator = Simulator(dut)
    if clocked:
        simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


# The scheduler alone, on any window


def windows(rng: np.random.Generator, random: int) -> Windows:
    """Windows (n, 3) of 16-bit masks: random ones of ten densities, and those that try to break a scheduler."""
    density = rng.choice([0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9, 0.98], (random, 1, 1))
    drawn = ((rng.random((random, 3, LANES)) < density) << np.arange(LANES)).sum(axis=-1)
    corners = [[first, second, third] for first in (0, FULL) for second in (0, FULL) for third in (0, FULL)]
    # One lane's pair in one step, in two, or in all; and all but one.
    lone = [
        [(1 << lane) * (steps & 1), (1 << lane) * (steps >> 1 & 1), (1 << lane) * (steps >> 2)]
        for lane in range(LANES)
        for steps in range(1, 8)
    ]
    return np.array([*drawn.tolist(), *corners, *lone, *(FULL - np.array(lone)).tolist()])


def windows_equal(order: Any, depth: int, masks: Windows) -> None:
    """Schedule every window in hardware and by the oracle."""
    dut = Scheduler(values_of(**{"pe.order": order, "pe.depth": depth}).pe)

    async def bench(context: Any) -> None:
        for window in masks[:, :depth].tolist():
            context.set(dut.z.as_value(), sum(mask << LANES * step for step, mask in enumerate(window)))
            left = [{lane for lane in range(LANES) if mask >> lane & 1} for mask in window]
            choice = schedule_window(left, order)
            busy = context.get(dut.busy)
            found = [context.get(dut.ms[lane]) if busy >> lane & 1 else None for lane in range(LANES)]
            assert found == choice, f"window {window}: options"
            leading = 0
            while leading < depth and not left[leading]:
                leading += 1
            kept = sum(1 << LANES * step + lane for step, lanes in enumerate(left) for lane in lanes)
            assert context.get(dut.left.as_value()) == kept, f"window {window}: pairs left"
            assert context.get(dut.drained) == leading, f"window {window}: steps drained"

    simulate(dut, bench, clocked=False)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("order", ["paper", "dnnsim", "any"])
def test_every_lane_takes_what_the_oracle_says(order, depth):
    # 768 random windows and 232 others.
    masks = windows(np.random.default_rng([1, depth]), 768)
    assert len(masks) == 1000
    windows_equal(order, depth, masks)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["paper", "dnnsim", "any"])
def test_every_lane_takes_what_the_oracle_says_on_many_windows(order):
    windows_equal(order, 3, windows(np.random.default_rng(2), 30_000))


# A tile, over whole outputs


def operands(rng: np.random.Generator, rows: int, k: int) -> list[tuple[str, BF16Array]]:
    """Rows of several densities, and those of single lanes, of rows that differ in density, and of blocks of zeros."""
    shape = (rows, k)
    lone = np.where(np.arange(k) % LANES == rng.integers(0, LANES), any_finite(rng, *shape), np.uint16(0))
    uneven = np.concatenate([sparse(rng, 1, k, row / max(1, rows - 1)) for row in range(rows)])
    blocks = np.where(np.arange(k) // (2 * LANES) % 2 == 0, any_finite(rng, *shape), np.uint16(0x8000))
    return [
        *((f"sparse_{zeros}", sparse(rng, rows, k, zeros)) for zeros in (0.0, 0.3, 0.6, 0.9, 1.0)),
        ("single lane", lone.astype(np.uint16)),
        ("uneven rows", uneven),
        ("blocks of zeros", blocks.astype(np.uint16)),
        ("subnormals", pack(rng.integers(0, 2, shape), rng.integers(0, 2, shape), rng.integers(0, 128, shape), shape)),
    ]


def bits(values: npt.NDArray[Any]) -> int:
    """Values side by side as one number, the first in the lowest bits."""
    return int.from_bytes(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes(), "little")


class Stream:
    """Rows of values as steps of 16 lanes; behind the last step there are zeros."""

    def __init__(self, rows: npt.NDArray[Any], depth: int) -> None:
        steps = rows.reshape(len(rows), -1, LANES)
        self.steps = np.pad(steps, ((0, 0), (0, 3 * depth), (0, 0)))
        self.depth = depth

    def refill(self, position: int) -> int:
        return bits(self.steps[:, position : position + self.depth])


def tile_equals(steps: int, seed: int, width: int = 16, bypass: bool = False, **switches: Any) -> int:
    """Run outputs through a tile without a bubble between them; gives the windows (of schedulers) compared.

    With `bypass` every second one bypasses the schedulers.
    """
    values = values_of(**switches)
    pe, tile = values.pe, values.tile
    dut = TensorDashTile(pe, tile, width)
    rng = np.random.default_rng(seed)
    xs, ys = operands(rng, tile.rows, steps * LANES), operands(rng, tile.cols, steps * LANES)
    outputs = [(f"{name} by {other}", x, y) for (name, x), (other, y) in zip(xs, ys[3:] + ys[:3], strict=True)]
    compared = 0

    async def bench(context: Any) -> None:
        nonlocal compared
        for number, (name, x, y) in enumerate(outputs):
            masks = operand_masks(x)
            if pe.sides == "two":
                masks = [[a & b for a, b in zip(p, q, strict=True)] for p in masks for q in operand_masks(y)]
            bypasses = bypass and number % 2 == 1
            schedule = tile_schedule(masks, pe.depth, pe.order)
            if bypasses:  # a window of one step in which no value is zero
                schedule = tile_schedule([[FULL] * steps for _ in masks], 1)
            # float32 has the same bits above 16 others.
            wide = [(each.astype(np.uint32) << 16 | 0x5A5A) if width == 32 else each for each in (x, y)]
            x_stream, y_stream = (Stream(each, pe.depth) for each in wide)

            def offer(position: int, streams: Any = (x_stream, y_stream)) -> None:
                context.set(dut.x_refill.as_value(), streams[0].refill(position))
                context.set(dut.y_refill.as_value(), streams[1].refill(position))

            assert context.get(dut.done), f"{name}: the tile is not ready"
            at_work = context.get(dut.busy.as_value())
            offer(0)
            context.set(dut.steps, steps)
            context.set(dut.load, 1)
            if pe.gate == "on":
                context.set(dut.bypass, bypasses)
            assert context.get(dut.busy.as_value()) == at_work, f"{name}: it disturbs the last cycle of the one before"
            await context.tick()
            context.set(dut.load, 0)
            position = 0
            for cycle, (advance, chosen) in enumerate(zip(schedule.advanced, schedule.chosen, strict=True)):
                where = f"{name}, cycle {cycle}"
                assert context.get(dut.advance) == advance, f"{where}: advance"
                for index, lanes in enumerate(chosen):
                    compare(context, index, lanes, position, x_stream, y_stream, where)
                    compared += 1
                last = cycle + 1 == schedule.cycles
                assert context.get(dut.done) == last, f"{where}: done"
                if not last:
                    offer(position + pe.depth)
                    await context.tick()
                position += advance

    def compare(
        context: Any, index: int, lanes: list[Any], position: int, x_stream: Stream, y_stream: Stream, where: str
    ) -> None:
        row, columns = index, range(tile.cols)
        if pe.sides == "two":
            row, column = divmod(index, tile.cols)
            columns = range(column, column + 1)
        busy, options = context.get(dut.busy[index]), OPTIONS[pe.order]
        ms = context.get(dut.ms[index].as_value())
        select_bits = len(dut.ms[index].as_value()) // LANES
        x_values = context.get(dut.x_values[index].as_value())
        picks: list[Any] = []
        for lane in range(LANES):
            option = ms >> lane * select_bits & (1 << select_bits) - 1
            step, offset = [each for each in options if each[0] < pe.depth][option]
            picks.append((position + step, (lane + offset) % LANES) if busy >> lane & 1 else None)
        assert picks == lanes, f"{where}, scheduler {index}: pairs"
        wanted = np.array([0 if at is None else x_stream.steps[row, at[0], at[1]] for at in lanes])
        assert x_values == bits(wanted.astype(x_stream.steps.dtype)), f"{where}, scheduler {index}: X"
        taking = [lane for lane, at in enumerate(lanes) if at is not None]
        for column in columns:
            found = context.get(dut.y_values[row * tile.cols + column].as_value())
            for lane in taking:
                assert found >> lane * width & (1 << width) - 1 == y_stream.steps[column, *lanes[lane]], f"{where}: Y"

    simulate(dut, bench)
    return compared


@pytest.mark.parametrize(
    ("rows", "cols", "switches"),
    [
        (2, 1, {"pe.order": "paper"}),
        (1, 2, {"pe.order": "dnnsim"}),
        (2, 2, {"pe.order": "dnnsim", "pe.depth": 2, "pe.sides": "two"}),
        (3, 1, {"pe.depth": 1}),
        (1, 1, {"pe.order": "any", "pe.sides": "two"}),
    ],
    ids=str,
)
def test_tile_multiplies_what_the_oracle_says_in_every_cycle(rows, cols, switches):
    assert tile_equals(9, 3, **{"tile.rows": rows, "tile.cols": cols}, **switches) >= 27


@pytest.mark.parametrize("sides", ["one", "two"])
def test_outputs_that_bypass_the_schedulers_are_dense(sides):
    assert tile_equals(6, 5, bypass=True, **{"tile.rows": 1, "tile.cols": 1, "pe.sides": sides}) >= 18


def test_a_tile_without_a_gate_schedules_everything():
    assert tile_equals(4, 6, **{"tile.rows": 1, "tile.cols": 1, "pe.gate": "off"}) >= 12


def test_float32_values_are_scheduled_by_their_exponents_too():
    assert tile_equals(8, 4, width=32, **{"tile.rows": 1, "tile.cols": 1}) >= 24


@pytest.mark.slow
@pytest.mark.parametrize("sides", ["one", "two"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("order", ["paper", "dnnsim", "any"])
def test_tiles_equal_the_oracle_over_long_outputs(order, depth, sides):
    switches = {"pe.order": order, "pe.depth": depth, "pe.sides": sides}
    assert tile_equals(100, 5, **{"tile.rows": 4, "tile.cols": 4}, **switches) >= 1000


# Mutants


def _exchanged(pe: Any, lane: int) -> list[tuple[int, int]]:
    """A lane's second and third option in the other order."""
    first, second, third, *others = places(pe, lane)
    return [first, third, second, *others]


def _neighbours(pe: Any, lane: int) -> list[tuple[int, int]]:
    """The last option one lane further."""
    *others, (step, source) = places(pe, lane)
    return [*others, (step, (source + 1) % LANES)]


class _Forgetful(staging.StagingBuffer):
    """Moves the whole window forward, pairs that were taken included."""

    def elaborate(self, platform: object) -> Any:
        self.kept = self.window
        return super().elaborate(platform)


class _Early(scheduler.Scheduler):
    """Takes a window with one pair in its last step for drained."""

    def elaborate(self, platform: object) -> Any:
        m = super().elaborate(platform)
        last = self.left.as_value()
        with m.If((last & (last - 1)) == 0):
            m.d.comb += self.drained.eq(self.pe.depth)
        return m


def _nonzero_bits(values: Any, _width: int) -> Any:
    """Takes -0 and subnormals for effectual."""
    return Cat(values[lane].any() for lane in range(LANES))


SCHEDULER_MUTANTS: dict[str, tuple[str, Any]] = {
    "two options are exchanged": ("places", _exchanged),
    "a wire goes to the next lane": ("places", _neighbours),
    "levels decide in the other order": ("levels", lambda pe: levels(pe)[::-1]),
    "levels decide at once": ("levels", lambda _: [range(LANES)]),
}


@pytest.mark.parametrize("mutant", SCHEDULER_MUTANTS)
def test_a_mutant_of_the_scheduler_differs_from_the_oracle(mutant, monkeypatch):
    monkeypatch.setattr(scheduler, *SCHEDULER_MUTANTS[mutant])
    with pytest.raises(AssertionError, match="window"):
        windows_equal("paper", 3, windows(np.random.default_rng(6), 100))


TILE_MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "a multiplexer's wires go elsewhere": (multiplexer, "places", _neighbours),
    "a pair that was taken stays in Z": (tensordash, "StagingBuffer", _Forgetful),
    "the fastest row gives the advance": (tensordash, "smallest", largest),
    "a step counts as drained too early": (tensordash, "Scheduler", _Early),
    "zeros are told by all bits": (tensordash, "effectual", _nonzero_bits),
}


class _Ungated(TensorDashTile):
    """Lets pairs come to the schedulers that are bypassed."""

    def _bypassed(self, m: Any) -> Any:
        bypassed, _ = super()._bypassed(m)
        return bypassed, Const(0, 1)


class _EarlyBypass(TensorDashTile):
    """Bypasses the schedulers in the last cycle of the output before, too."""

    def _bypassed(self, m: Any) -> Any:
        _, gated = super()._bypassed(m)
        return gated, gated


@pytest.mark.parametrize("mutant", [_Ungated, _EarlyBypass])
def test_a_mutant_of_the_bypass_differs_from_the_oracle(mutant, monkeypatch):
    monkeypatch.setitem(globals(), "TensorDashTile", mutant)
    with pytest.raises(AssertionError, match=r"cycle|ready"):
        tile_equals(6, 5, bypass=True, **{"tile.rows": 1, "tile.cols": 1})


@pytest.mark.parametrize("mutant", TILE_MUTANTS)
def test_a_mutant_of_the_tile_differs_from_the_oracle(mutant, monkeypatch):
    monkeypatch.setattr(*TILE_MUTANTS[mutant])
    with pytest.raises(AssertionError, match=r"cycle|ready"):
        tile_equals(9, 3, **{"tile.rows": 2, "tile.cols": 1})
