"""The bit-parallel PE's hardware equals the oracle after every set: S, its exponent and the bfloat16 read-out."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from simhw.bfloat16 import BF16Array, from_float32
from simhw.machine.machine import load_machine
from simhw.pe.accumulator import EXPONENT_OFFSET
from tests.oracles.accumulator import BIAS, Accumulator, decode_rows
from tests.oracles.bitparallel import add_set
from tests.oracles.inputs import adversarial_pairs

pytest.importorskip("amaranth", reason="hardware twins need Amaranth")

from amaranth.hdl import Cat, Const, Module, Signal

from simhw.rtl import adders, bitparallel, normaliser, pipeline, read_out, rounding
from simhw.rtl.bitparallel import BitParallel
from tests.rtl.pipelines import Given, outputs_equal, packed, run

Case = tuple[str, BF16Array, BF16Array]
State = tuple[int, int, int]
"""S, its exponent as hardware stores it, and the read-out's bit pattern."""


def expected(x: BF16Array, y: BF16Array, pe: Any) -> Iterator[State]:
    """The oracle's accumulator after each set of a row of x and of y."""
    accumulator = Accumulator(pe.accumulator_fraction_bits)
    for x_set, y_set in zip(decode_rows(x, pe.lanes)[0], decode_rows(y, pe.lanes)[0], strict=True):
        add_set(accumulator, x_set, y_set, pe.align_range)
        s = accumulator.integer
        exponent = accumulator.exponent + 2 * BIAS + EXPONENT_OFFSET if s else 0
        yield s, exponent, int(from_float32(np.float32([accumulator.read_out()]))[0])


def operands(x: BF16Array, y: BF16Array, index: int, lanes: int) -> dict[str, int]:
    """A set of a row of x and of y, as the PE takes it."""
    part = slice(index * lanes, (index + 1) * lanes)
    return {"x": packed(x[part], 16), "y": packed(y[part], 16)}


def sets_equal(cases: list[Case], stages: Any = 1, **switches: Any) -> int:
    """Run every row of the cases through one PE, an output after the other without a bubble; gives the sets compared.

    Now and then the PE is not enabled for a cycle, and has to hold its state.
    """
    pe = load_machine("bitparallel", **{f"pe.{name}": value for name, value in switches.items()}).values.pe
    dut = BitParallel(pe, stages)

    def givens() -> Iterator[Given]:
        for name, xs, ys in cases:
            for row in range(len(xs)):
                x, y = (np.pad(each[row], (0, -len(each[row]) % pe.lanes)) for each in (xs, ys))
                for index, state in enumerate(expected(x[None], y[None], pe)):
                    inputs = operands(x, y, index, pe.lanes) | {"first": index == 0}
                    yield Given(f"{name}, row {row}, set {index}, {switches}", inputs, state)

    def read(context: Any) -> State:
        return context.get(dut.s), context.get(dut.exponent), context.get(dut.value)

    return outputs_equal(dut, stages, givens(), read, pause_every=16)


def pairs(seed: int, sets: int, lanes: int = 8) -> list[Case]:
    """A row of `sets` sets of every kind of operands, against Gaussian values, against itself and others."""
    return adversarial_pairs(np.random.default_rng(seed), 1, 1, sets * lanes)


def test_accumulator_and_read_out_equal_the_oracle_after_every_set():
    # 5 sets of each of 3 * 23 + 5 pairs of operands.
    assert sets_equal(pairs(1, 5)) == 5 * 74


@pytest.mark.parametrize(
    "switches",
    [
        # More, as many and fewer fraction bits than a product has where it is aligned (14 + align_range), or bfloat16.
        {"accumulator_fraction_bits": 29, "align_range": 8},
        {"accumulator_fraction_bits": 22, "align_range": 8},
        {"accumulator_fraction_bits": 4, "align_range": 31},
        {"accumulator_fraction_bits": 7, "align_range": 14, "lanes": 16},
    ],
    ids=str,
)
def test_every_width_equals_the_oracle(switches):
    assert sets_equal(pairs(2, 2, switches.get("lanes", 8))[::2], **switches) == 2 * 37


def test_a_second_stage_delays_results_and_leaves_them_equal():
    assert sets_equal(pairs(6, 3)[::2], stages=2) == 3 * 37


@pytest.mark.slow
@pytest.mark.parametrize("fraction_bits", [4, 12, 23])
def test_a_second_stage_leaves_many_results_equal(fraction_bits):
    assert sets_equal(pairs(7, 60), 2, accumulator_fraction_bits=fraction_bits) == 60 * 74
    assert chunks_equal(chunked_pairs(8, 8, 6), 2, accumulator_fraction_bits=fraction_bits, chunk=64) >= 148


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize("fraction_bits", [4, 6, 7, 8, 12, 16, 23, 29])
@pytest.mark.parametrize("align_range", [8, 12, 15, 20, 32])
def test_every_width_equals_the_oracle_on_many_sets(lanes, fraction_bits, align_range):
    switches = {"lanes": lanes, "accumulator_fraction_bits": fraction_bits, "align_range": align_range}
    assert sets_equal(pairs(fraction_bits * align_range, 20, lanes), **switches) == 20 * 74


# Chunks


def chunks_equal(cases: list[Case], stages: Any = 1, **switches: Any) -> int:
    """Run outputs through one PE that accumulates in chunks, without a bubble; gives the running sums compared."""
    pe = load_machine("bitparallel", **{f"pe.{name}": value for name, value in switches.items()}).values.pe
    dut = BitParallel(pe, stages)
    # By cycle, the running sum that its set ends, the last of an output with its bfloat16 pattern.
    due: deque[tuple[str, float, int | None] | None] = deque()
    compared = 0

    async def tick(context: Any, ended: tuple[str, float, int | None] | None = None) -> None:
        nonlocal compared
        due.append(ended)
        await context.tick()
        if len(due) > stages and (folded := due.popleft()):
            where, running, value = folded
            found = np.uint32(context.get(dut.read_out.sum)).view(np.float32)
            assert found == np.float32(running), f"{where}: running sum"
            assert value is None or context.get(dut.value) == value, f"{where}: output"
            compared += 1

    async def bench(context: Any) -> None:
        for name, xs, ys in cases:
            accumulator = Accumulator(pe.accumulator_fraction_bits, pe.chunk)
            sets = list(zip(decode_rows(xs, pe.lanes)[0], decode_rows(ys, pe.lanes)[0], strict=True))
            for index, (x_set, y_set) in enumerate(sets):
                for port, value in operands(xs[0], ys[0], index, pe.lanes).items():
                    context.set(getattr(dut, port).as_value(), value)
                context.set(dut.enable, 1)
                context.set(dut.first, index == 0)
                context.set(dut.last, index + 1 == len(sets))
                add_set(accumulator, x_set, y_set, pe.align_range)
                ended = None
                if index + 1 == len(sets):
                    value = int(from_float32(np.float32([accumulator.read_out()]))[0])
                    ended = f"{name}, row 0", accumulator.running, value
                elif accumulator.macs == 0:
                    ended = f"{name}, row 0, set {index}", accumulator.running, None
                await tick(context, ended)
                if compared % 16 == 0:  # the sum takes a chunk whether another set comes or not
                    context.set(dut.enable, 0)
                    await tick(context)
        context.set(dut.enable, 0)
        for _ in range(stages):
            await tick(context)

    run(dut, bench)
    return compared


def chunked_pairs(seed: int, lanes: int, chunks: int) -> list[Case]:
    """Operands of up to so many chunks, the last of them mostly not full."""
    rng = np.random.default_rng(seed)
    return [
        case
        for length in rng.integers(1, chunks * 64 // lanes + 1, 2).tolist()
        for case in adversarial_pairs(rng, 1, 1, length * lanes)
    ]


@pytest.mark.parametrize(("lanes", "fraction_bits", "stages"), [(8, 12, 1), (16, 23, 1), (8, 12, 2)])
def test_running_sums_of_chunks_equal_the_oracle(lanes, fraction_bits, stages):
    switches = {"lanes": lanes, "accumulator_fraction_bits": fraction_bits, "chunk": 64}
    every = 4 * stages
    assert chunks_equal(chunked_pairs(4, lanes, 3)[::every], stages, **switches) >= 148 // every


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize("fraction_bits", [4, 7, 12, 20, 23])
def test_many_running_sums_of_chunks_equal_the_oracle(lanes, fraction_bits):
    switches = {"lanes": lanes, "accumulator_fraction_bits": fraction_bits, "chunk": 64}
    assert sum(chunks_equal(chunked_pairs(seed, lanes, 6), **switches) for seed in range(5)) >= 740


# Mutants


def _half_up(_odd: Any, rest: Any) -> Any:
    return rest[-1]


def _truncated(_odd: Any, _rest: Any) -> Any:
    return Const(0, 1)


def _subnormals(value: Any) -> Any:
    return Cat(value[:7], value[7:15].any())


class _NearAligner(bitparallel.Aligner):
    """Loses products one position earlier."""

    def elaborate(self, platform: object) -> Any:
        m = super().elaborate(platform)
        with m.If(self.emax - self.exponent >= self.align_range):
            m.d.comb += self.aligned.eq(0)
        return m


class _LateInfinity(read_out.ReadOut):
    """Rounds to an infinity one exponent late."""

    def elaborate(self, platform: object) -> Any:
        m = super().elaborate(platform)
        with m.If(self.exponent == read_out.EXPONENT_OF_FIELD_0 + 255):
            m.d.comb += self.value[:15].eq(0x7F7F)
        return m


class _ForgottenCarry(normaliser.Normaliser):
    """Does not count the exponent up where rounding reaches the next power of two."""

    def elaborate(self, _platform: object) -> Any:
        m = Module()
        m.submodules.whole = whole = normaliser.Normaliser(self.width, self.fraction_bits)
        size = abs(self.sum)
        carry = (abs(whole.s) == 1 << self.fraction_bits) & (size & (size - 1)).any()
        m.d.comb += [
            whole.sum.eq(self.sum),
            whole.emax.eq(self.emax),
            self.s.eq(whole.s),
            self.exponent.eq(whole.exponent - carry),
        ]
        return m


class _ShortAdder(adders.AdderTree):
    """Loses the top bit of its first addend: only the largest products have it."""

    def elaborate(self, _platform: object) -> Any:
        m = Module()
        m.submodules.whole = whole = adders.AdderTree(self.count, len(self.addends[0]))
        m.d.comb += [whole.addends.eq(self.addends), self.sum.eq(whole.sum)]
        m.d.comb += whole.addends[0].eq(self.addends[0][:-2].as_signed())
        return m


class _EqualSigns(bitparallel.Multiplier):
    """Takes a product of two negative values for negative."""

    def elaborate(self, platform: object) -> Any:
        m = super().elaborate(platform)
        m.d.comb += self.negative.eq(self.x[15] | self.y[15])
        return m


MUTANTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "ties are rounded up": (rounding, "rounds_up", _half_up),
    "rounding is truncation": (rounding, "rounds_up", _truncated),
    "subnormals are multiplied": (bitparallel, "significand", _subnormals),
    "the shifter is one position shorter": (bitparallel, "Aligner", _NearAligner),
    "emax is the smallest exponent": (bitparallel, "largest", lambda _, values: values[-1]),
    "a sign is or-ed": (bitparallel, "Multiplier", _EqualSigns),
    "an addend loses a bit": (bitparallel, "AdderTree", _ShortAdder),
    "a carry is not counted": (bitparallel, "Normaliser", _ForgottenCarry),
    "overflow comes late": (bitparallel, "ReadOut", _LateInfinity),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_differs_from_the_oracle(mutant, monkeypatch):
    module, name, changed = MUTANTS[mutant]
    monkeypatch.setattr(module, name, changed)
    with pytest.raises(AssertionError, match="row"):
        # So narrow that every corner of rounding is met soon.
        sets_equal(pairs(3, 5), align_range=8, accumulator_fraction_bits=4)


class _LongChunks(bitparallel.ChunkCounter):
    """Counts a set too many."""

    def __init__(self, sets: int) -> None:
        super().__init__(sets + 1)


class _ApartChunks(bitparallel.ChunkCounter):
    """Begins the running sum anew with every chunk."""

    def elaborate(self, platform: object) -> Any:
        self.onto = Signal()  # a wire to nowhere
        return super().elaborate(platform)


def _short_register(m: Any, name: str, values: Any) -> Any:
    """The first product comes a cycle early."""
    return [*pipeline.registered(m, name, values[:4]), values[4], *pipeline.registered(m, f"more_{name}", values[5:])]


def test_a_product_in_another_stage_differs_from_the_oracle(monkeypatch):
    monkeypatch.setattr(bitparallel, "registered", _short_register)
    with pytest.raises(AssertionError, match="row"):
        sets_equal(pairs(3, 5), stages=2)


@pytest.mark.parametrize("mutant", [_LongChunks, _ApartChunks])
def test_a_mutant_of_chunks_differs_from_the_oracle(mutant, monkeypatch):
    monkeypatch.setattr(bitparallel, "ChunkCounter", mutant)
    with pytest.raises(AssertionError, match="row"):
        chunks_equal(chunked_pairs(4, 8, 3)[::4], chunk=64)
