"""Stacks of vectors as Numba values: one vector of PEs for each of some lanes of a set.

A kernel that treats every lane of a set alike says so once: operators and the functions below work on all vectors of a
stack, and code for another number of lanes is the same code with a stack of another depth.  The vectors are values of
their own in LLVM, so they stay in registers.  An operand that is a vector meets every vector of the stack.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from simhw.pe.straight import operation
from simhw.pe.vector import (
    CACHE_LINE_BYTES,
    INSTRUCTIONS,
    VECTOR_OF_ELEMENT,
    WIDTH,
    VectorType,
    llvm_exchange,
    llvm_intrinsic,
    llvm_shuffle,
    llvm_splat,
    llvm_vector,
)


class StackType(types.Type):
    """A vector for each of `depth` lanes."""

    def __init__(self, vector: VectorType, depth: int) -> None:
        self.vector, self.depth = vector, depth
        super().__init__(name=f"Stack({vector.name}, {depth})")


@register_model(StackType)
class _StackModel(models.PrimitiveModel):
    def __init__(self, manager: Any, stack: StackType) -> None:
        super().__init__(manager, stack, ir.ArrayType(llvm_vector(stack.vector), stack.depth))


def vectors_of(builder: Any, stack: Any) -> list[Any]:
    """The LLVM values of a stack's vectors."""
    return [builder.extract_value(stack, index) for index in range(stack.type.count)]


def _stacked(builder: Any, vectors: list[Any]) -> Any:
    stack = ir.Constant(ir.ArrayType(vectors[0].type, len(vectors)), ir.Undefined)
    for index, vector in enumerate(vectors):
        stack = builder.insert_value(stack, vector, index)
    return stack


def _joint(kinds: tuple[types.Type, ...]) -> StackType | None:
    """The type of what an operation on stacks and vectors gives; None where they do not go together."""
    stacks = [kind for kind in kinds if isinstance(kind, StackType)]
    if not stacks or any(kind not in (stacks[0], stacks[0].vector) for kind in kinds):
        return None
    return stacks[0]


def _each(builder: Any, sig: Any, args: Any, act: Callable[..., Any]) -> Any:
    """What `act` does to one vector, done to every vector of the stacks among the arguments."""
    depth = sig.return_type.depth
    operands = [
        vectors_of(builder, value) if isinstance(kind, StackType) else [value] * depth
        for kind, value in zip(sig.args, args, strict=True)
    ]
    return _stacked(builder, [act(*vectors) for vectors in zip(*operands, strict=True)])


# ---- operators ------------------------------------------------------------------------------------------------------


class _Operator(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        joint = _joint(args)
        return None if joint is None else signature(joint, *args)


def _register(function: Callable[..., Any], names: tuple[str, str]) -> None:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _each(builder, sig, args, getattr(builder, names[sig.return_type.vector.signed]))

    infer_global(function)(type("StackOperator", (_Operator,), {}))
    both = (StackType, StackType), (StackType, VectorType), (VectorType, StackType)
    for operands in ((StackType,),) if function in (operator.invert, operator.neg) else both:
        lower_builtin(function, *operands)(lower)


for _function, _names in INSTRUCTIONS.items():
    _register(_function, _names)


# ---- memory ---------------------------------------------------------------------------------------------------------


@operation
def element(typing: Any, elements: Any, at: Any) -> Any:
    """One element of a pointer's."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(builder.gep(args[0], [args[1]]))

    return elements.dtype(elements, types.intp), generate


@operation(prefer_literal=True)
def load_stack(typing: Any, elements: Any, offsets: Any, at: Any, depth: Any) -> Any:
    """The vectors of `elements` that begin at ``offsets[at]``, ``offsets[at + 1]``, and so on; both are pointers.

    ``depth``, how many, is a literal.
    """
    if not isinstance(depth, types.IntegerLiteral):
        return None
    stack = StackType(VECTOR_OF_ELEMENT[elements.dtype], depth.literal_value)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        first = builder.gep(args[1], [args[2]])
        vectors = []
        for index in range(stack.depth):
            offset = builder.load(builder.gep(first, [ir.Constant(ir.IntType(64), index)]))
            element = builder.gep(args[0], [builder.zext(offset, ir.IntType(64))])
            pointer = builder.bitcast(element, llvm_vector(stack.vector).as_pointer())
            vectors.append(builder.load(pointer, align=stack.vector.bits // 8))
        return _stacked(builder, vectors)

    return stack(elements, offsets, types.intp, depth), generate


@operation(prefer_literal=True)
def spread_stack(typing: Any, scalars: Any, at: Any, like: Any, depth: Any) -> Any:
    """A stack of vectors of ``like``'s type, each with one of the scalars from index ``at`` in every lane.

    The scalars of a pointer are 32 bits each, in which a shorter one stands as often as it fits: processors spread
    32 bits from memory at once, and 16 bits in two steps.
    """
    if not isinstance(depth, types.IntegerLiteral):
        return None
    stack = StackType(like, depth.literal_value)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        first = builder.gep(args[0], [args[1]])
        count = WIDTH * like.bits // 32
        vectors = []
        for index in range(stack.depth):
            scalar = builder.load(builder.gep(first, [ir.Constant(ir.IntType(64), index)]))
            spread = llvm_splat(builder, ir.VectorType(ir.IntType(32), count), scalar)
            vectors.append(builder.bitcast(spread, llvm_vector(like)))
        return _stacked(builder, vectors)

    return stack(scalars, types.intp, like, depth), generate


@operation
def stacked(typing: Any, first: Any, second: Any) -> Any:
    """A stack of two vectors."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _stacked(builder, list(args))

    return StackType(first, 2)(first, second), generate


@operation
def align_frame(typing: Any) -> Any:
    """Let a kernel's own memory begin at a cache line: vectors that find no register lie there.

    Without it they lie where the caller's stack happens to end.  In three processes of four they cross lines, for all
    of their life: up to a quarter of a kernel's time.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.function.attributes.alignstack = CACHE_LINE_BYTES
        # llvmlite writes the alignment only beside an attribute of another kind.
        builder.function.attributes.add("nounwind")
        return context.get_dummy_value()

    return types.void(), generate


# ---- lane by lane, and over the lanes -------------------------------------------------------------------------------


def _stackwise(name: str, operands: int) -> Any:
    """LLVM's intrinsic on every vector of stacks (and vectors)."""

    def build(*kinds: Any) -> Any:
        joint = _joint(kinds)
        if joint is None:
            return None

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            def each(*vectors: Any) -> Any:
                return llvm_intrinsic(builder, name, llvm_vector(joint.vector), list(vectors))

            return _each(builder, sig, args, each)

        return joint(*kinds), generate

    if operands == 1:
        return operation(lambda typing, x: build(x))
    return operation(lambda typing, x, y: build(x, y))


popcount_each = _stackwise("ctpop", 1)
reverse_bits_each = _stackwise("bitreverse", 1)
unsigned_min_each = _stackwise("umin", 2)
signed_max_each = _stackwise("smax", 2)


def _selecting(condition: Callable[..., Any], operands: int) -> Any:
    """An intrinsic that chooses, element by element, between its last two arguments by the `operands` before them."""

    def build(*kinds: Any) -> Any:
        joint = _joint(kinds)
        if joint is None:
            return None

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _each(
                builder, sig, args, lambda *each: builder.select(condition(builder, *each[:operands]), *each[operands:])
            )

        return joint(*kinds), generate

    if operands == 1:
        return operation(lambda typing, x, yes, no: build(x, yes, no))
    return operation(lambda typing, x, y, yes, no: build(x, y, yes, no))


where_zero_each = _selecting(lambda builder, x: builder.icmp_unsigned("==", x, ir.Constant(x.type, None)), 1)
where_negative_each = _selecting(lambda builder, x: builder.icmp_signed("<", x, ir.Constant(x.type, None)), 1)
where_below_each = _selecting(lambda builder, x, y: builder.icmp_unsigned("<", x, y), 2)
"""``yes`` where ``x``, taken as unsigned, is below ``y``."""


@operation(prefer_literal=True)
def exchange_each(typing: Any, stack: Any, distance: Any) -> Any:
    """`exchange` in every vector."""
    if not isinstance(distance, types.IntegerLiteral):
        return None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        exchanged = [llvm_exchange(builder, x, distance.literal_value) for x in vectors_of(builder, args[0])]
        return _stacked(builder, exchanged)

    return stack(stack, distance), generate


@operation(prefer_literal=True)
def load_next(typing: Any, elements: Any, at: Any, depth: Any) -> Any:
    """A stack of the vectors from index ``at`` of ``elements``, a pointer, one after another."""
    if not isinstance(depth, types.IntegerLiteral):
        return None
    stack = StackType(VECTOR_OF_ELEMENT[elements.dtype], depth.literal_value)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = builder.bitcast(builder.gep(args[0], [args[1]]), llvm_vector(stack.vector).as_pointer())
        vectors = []
        for index in range(stack.depth):
            own = builder.gep(pointer, [ir.Constant(ir.IntType(64), index)])
            vectors.append(builder.load(own, align=stack.vector.bits // 8))
        return _stacked(builder, vectors)

    return stack(elements, types.intp, depth), generate


@operation
def store_next(typing: Any, elements: Any, at: Any, stack: Any) -> Any:
    """Put a stack where `load_next` finds it."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = builder.bitcast(builder.gep(args[0], [args[1]]), llvm_vector(stack.vector).as_pointer())
        for index, vector in enumerate(vectors_of(builder, args[2])):
            own = builder.gep(pointer, [ir.Constant(ir.IntType(64), index)])
            builder.store(vector, own, align=stack.vector.bits // 8)
        return context.get_dummy_value()

    return types.void(elements, types.intp, stack), generate


def _over_lanes(joined: Callable[[Any, Any, Any], Any]) -> Any:
    """A vector made of all those of a stack, two at a time: a tree, so that no operation waits for all before it."""

    def build(typing: Any, stack: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            level = vectors_of(builder, args[0])
            while len(level) > 1:
                paired = [joined(builder, x, y) for x, y in zip(level[::2], level[1::2], strict=False)]
                level = paired + level[len(level) // 2 * 2 :]
            return level[0]

        return stack.vector(stack), generate

    return operation(build)


or_over = _over_lanes(lambda builder, x, y: builder.or_(x, y))
sum_over = _over_lanes(lambda builder, x, y: builder.add(x, y))
max_over = _over_lanes(lambda builder, x, y: llvm_intrinsic(builder, "smax", x.type, [x, y]))


min_over = _over_lanes(lambda builder, x, y: llvm_intrinsic(builder, "umin", x.type, [x, y]))


@operation
def count_below(typing: Any, stack: Any, limits: Any) -> Any:
    """How many words of a stack, taken as unsigned, are below those of another, as int64."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count = ir.Constant(ir.IntType(64), 0)
        for x, y in zip(*(vectors_of(builder, own) for own in args), strict=True):
            flags = builder.bitcast(builder.icmp_unsigned("<", x, y), ir.IntType(WIDTH))
            count = builder.add(count, builder.zext(builder.ctpop(flags), ir.IntType(64)))
        return count

    return types.int64(stack, limits), generate


# ---- square blocks --------------------------------------------------------------------------------------------------


@operation
def transpose_block(typing: Any, words: Any) -> Any:
    """Transpose WIDTH x WIDTH 16-bit words in place; ``words`` is a pointer.

    Each step zips the first half of the rows with the second, which moves the row's highest bit to the column's lowest;
    after log2(WIDTH) steps rows and columns have changed places.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = llvm_vector(VECTOR_OF_ELEMENT[words.dtype])
        places = [
            builder.bitcast(builder.gep(args[0], [ir.Constant(ir.IntType(64), row * WIDTH)]), vector.as_pointer())
            for row in range(WIDTH)
        ]
        rows = [builder.load(place, align=2) for place in places]
        half = WIDTH // 2
        for _ in range(WIDTH.bit_length() - 1):
            rows = [
                _zipped(builder, one, other, part)
                for one, other in zip(rows[:half], rows[half:], strict=True)
                for part in (0, half)
            ]
        for row, place in zip(rows, places, strict=True):
            builder.store(row, place, align=2)
        return context.get_dummy_value()

    return types.void(words), generate


def _zipped(builder: Any, one: Any, other: Any, first: int) -> Any:
    """Lanes of two vectors in turn, from lane `first` on."""
    order = [lane + side for lane in range(first, first + WIDTH // 2) for side in (0, WIDTH)]
    return llvm_shuffle(builder, one, other, order)


@operation
def store_signed(typing: Any, elements: Any, at: Any, vector: Any) -> Any:
    """Put a vector, taken as signed, into the elements of a pointer, of at least its width from index ``at``."""
    target = VECTOR_OF_ELEMENT[elements.dtype]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = args[2] if target is vector else builder.sext(args[2], llvm_vector(target))
        place = builder.bitcast(builder.gep(args[0], [args[1]]), llvm_vector(target).as_pointer())
        builder.store(value, place, align=target.bits // 8)
        return context.get_dummy_value()

    return types.void(elements, types.intp, vector), generate
