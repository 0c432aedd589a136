"""The FPRaker processing element.

An operand set is taken in the last cycle of the one before it, so that sets follow each other without a gap: the term
encoders and the exponent block work one set ahead, and what they give is registered.  In the first cycle of a set the
accumulator takes part in the maximum and is aligned to it; in the last it is normalised.  Both need the sum of the set
before, and so lie on the path of a cycle.  Source: spec page fpraker.md, section 2.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout, View
from amaranth.lib.wiring import In, Out

from simhw.pe.fpraker.parameters import FPRakerPE
from simhw.rtl.adders import AdderTree
from simhw.rtl.chunks import ChunkCounter
from simhw.rtl.encoder import POSITIONS
from simhw.rtl.fpraker.alignment import Alignment
from simhw.rtl.fpraker.exponents import ExponentBlock
from simhw.rtl.fpraker.offsets import Offset
from simhw.rtl.fpraker.serial import SerialEncoders
from simhw.rtl.fpraker.shifters import BaseShifter, LaneShifter, lane_bits
from simhw.rtl.fpraker.widths import Widths
from simhw.rtl.fpraker.window import ShiftWindow
from simhw.rtl.normaliser import EXPONENT_BITS, Normaliser
from simhw.rtl.read_out import ReadOut
from simhw.rtl.rounding import RoundOff
from simhw.rtl.running_sum import RunningSum


class TermPE(wiring.Component):
    """A PE without what it shares with others: digits come from the encoders, exponents from the exponent block.

    A set is taken in a cycle with `valid` and `take`.  `restart` beside it begins a reduction with a cleared
    accumulator, and `last` ends one.  While a set is at work, `busy`, the lanes that fire are told, those of them whose
    term is in bounds and `adds`, and those that wait outside the window, with `starts` in the set's first cycle and
    `ends` in its last.  In the cycle after it `integer` and `exponent` tell the accumulator and `output` its bfloat16;
    with chunks `output` is that of the running sum, another cycle after the `last` set.

    With ``oob: column`` it tells which of its digits are `in_bounds`, and the column in the first cycle which are
    `needed`.  With `shared_pointers` (``sync: term``) the digits not yet fired are the column's: `pending`.  A lane in
    which the first of them has not fired, and `stays`, keeps the column from moving on; in a cycle with `moves` it
    does.
    """

    def __init__(self, pe: FPRakerPE, shared_pointers: bool = False) -> None:
        self.pe, self.shared_pointers = pe, shared_pointers
        self.widths = widths = Widths(pe)
        lanes = pe.lanes
        digits = ArrayLayout(POSITIONS, lanes)
        of_column = {"in_bounds": Out(digits), "needed": In(digits)} if pe.oob == "column" else {}
        shared = {"pending": In(digits), "stays": Out(lanes), "moves": In(lanes)}
        super().__init__(
            {
                **of_column,
                **(shared if shared_pointers else {"digits": In(digits)}),
                "valid": In(1),
                "restart": In(1),
                "last": In(1),
                "negative": In(digits),
                "signs": In(lanes),
                "fractions": In(ArrayLayout(7, lanes)),
                "lane_valid": In(lanes),
                "exponents": In(ArrayLayout(EXPONENT_BITS, lanes)),
                "largest": In(EXPONENT_BITS),
                "take": Out(1),
                "busy": Out(1),
                "starts": Out(1),
                "ends": Out(1),
                "fires": Out(lanes),
                "adds": Out(lanes),
                "waits": Out(lanes),
                "integer": Out(signed(widths.integer_bits)),
                "exponent": Out(EXPONENT_BITS),
                "output": Out(16),
            }
        )

    def give(self, m: Module, a: View, b: View) -> None:
        """Connect a set but for its exponents: A as its encoders give it, B as bfloat16 patterns."""
        lanes = range(self.pe.lanes)
        m.d.comb += [
            self.negative.eq(a.negative),
            self.signs.eq(a.signs ^ Cat(b[i][15] for i in lanes)),
            *(self.fractions[i].eq(b[i][:7]) for i in lanes),
        ]
        if not self.shared_pointers:
            m.d.comb += self.digits.eq(a.digits)

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        widths, lanes = self.widths, self.pe.lanes
        # The set at work.
        negative = Signal(ArrayLayout(POSITIONS, lanes))
        signs = Signal(lanes)
        fractions = Signal(ArrayLayout(7, lanes))
        exponents = Signal(ArrayLayout(EXPONENT_BITS, lanes))
        largest = Signal(EXPONENT_BITS)
        restarts = Signal()
        restart: Value = self.restart
        # S within a set, of which `guard_bits` lie below the last of its fraction bits, and its exponent.
        register = Signal(signed(widths.sum_bits))
        guard_bits = widths.sum_fraction_bits - widths.fraction_bits

        m.submodules.alignment = alignment = Alignment(widths)
        kept = Mux(restarts, 0, self.integer)
        emax, start = Signal(EXPONENT_BITS), Signal(signed(widths.sum_bits))
        m.d.comb += [
            self.integer.eq(register >> guard_bits),
            alignment.integer.eq(kept),
            alignment.exponent.eq(Mux(restarts, 0, self.exponent)),
            alignment.largest.eq(largest),
            emax.eq(Mux(self.starts, alignment.emax, self.exponent)),
            start.eq(Mux(self.starts, alignment.aligned << guard_bits, register)),
        ]

        m.submodules.window = window = ShiftWindow(lanes, widths)
        m.submodules.adder_tree = adder_tree = AdderTree(lanes, lane_bits(widths.reach))
        m.submodules.base_shifter = base_shifter = BaseShifter(widths, len(adder_tree.sum))
        # A window on positions leaves the offsets anywhere in bounds, so lanes are shifted from the top alone.
        base = window.base if self.pe.window_on == "offset" else 0
        m.d.comb += [base_shifter.base.eq(base), base_shifter.sum.eq(adder_tree.sum)]
        unfinished = Signal(lanes)
        for i in range(lanes):
            m.submodules[f"offset_{i}"] = offset = Offset(widths)
            m.submodules[f"shifter_{i}"] = shifter = LaneShifter(widths.reach)
            fires = window.fires[i]
            fired = self._point(m, i, offset, fires)
            m.d.comb += [
                offset.emax.eq(emax),
                offset.exponent.eq(exponents[i]),
                offset.negative.eq(negative[i]),
                window.ready[i].eq(offset.ready & ~fired),
                window.places[i].eq(offset.offset if self.pe.window_on == "offset" else offset.place),
                shifter.fires.eq(fires & offset.adds),
                self.adds[i].eq(self.busy & shifter.fires),
                shifter.negative.eq(signs[i] ^ offset.negative_term),
                shifter.significand.eq(fractions[i] | 0x80),
                shifter.lag.eq(offset.offset - base),
                adder_tree.addends[i].eq(shifter.addend),
                unfinished[i].eq(Mux(fires | fired, offset.rest.any(), offset.ready)),
            ]

        total = Signal(signed(widths.sum_bits))
        excess = widths.addend_fraction_bits - widths.sum_fraction_bits
        m.submodules.round_addend = round_addend = RoundOff(widths.addend_bits, max(excess, 0))
        m.d.comb += [
            round_addend.value.eq(base_shifter.addend),
            total.eq(start + (round_addend.rounded << max(-excess, 0))),
        ]
        # A set is rounded to F fraction bits, and by normalisation once more if it has grown.
        m.submodules.round_sum = round_sum = RoundOff(widths.sum_bits, guard_bits)
        m.submodules.normaliser = normaliser = Normaliser(len(round_sum.rounded), widths.fraction_bits)
        if self.pe.chunk == "off":
            m.submodules.read_out = read_out = ReadOut(widths.fraction_bits)
        else:
            m.submodules.running_sum = read_out = RunningSum(widths.fraction_bits)
            restart = self._count_chunks(m, read_out, self.pe.chunk // lanes)
        m.d.comb += [
            round_sum.value.eq(total),
            normaliser.sum.eq(round_sum.rounded),
            normaliser.emax.eq(emax),
            read_out.s.eq(self.integer),
            read_out.exponent.eq(self.exponent),
            self.output.eq(read_out.value),
            self.fires.eq(Mux(self.busy, window.fires, 0)),
            self.waits.eq(Mux(self.busy, window.ready & ~window.fires, 0)),
            self.ends.eq(self.busy & ~unfinished.any()),
            self.take.eq(~self.busy | self.ends),
        ]
        with m.If(self.busy):
            m.d.sync += self.starts.eq(0)
            with m.If(self.ends):
                m.d.sync += [
                    register.eq(normaliser.s << guard_bits),
                    self.exponent.eq(normaliser.exponent),
                    self.busy.eq(0),
                ]
            with m.Else():
                m.d.sync += [register.eq(total), self.exponent.eq(emax)]
        with m.If(self.take & self.valid):
            m.d.sync += [
                self.busy.eq(1),
                self.starts.eq(1),
                restarts.eq(restart),
                negative.eq(self.negative),
                signs.eq(self.signs),
                fractions.eq(self.fractions),
                exponents.eq(self.exponents),
                largest.eq(self.largest),
            ]
        return m

    def _point(self, m: Module, i: int, offset: Offset, fires: Value) -> Value:
        """Keep a lane's pointer, or follow the column's; gives whether the term that it shows was fired before."""
        taken = self.take & self.valid
        if self.pe.oob == "column":
            m.d.comb += [
                self.in_bounds[i].eq(offset.in_bounds),
                offset.slots.eq(offset.pending & Mux(self.starts, self.needed[i], ~0)),
            ]
        if self.shared_pointers:
            not_empty, fired = Signal(name=f"not_empty_{i}"), Signal(name=f"fired_{i}")
            m.d.comb += [
                offset.pending.eq(Mux(not_empty, self.pending[i], 0)),
                self.stays[i].eq(self.busy & offset.ready & ~fired & ~fires),
            ]
            m.d.sync += fired.eq((fired | (self.busy & fires)) & ~self.moves[i])
            with m.If(taken):
                m.d.sync += not_empty.eq(self.lane_valid[i])
            return fired
        pending = Signal(POSITIONS, name=f"pending_{i}")
        m.d.comb += offset.pending.eq(pending)
        with m.If(self.busy & fires):
            m.d.sync += pending.eq(offset.rest)
        if self.pe.oob == "column":
            with m.Elif(self.starts):
                m.d.sync += pending.eq(offset.slots)
        with m.If(taken):
            m.d.sync += pending.eq(Mux(self.lane_valid[i], self.digits[i], 0))
        return Const(0)

    def _count_chunks(self, m: Module, running_sum: RunningSum, sets: int) -> Value:
        """Fold every chunk in the cycle after its last set, in which the next one begins; gives whether one begins."""
        m.submodules.chunks = chunks = ChunkCounter(sets)
        takes, closes, onto = self.take & self.valid, Signal(), Signal()
        m.d.comb += [chunks.enable.eq(takes), chunks.first.eq(self.restart), chunks.last.eq(self.last)]
        with m.If(takes):
            m.d.sync += [closes.eq(chunks.closes), onto.eq(chunks.onto)]
        # Where a chunk has ended, the register keeps it for one cycle more: the next set starts from a cleared one.
        m.d.sync += [running_sum.fold.eq(self.ends & closes), running_sum.onto.eq(onto)]
        return chunks.begins


class LonePE(wiring.Component):
    """A PE with encoders and an exponent block of its own: two sets of bfloat16 bit patterns in, their sum out."""

    def __init__(self, pe: FPRakerPE) -> None:
        self.pe = pe
        lanes = pe.lanes
        super().__init__(
            {
                "valid": In(1),
                "restart": In(1),
                "last": In(1),
                "a": In(ArrayLayout(16, lanes)),
                "b": In(ArrayLayout(16, lanes)),
                "take": Out(1),
                "busy": Out(1),
                "ends": Out(1),
                "fires": Out(lanes),
                "adds": Out(lanes),
                "waits": Out(lanes),
                "integer": Out(signed(Widths(pe).integer_bits)),
                "exponent": Out(EXPONENT_BITS),
                "output": Out(16),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.core = core = TermPE(self.pe)
        m.submodules.exponent_block = block = ExponentBlock(self.pe.lanes)
        m.submodules.encoders = encoders = SerialEncoders(self.pe.encoder, self.pe.lanes)
        for i in range(self.pe.lanes):
            m.d.comb += [block.a[i].eq(self.a[i][7:15]), block.b[i].eq(self.b[i][7:15])]
        core.give(m, encoders.set, self.b)
        m.d.comb += [
            encoders.a.eq(self.a),
            core.valid.eq(self.valid),
            core.restart.eq(self.restart),
            core.last.eq(self.last),
            core.lane_valid.eq(block.valid),
            core.exponents.eq(block.exponents),
            core.largest.eq(block.largest),
        ]
        if self.pe.oob == "column":  # a column of one
            m.d.comb += core.needed.eq(core.in_bounds)
        for name in ("take", "busy", "ends", "fires", "adds", "waits", "integer", "exponent", "output"):
            m.d.comb += getattr(self, name).eq(getattr(core, name))
        return m
