"""Bit-parallel processing element: a whole set of bfloat16 pairs multiplied, aligned, summed and rounded a cycle.

The products of a set are aligned to the largest exponent of the set and the accumulator, summed exactly with the
accumulator, and rounded once.  A product more than `align_range` positions down is lost.
So whether a product counts hangs on the accumulator's exponent: alignment, adders, rounding and normalisation are a
loop, and a set a cycle leaves them one cycle.  The products and the largest of their exponents are fed forward.
Source: spec page fpraker.md, section 4; the arithmetic is decided in `simhw.pe.bitparallel.kernel`.
"""

from typing import Literal

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from simhw.pe.accumulator import EXPONENT_OFFSET
from simhw.pe.bitparallel.parameters import BitParallelPE
from simhw.rtl.adders import AdderTree
from simhw.rtl.chunks import ChunkCounter
from simhw.rtl.comparators import largest
from simhw.rtl.normaliser import EXPONENT_BITS, Normaliser
from simhw.rtl.pipeline import registered
from simhw.rtl.read_out import ReadOut
from simhw.rtl.rounding import RoundingShifter, RoundOff
from simhw.rtl.running_sum import RunningSum

BFLOAT16 = unsigned(16)
PRODUCT_BITS = 16
PRODUCT_FRACTION_BITS = 14


def significand(value: Value) -> Value:
    """A bfloat16's eight significant bits; none where it is zero or subnormal, which the machine sees as zero."""
    normal = value[7:15].any()
    return Mux(normal, Cat(value[:7], Const(1, 1)), 0)


class Multiplier(wiring.Component):
    """A lane: the exact product of two bfloat16 values, with 14 fraction bits, and its exponent, 0 where it is zero."""

    def __init__(self) -> None:
        super().__init__(
            {
                "x": In(BFLOAT16),
                "y": In(BFLOAT16),
                "negative": Out(1),
                "product": Out(PRODUCT_BITS),
                "exponent": Out(EXPONENT_BITS),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.d.comb += self.negative.eq(self.x[15] ^ self.y[15])
        m.d.comb += self.product.eq(significand(self.x) * significand(self.y))
        x_field, y_field = self.x[7:15], self.y[7:15]
        with m.If(x_field.any() & y_field.any()):
            m.d.comb += self.exponent.eq(x_field + y_field + EXPONENT_OFFSET)
        return m


class Aligner(wiring.Component):
    """A product as a signed number with 14 + `align_range` fraction bits at exponent emax, 0 where it is out of reach.

    No bit is lost on the way: the shifter ends where the product's last bit would leave it.
    """

    def __init__(self, align_range: int) -> None:
        self.align_range = align_range
        super().__init__(
            {
                "negative": In(1),
                "product": In(PRODUCT_BITS),
                "exponent": In(EXPONENT_BITS),
                "emax": In(EXPONENT_BITS),
                "aligned": Out(signed(PRODUCT_BITS + align_range + 1)),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        distance = Signal(EXPONENT_BITS)
        shift = Signal(range(self.align_range + 1))
        magnitude = Signal(unsigned(PRODUCT_BITS + self.align_range))
        m.d.comb += distance.eq(self.emax - self.exponent)
        m.d.comb += shift.eq(distance)
        with m.If(distance <= self.align_range):
            m.d.comb += magnitude.eq(Cat(Const(0, self.align_range), self.product) >> shift)
        m.d.comb += self.aligned.eq(Mux(self.negative, -magnitude, magnitude))
        return m


class BitParallel(wiring.Component):
    """A bit-parallel PE.

    Parameters
    ----------
    stages : int
        Cycles of a set.  The last one is the loop; with two, what is fed forward has the one before.  That is the
        shorter one, so a third would gain nothing.

    Attributes
    ----------
    x, y : In
        A set, taken in a cycle with `enable`.
    first, last : In
        It is the first or the last set of an output.  With the first one the accumulator counts as cleared.
    s, exponent : Out
        The accumulator, `stages` cycles after a set.
    value : Out
        Its bfloat16 pattern.  Where the PE accumulates in chunks, that of the running sum instead, which has an output
        one cycle later.
    """

    def __init__(self, pe: BitParallelPE, stages: Literal[1, 2] = 1) -> None:
        self.pe, self.stages = pe, stages
        bits = pe.accumulator_fraction_bits
        self.read_out = ReadOut(bits) if pe.chunk == "off" else RunningSum(bits)
        operands = ArrayLayout(BFLOAT16, pe.lanes)
        super().__init__(
            {
                "x": In(operands),
                "y": In(operands),
                "enable": In(1),
                "first": In(1),
                "last": In(1),
                "s": Out(signed(bits + 2)),
                "exponent": Out(EXPONENT_BITS),
                "value": Out(BFLOAT16),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        fraction_bits, lanes = self.pe.accumulator_fraction_bits, range(self.pe.lanes)
        multipliers = [Multiplier() for _ in lanes]
        aligners = [Aligner(self.pe.align_range) for _ in lanes]
        fed_forward = [self.enable, self.first, self.last]
        for lane, multiplier in enumerate(multipliers):
            m.submodules[f"multiplier_{lane}"] = multiplier
            m.d.comb += [multiplier.x.eq(self.x[lane]), multiplier.y.eq(self.y[lane])]
            fed_forward += [multiplier.negative, multiplier.product, multiplier.exponent]
        fed_forward.append(largest(m, fed_forward[5::3]))
        if self.stages == 2:
            fed_forward = registered(m, "product", fed_forward)
        enable, first, last, *products, largest_product = fed_forward

        # A cleared accumulator has exponent 0 and loses to every product.
        cleared = self._cleared(m, enable, first, last)
        s, exponent, emax = Signal.like(self.s), Signal.like(self.exponent), Signal(EXPONENT_BITS)
        m.d.comb += [
            s.eq(Mux(cleared, 0, self.s)),
            exponent.eq(Mux(cleared, 0, self.exponent)),
            emax.eq(largest(m, [largest_product, exponent])),
        ]
        m.submodules.adders = adders = AdderTree(len(lanes), len(aligners[0].aligned))
        for lane, aligner in enumerate(aligners):
            m.submodules[f"aligner_{lane}"] = aligner
            negative, product, product_exponent = products[3 * lane : 3 * lane + 3]
            m.d.comb += [
                aligner.negative.eq(negative),
                aligner.product.eq(product),
                aligner.exponent.eq(product_exponent),
                aligner.emax.eq(emax),
                adders.addends[lane].eq(aligner.aligned),
            ]

        # S at exponent emax; beyond F + 2 positions nothing is left of it, so the distance saturates.
        furthest = fraction_bits + 2
        m.submodules.shifter = shifter = RoundingShifter(len(s), furthest)
        distance = Signal(EXPONENT_BITS)
        m.d.comb += [
            distance.eq(emax - exponent),
            shifter.value.eq(s),
            shifter.amount.eq(Mux(distance < furthest, distance, furthest)),
        ]

        # Both addends with the fraction bits of the longer one: their sum is exact, and is rounded to the register's.
        product_fraction_bits = PRODUCT_FRACTION_BITS + self.pe.align_range
        scale = max(product_fraction_bits, fraction_bits)
        total = (adders.sum << (scale - product_fraction_bits)) + (shifter.rounded << (scale - fraction_bits))
        m.submodules.rounding = rounding = RoundOff(len(total), scale - fraction_bits)
        m.submodules.normaliser = normaliser = Normaliser(len(rounding.rounded), fraction_bits)
        m.d.comb += [rounding.value.eq(total), normaliser.sum.eq(rounding.rounded), normaliser.emax.eq(emax)]
        with m.If(enable):
            m.d.sync += [self.s.eq(normaliser.s), self.exponent.eq(normaliser.exponent)]

        m.submodules.read_out = read_out = self.read_out
        m.d.comb += [read_out.s.eq(self.s), read_out.exponent.eq(self.exponent), self.value.eq(read_out.value)]
        return m

    def _cleared(self, m: Module, enable: Value, first: Value, last: Value) -> Value:
        """Whether the accumulator begins anew with this set: that of an output, or of a chunk."""
        if self.pe.chunk == "off":
            return first
        m.submodules.chunks = chunks = ChunkCounter(self.pe.chunk // self.pe.lanes)
        m.d.comb += [
            chunks.enable.eq(enable),
            chunks.first.eq(first),
            chunks.last.eq(last),
        ]
        # In the cycle after a chunk's last set the accumulator holds it, and the running sum takes it.
        m.d.sync += [self.read_out.fold.eq(enable & chunks.closes), self.read_out.onto.eq(chunks.onto)]
        return chunks.begins
