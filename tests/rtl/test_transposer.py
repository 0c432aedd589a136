"""The transposer's hardware gives NumPy's transposes, at a line a cycle where nobody makes it wait."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="hardware twins need Amaranth")

from amaranth.sim import Simulator

from simhw.rtl import transposer
from simhw.rtl.transposer import Block, Transposer


def transposes(side: int, width: Any, blocks: int, row_waits: float = 0.0, column_waits: float = 0.0) -> int:
    """Send blocks through; either side lets a share of the cycles pass.  Gives the cycles till the last column."""
    dut = Transposer(side, width)
    rng = np.random.default_rng([side, width])
    values = rng.integers(0, 1 << width, (blocks, side, side), dtype=np.uint32)
    rows, columns = (each.reshape(-1, side) for each in (values, values.transpose(0, 2, 1)))
    cycles = 0

    async def bench(context: Any) -> None:
        nonlocal cycles
        sent = received = 0
        while received < len(columns):
            offers = sent < len(rows) and rng.random() >= row_waits
            accepts = rng.random() >= column_waits
            context.set(dut.row_valid, offers)
            context.set(dut.row.as_value(), packed(rows[sent], width) if offers else 0)
            context.set(dut.column_ready, accepts)
            if accepts and context.get(dut.column_valid):
                found = context.get(dut.column.as_value())
                assert found == packed(columns[received], width), f"column {received}"
                received += 1
            sent += offers and context.get(dut.row_ready)
            assert sent - received <= 2 * side, "a block too many was taken"
            await context.tick()
            cycles += 1
            assert cycles <= 100 + 8 * len(rows), f"column {received} does not come"

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return cycles


def packed(line: Any, width: int) -> int:
    return int.from_bytes(line.astype(f"<u{width // 8}").tobytes(), "little")


@pytest.mark.parametrize(("side", "width"), [(8, 16), (16, 32)])
def test_blocks_back_to_back_take_a_cycle_a_row(side, width):
    # The last block's columns follow its last row.
    assert transposes(side, width, 4) == 4 * side + side


@pytest.mark.parametrize(("row_waits", "column_waits"), [(0.5, 0.0), (0.0, 0.5), (0.3, 0.3)])
def test_rows_and_columns_wait_for_each_other(row_waits, column_waits):
    assert transposes(5, 16, 8, row_waits, column_waits) > 9 * 5


@pytest.mark.slow
@pytest.mark.parametrize("row_waits", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("column_waits", [0.0, 0.1, 0.6])
@pytest.mark.parametrize(("side", "width"), [(8, 16), (16, 16), (16, 32)])
def test_many_blocks_are_transposed(side, width, row_waits, column_waits):
    assert transposes(side, width, 40, row_waits, column_waits) >= 41 * side


# Mutants


class _Untransposed(Block):
    """Gives rows."""

    def elaborate(self, platform: object) -> Any:
        m = super().elaborate(platform)
        with m.If(self.give):
            for upper, lower in zip(self.values, self.values[1:], strict=False):
                m.d.sync += [first.eq(second) for first, second in zip(upper, lower, strict=True)]
        m.d.comb += [self.column[j].eq(value) for j, value in enumerate(self.values[0])]
        return m


class _Overwritten(Transposer):
    """Takes rows whether a block is free or not."""

    def elaborate(self, platform: object) -> Any:
        m = super().elaborate(platform)
        m.d.comb += self.row_ready.eq(1)
        return m


class _OneBlock(Transposer):
    """Waits for a block to leave before it takes another."""

    def elaborate(self, platform: object) -> Any:
        m = super().elaborate(platform)
        with m.If(self.column_valid):
            m.d.comb += self.row_ready.eq(0)
        return m


def test_a_transposer_that_gives_rows_fails(monkeypatch):
    monkeypatch.setattr(transposer, "Block", _Untransposed)
    with pytest.raises(AssertionError, match="column 0"):
        transposes(8, 16, 2)


def test_a_transposer_that_does_not_wait_fails(monkeypatch):
    monkeypatch.setitem(globals(), "Transposer", _Overwritten)
    with pytest.raises(AssertionError, match="column"):
        transposes(8, 16, 4, column_waits=0.5)


def test_a_transposer_of_one_block_is_slow(monkeypatch):
    monkeypatch.setitem(globals(), "Transposer", _OneBlock)
    assert transposes(8, 16, 4) > 4 * 8 + 8
