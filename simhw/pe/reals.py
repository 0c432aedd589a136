"""Vectors of floating-point numbers as Numba values: sums of products and accumulators that the processor rounds.

A `Reals` is WIDTH float32 numbers, one for each of `Words`; a `LongReals` is WIDTH float64 numbers, one for each of
`LongWords`.  They hold integers, exactly up to 2**24 (2**53).  Adding `unit_rounder` rounds to a whole number, to
nearest even, in one operation; with integers that takes ten.

The elements of a `Reals` stand in another order than the words: all even ones, then all odd ones.  That is the order in
which pairs of 16-bit words become 32-bit integers without crossing the register.  Only `whole_numbers` and
`from_whole_numbers`, which meet memory, need to know.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from simhw.pe.stack import StackType, vectors_of
from simhw.pe.straight import operation
from simhw.pe.vector import (
    WIDTH,
    LongSums,
    LongWords,
    Sums,
    VectorType,
    Words,
    llvm_shuffle,
    llvm_splat,
    llvm_vector,
)
from simhw.pointers import first_element

_HALF = WIDTH // 2
_ORDER = [*range(0, WIDTH, 2), *range(1, WIDTH, 2)]
"""Words in the order of `Reals`."""


class RealType(types.Type):
    """WIDTH floating-point numbers of one kind."""

    def __init__(self, name: str, element: Any, fraction_bits: int, bias: int, sums: VectorType) -> None:
        self.element, self.fraction_bits, self.bias, self.sums = element, fraction_bits, bias, sums
        super().__init__(name=name)


Reals = RealType("Reals", ir.FloatType(), 23, 127, Sums)
LongReals = RealType("LongReals", ir.DoubleType(), 52, 1023, LongSums)
_OF_WORDS: dict[VectorType, RealType] = {Words: Reals, LongWords: LongReals}
_OF_SUMS: dict[VectorType, RealType] = {Sums: Reals, LongSums: LongReals}


def _llvm_real(real: RealType) -> ir.VectorType:
    return ir.VectorType(real.element, WIDTH)


@register_model(RealType)
class _RealModel(models.PrimitiveModel):
    def __init__(self, manager: Any, real: RealType) -> None:
        super().__init__(manager, real, _llvm_real(real))


def _register(function: Any, instruction: str) -> None:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)

    cases = [signature(real, real, real) for real in (Reals, LongReals)]
    infer_global(function)(type("RealOperator", (ConcreteTemplate,), {"cases": cases}))
    for real in (Reals, LongReals):
        lower_builtin(function, real, real)(lower)


_register(operator.add, "fadd")
_register(operator.sub, "fsub")


# ---- shuffles and constants -----------------------------------------------------------------------------------------


def _joined(builder: Any, even: Any, odd: Any) -> Any:
    return llvm_shuffle(builder, even, odd, list(range(WIDTH)))


def _halves(builder: Any, vector: Any) -> tuple[Any, Any]:
    return (
        llvm_shuffle(builder, vector, vector, list(range(_HALF))),
        llvm_shuffle(builder, vector, vector, list(range(_HALF, WIDTH))),
    )


def _pairs(builder: Any, words: Any) -> Any:
    """Pairs of 16-bit words as 32-bit integers, the even word low."""
    return builder.bitcast(words, ir.VectorType(ir.IntType(32), _HALF))


def _unsigned(builder: Any, words: Any, kind: RealType) -> Any:
    """Words as integers of twice the width, in the order of their numbers."""
    if kind is LongReals:
        return builder.zext(words, llvm_vector(kind.sums))
    pairs = _pairs(builder, words)
    even = builder.and_(pairs, _constant(pairs.type, 0xFFFF))
    return _joined(builder, even, builder.lshr(pairs, _constant(pairs.type, 16)))


def _constant(kind: Any, value: Any) -> Any:
    return ir.Constant(kind, [value] * kind.count)


# ---- to and from words, sums and bits -------------------------------------------------------------------------------


@operation
def real(typing: Any, value: Any, words: Any) -> Any:
    """A float in every element of a vector that goes with `words`."""
    kind = _OF_WORDS[words]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        scalar = context.cast(builder, args[0], sig.args[0], types.float64)
        if kind is Reals:
            scalar = builder.fptrunc(scalar, kind.element)
        return llvm_splat(builder, _llvm_real(kind), scalar)

    return kind(value, words), generate


@operation
def unit_rounder(typing: Any, words: Any) -> Any:
    """1.5 * 2**23 (2**52): a sum with it has no room for fractions, for either sign of a number up to 2**22 (2**51)."""
    kind = _OF_WORDS[words]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _constant(_llvm_real(kind), 1.5 * 2.0**kind.fraction_bits)

    return kind(words), generate


@operation
def negative_power(typing: Any, words: Any) -> Any:
    """2**-word of every word, which is at most 126."""
    kind = _OF_WORDS[words]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        sums = llvm_vector(kind.sums)
        wide = _unsigned(builder, args[0], kind)
        place = _constant(sums, kind.fraction_bits)
        bits = builder.sub(_constant(sums, kind.bias << kind.fraction_bits), builder.shl(wide, place))
        return builder.bitcast(bits, _llvm_real(kind))

    return kind(words), generate


@operation
def bits_of(typing: Any, reals: Any) -> Any:
    """The bits of every number, as `Sums` (`LongSums`) in the order of the numbers."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], llvm_vector(reals.sums))

    return reals.sums(reals), generate


@operation
def real_of_bits(typing: Any, bits: Any) -> Any:
    """What `bits_of` takes apart."""
    kind = _OF_SUMS[bits]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _llvm_real(kind))

    return kind(bits), generate


@operation
def words_of_bits(typing: Any, bits: Any) -> Any:
    """`Words` (`LongWords`) from the low halves of integers in the order of `Reals` (`LongReals`)."""
    target = Words if bits is Sums else LongWords

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if target is LongWords:
            return builder.trunc(args[0], llvm_vector(target))
        even, odd = _halves(builder, args[0])
        low = builder.and_(even, _constant(even.type, 0xFFFF))
        return builder.bitcast(builder.or_(low, builder.shl(odd, _constant(odd.type, 16))), llvm_vector(target))

    return target(bits), generate


@operation
def from_whole_numbers(typing: Any, sums: Any) -> Any:
    """Integers in the order of the words as floating-point numbers."""
    kind = _OF_SUMS[sums]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        ordered = llvm_shuffle(builder, args[0], args[0], _ORDER) if kind is Reals else args[0]
        return builder.sitofp(ordered, _llvm_real(kind))

    return kind(sums), generate


@operation
def whole_numbers(typing: Any, reals: Any) -> Any:
    """Floating-point numbers without fractions as integers in the order of the words."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        integers = builder.fptosi(args[0], llvm_vector(reals.sums))
        if reals is LongReals:
            return integers
        return llvm_shuffle(builder, integers, integers, [_ORDER.index(lane) for lane in range(WIDTH)])

    return reals.sums(reals), generate


@operation
def fraction_bits_of(typing: Any, reals: Any) -> Any:
    """Stored fraction bits of a number, a constant of the vector's type."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(64), reals.fraction_bits)

    return types.int64(reals), generate


@operation
def bias_of(typing: Any, reals: Any) -> Any:
    """What is added to a number's exponent, a constant of the vector's type; the field holds up to twice that + 1."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(64), reals.bias)

    return types.int64(reals), generate


@operation
def load_singles(typing: Any, array: Any, words: Any) -> Any:
    """The float32 numbers of a contiguous array, or from a pointer on, one for each of `words`."""
    kind = _OF_WORDS[words]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        singles = builder.load(_singles(context, builder, sig.args[0], args[0]), align=4)
        if kind is Reals:
            return llvm_shuffle(builder, singles, singles, _ORDER)
        return builder.fpext(singles, _llvm_real(kind))

    return kind(array, words), generate


@operation
def store_singles(typing: Any, array: Any, reals: Any) -> Any:
    """Put numbers where `load_singles` finds them."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if reals is Reals:
            singles = llvm_shuffle(builder, args[1], args[1], [_ORDER.index(lane) for lane in range(WIDTH)])
        else:
            singles = builder.fptrunc(args[1], _llvm_real(Reals))
        builder.store(singles, _singles(context, builder, sig.args[0], args[0]), align=4)
        return context.get_dummy_value()

    return types.void(array, reals), generate


def _singles(context: Any, builder: Any, kind: Any, elements: Any) -> Any:
    return builder.bitcast(first_element(context, builder, kind, elements), _llvm_real(Reals).as_pointer())


# ---- arithmetic -----------------------------------------------------------------------------------------------------


@operation
def fused(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """X * Y + Z, rounded once."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fused(builder, *args)

    return x(x, y, z), generate


def _fused(builder: Any, x: Any, y: Any, z: Any) -> Any:
    kind = ir.FunctionType(x.type, [x.type] * 3)
    name = f"llvm.fma.v{WIDTH}f{32 if x.type.element == ir.FloatType() else 64}"
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, [x, y, z])


@operation
def plus_scaled(typing: Any, sums: Any, reals: Any, exponents: Any, offset: Any) -> Any:
    """Sums + reals * 2**(exponents - offset), in float64, rounded to float32."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        double, integer = _llvm_real(LongReals), llvm_vector(LongSums)
        wide = (
            builder.zext(_unsigned(builder, args[2], reals), integer)
            if reals is Reals
            else _unsigned(builder, args[2], reals)
        )
        bias = builder.sub(ir.Constant(ir.IntType(64), LongReals.bias), args[3])
        places = builder.add(wide, llvm_splat(builder, integer, bias))
        power = builder.bitcast(builder.shl(places, _constant(integer, LongReals.fraction_bits)), double)
        terms = [x if reals is LongReals else builder.fpext(x, double) for x in args[:2]]
        rounded = builder.fptrunc(builder.fadd(terms[0], builder.fmul(terms[1], power)), _llvm_real(Reals))
        return rounded if reals is Reals else builder.fpext(rounded, double)

    return sums(sums, reals, exponents, types.int64), generate


@operation
def products(typing: Any, values: Any, significands: Any, bits: Any) -> Any:
    """The sum over the lanes of two stacks of their words' products, taken as signed.

    ``bits`` is how many it takes, the sign included: exact up to 25 (54).
    """
    if not isinstance(values, StackType) or values != significands:
        return None
    kind = _OF_WORDS[values.vector]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = list(zip(vectors_of(builder, args[0]), vectors_of(builder, args[1]), strict=True))
        if kind is LongReals:
            return _long_products(builder, lanes, args[2])
        even, odd = (
            _sum_of_products(builder, [(half(builder, x), half(builder, y)) for x, y in lanes])
            for half in (_even_words, _odd_words)
        )
        return builder.sitofp(_joined(builder, even, odd), _llvm_real(kind))

    return kind(values, significands, types.int64), generate


def _long_products(builder: Any, lanes: list[tuple[Any, Any]], bits: Any) -> Any:
    """`products` as `LongReals`: of integers where 32 bits hold the sum, which saves converting every operand."""
    kind = _llvm_real(LongReals)
    with builder.if_else(builder.icmp_signed("<=", bits, ir.Constant(bits.type, 32))) as (short, long):
        with short:
            whole, after_integers = builder.sitofp(_sum_of_products(builder, lanes), kind), builder.block
        with long:
            first, *others = [tuple(builder.sitofp(vector, kind) for vector in lane) for lane in lanes]
            added = builder.fmul(*first)
            for value, significand in others:
                added = _fused(builder, value, significand, added)
            after_reals = builder.block
    chosen = builder.phi(kind)
    chosen.add_incoming(whole, after_integers)
    chosen.add_incoming(added, after_reals)
    return chosen


def _sum_of_products(builder: Any, lanes: list[tuple[Any, Any]]) -> Any:
    """Sum over the lanes of the products of integers: LLVM makes one multiply-add of each that fit 16 bits."""
    added = None
    for lane in lanes:
        product = builder.mul(*lane)
        added = product if added is None else builder.add(added, product)
    return added


def _even_words(builder: Any, words: Any) -> Any:
    pairs = _pairs(builder, words)
    places = _constant(pairs.type, 16)
    return builder.ashr(builder.shl(pairs, places), places)


def _odd_words(builder: Any, words: Any) -> Any:
    pairs = _pairs(builder, words)
    return builder.ashr(pairs, _constant(pairs.type, 16))
