"""Vectors of processing elements as Numba values: one machine operation works on `WIDTH` PEs side by side.

Numba promotes 16-bit integers to 64 bits and leaves it to LLVM to find the vectors again.  These types say it
directly: `Words` is WIDTH unsigned 16-bit words and `Sums` WIDTH signed 32-bit integers; `LongWords` and `LongSums`
are their twins of twice the width, for configurations that need more bits.  Operators work lane by lane and wrap
around.  They are plain LLVM vector types, which LLVM lowers to whatever the processor has (two registers of AVX-512
for one `Sums`, more of AVX2 or NEON), so there is one portable kernel and no second path to keep equal.

Kernels use `load` and `store`, `spread` (one integer to every lane), the operators + - * & | ^ ~ << >> and the
functions below.  A shift amount must be smaller than the lane's width, as in LLVM.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from simhw.pe.straight import operation
from simhw.pointers import first_element

CACHE_LINE_BYTES = 64
WIDTH = 32
"""PEs in a vector: a multiple of the tile's rows or columns, and one AVX-512 register of 16-bit words."""


class VectorType(types.Type):
    """WIDTH integers of one kind."""

    def __init__(self, name: str, bits: int, signed: bool) -> None:
        self.bits, self.signed = bits, signed
        super().__init__(name=name)


Words = VectorType("Words", 16, signed=False)
LongWords = VectorType("LongWords", 32, signed=False)
Sums = VectorType("Sums", 32, signed=True)
LongSums = VectorType("LongSums", 64, signed=True)
VECTORS = (Words, LongWords, Sums, LongSums)
VECTOR_OF_ELEMENT: dict[Any, VectorType] = {
    types.uint16: Words,
    types.uint32: LongWords,
    types.int32: Sums,
    types.int64: LongSums,
}
_SUM_OF = {Words: Sums, LongWords: LongSums}
_INDEX = ir.IntType(32)


def llvm_vector(vector: VectorType) -> ir.VectorType:
    """LLVM's type of a vector."""
    return ir.VectorType(ir.IntType(vector.bits), WIDTH)


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: VectorType) -> None:
        super().__init__(manager, vector, llvm_vector(vector))


def llvm_shuffle(builder: Any, one: Any, other: Any, order: list[int]) -> Any:
    """The elements of two LLVM vectors, counted through both, in an order."""
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(_INDEX, len(order)), order))


def llvm_splat(builder: Any, kind: Any, scalar: Any) -> Any:
    """An LLVM vector of some kind with a scalar in every element."""
    undefined = ir.Constant(kind, ir.Undefined)
    lone = builder.insert_element(undefined, scalar, ir.Constant(_INDEX, 0))
    return llvm_shuffle(builder, lone, undefined, [0] * kind.count)


def llvm_exchange(builder: Any, vector: Any, distance: int) -> Any:
    """What `exchange` does to an LLVM vector."""
    return llvm_shuffle(builder, vector, vector, [lane ^ distance for lane in range(WIDTH)])


def llvm_intrinsic(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """Call an overloaded LLVM intrinsic such as ``llvm.ctpop`` on vectors."""
    lanes = arguments[0].type
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    full = f"llvm.{name}.v{WIDTH}i{lanes.element.width}"
    module = builder.module
    function = module.globals.get(full) or ir.Function(module, kind, full)
    return builder.call(function, arguments)


# ---- operators ------------------------------------------------------------------------------------------------------

INSTRUCTIONS: dict[
    Callable[..., Any], tuple[str, str]
] = {  # the operator's instruction on unsigned and on signed lanes
    operator.add: ("add", "add"),
    operator.sub: ("sub", "sub"),
    operator.mul: ("mul", "mul"),
    operator.and_: ("and_", "and_"),
    operator.or_: ("or_", "or_"),
    operator.xor: ("xor", "xor"),
    operator.lshift: ("shl", "shl"),
    operator.rshift: ("lshr", "ashr"),
    operator.invert: ("not_", "not_"),
    operator.neg: ("neg", "neg"),
}


def _register(function: Callable[..., Any], vector: VectorType, instruction: str, operands: int) -> None:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)

    lower_builtin(function, *[vector] * operands)(lower)


for _function, _names in INSTRUCTIONS.items():
    _operands = 1 if _function in (operator.invert, operator.neg) else 2
    _cases = [signature(vector, *[vector] * _operands) for vector in VECTORS]
    infer_global(_function)(type("VectorOperator", (ConcreteTemplate,), {"cases": _cases}))
    for _vector in VECTORS:
        _register(_function, _vector, _names[_vector.signed], _operands)


# ---- memory and scalars ---------------------------------------------------------------------------------------------


def _pointer(context: Any, builder: Any, kind: Any, elements: Any, index: Any, vector: VectorType) -> Any:
    data = first_element(context, builder, kind, elements)
    return builder.bitcast(builder.gep(data, [index]), llvm_vector(vector).as_pointer())


@operation
def load(typing: Any, array: Any, index: Any) -> Any:
    """The WIDTH elements from ``index`` of a 1-D contiguous integer array, or of a pointer."""
    vector: VectorType = VECTOR_OF_ELEMENT[array.dtype]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1], vector)
        return builder.load(pointer, align=vector.bits // 8)

    return vector(array, types.intp), generate


@operation
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Put a vector where `load` finds it; elements have its lanes' size."""
    if value != VECTOR_OF_ELEMENT.get(array.dtype):
        return None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1], value)
        builder.store(args[2], pointer, align=value.bits // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@operation
def spread(typing: Any, scalar: Any, like: Any) -> Any:
    """A vector of ``like``'s type with ``scalar``, cut to the lane's width, in every lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lane = context.cast(builder, args[0], sig.args[0], types.int64)
        cut = lane if like.bits == 64 else builder.trunc(lane, ir.IntType(like.bits))
        return llvm_splat(builder, llvm_vector(like), cut)

    return like(scalar, like), generate


# ---- lane by lane ---------------------------------------------------------------------------------------------------


def _lanewise(name: str, operands: int, flag: bool = False) -> Any:
    """An intrinsic on ``operands`` vectors of one type; ``flag`` adds LLVM's trailing "zero is poison"
    argument, false.
    """

    def build(vector: Any, *others: Any) -> Any:
        if not isinstance(vector, VectorType) or any(other is not vector for other in others):
            return None

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            extra = [ir.Constant(ir.IntType(1), 0)] if flag else []
            return llvm_intrinsic(builder, name, llvm_vector(vector), [*args, *extra])

        return vector(vector, *others), generate

    if operands == 1:
        return operation(lambda typing, x: build(x))
    return operation(lambda typing, x, y: build(x, y))


popcount = _lanewise("ctpop", 1)
leading_zeros = _lanewise("ctlz", 1, flag=True)
signed_max = _lanewise("smax", 2)
unsigned_min = _lanewise("umin", 2)
magnitude = _lanewise("abs", 1, flag=True)


@operation
def where_zero(typing: Any, condition: Any, yes: Any, no: Any) -> Any:
    """``yes`` in the lanes where ``condition`` is zero, ``no`` elsewhere."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zero = ir.Constant(args[0].type, None)
        return builder.select(builder.icmp_unsigned("==", args[0], zero), args[1], args[2])

    return yes(condition, yes, no), generate


@operation
def where_negative(typing: Any, condition: Any, yes: Any, no: Any) -> Any:
    """``yes`` in the lanes where ``condition``, taken as signed, is negative, ``no`` elsewhere."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zero = ir.Constant(args[0].type, None)
        return builder.select(builder.icmp_signed("<", args[0], zero), args[1], args[2])

    return yes(condition, yes, no), generate


@operation
def any_lane(typing: Any, vector: Any) -> Any:
    """True where any lane is not zero."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lane = args[0].type.element
        together = llvm_intrinsic(builder, "vector.reduce.or", lane, [args[0]])
        return builder.icmp_unsigned("!=", together, ir.Constant(lane, 0))

    return types.boolean(vector), generate


@operation
def total(typing: Any, vector: Any) -> Any:
    """The sum over the lanes, wrapping around at the lane's width, as int64 (unsigned lanes count as unsigned)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        together = llvm_intrinsic(builder, "vector.reduce.add", args[0].type.element, [args[0]])
        if vector.bits == 64:
            return together
        return (builder.sext if vector.signed else builder.zext)(together, ir.IntType(64))

    return types.int64(vector), generate


@operation
def widen(typing: Any, vector: Any) -> Any:
    """Words, taken as signed, as sums of twice the width."""
    target = _SUM_OF[vector]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sext(args[0], llvm_vector(target))

    return target(vector), generate


@operation(prefer_literal=True)
def exchange(typing: Any, vector: Any, distance: Any) -> Any:
    """Lane ``i`` gets the value of lane ``i ^ distance``; ``distance`` is a literal power of two below WIDTH."""
    if not isinstance(distance, types.IntegerLiteral):
        return None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return llvm_exchange(builder, args[0], distance.literal_value)

    return vector(vector, distance), generate


@operation
def nonzero_bits(typing: Any, vector: Any) -> Any:
    """A bit a lane, as int64: bit ``i`` is set where lane ``i`` is not zero."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        flags = builder.icmp_unsigned("!=", args[0], ir.Constant(args[0].type, None))
        return builder.zext(builder.bitcast(flags, ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(vector), generate


@operation
def positions(typing: Any, words: Any) -> Any:
    """Words, taken as unsigned, as positions in an array: `LongSums`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.zext(args[0], llvm_vector(LongSums))

    return LongSums(words), generate


@operation
def four_words(typing: Any, array: Any, offset: Any, places: Any) -> Any:
    """The elements at ``places`` (`LongSums`) + ``offset`` of a 1-D contiguous array of 16-bit words, and the three
    behind each of them: four vectors.
    """
    if places is not LongSums or array.dtype != types.uint16:
        return None
    result = types.UniTuple(Words, 4)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = builder.gep(context.make_array(sig.args[0])(context, builder, args[0]).data, [args[1]])
        quads = ir.Constant(llvm_vector(LongSums), ir.Undefined)
        # A load a lane: processors that have an instruction for all of them are not faster with it.
        for lane in range(WIDTH):
            place = builder.gep(data, [builder.extract_element(args[2], ir.Constant(_INDEX, lane))])
            quad = builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()), align=2)
            quads = builder.insert_element(quads, quad, ir.Constant(_INDEX, lane))
        words = builder.bitcast(quads, ir.VectorType(ir.IntType(16), 4 * WIDTH))
        vectors = [llvm_shuffle(builder, words, words, list(range(word, 4 * WIDTH, 4))) for word in range(4)]
        return context.make_tuple(builder, result, vectors)

    return result(array, types.intp, places), generate


@operation
def count_bits(typing: Any, bits: Any) -> Any:
    """How many lanes' bits of the int64 ``bits`` are set."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.zext(builder.ctpop(builder.trunc(args[0], ir.IntType(WIDTH))), ir.IntType(64))

    return types.int64(types.int64), generate


@operation
def narrow(typing: Any, vector: Any) -> Any:
    """Sums as words of half the width: the low bits of each lane."""
    target = next(half for half, double in _SUM_OF.items() if double is vector)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.trunc(args[0], llvm_vector(target))

    return target(vector), generate


@operation
def lane_bits(typing: Any, vector: Any) -> Any:
    """Bits of a lane, a constant of the vector's type."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(64), vector.bits)

    return types.int64(vector), generate


@operation
def rotate_left(typing: Any, vector: Any, count: Any) -> Any:
    """Each lane's bits rotated towards the high end by the same count, taken modulo the lane's width."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        amount = context.cast(builder, args[1], sig.args[1], types.int64)
        cut = builder.trunc(amount, ir.IntType(vector.bits)) if vector.bits < 64 else amount
        counts = llvm_splat(builder, llvm_vector(vector), cut)
        return llvm_intrinsic(builder, "fshl", llvm_vector(vector), [args[0], args[0], counts])

    return vector(vector, count), generate
