"""Arrays as pointers, for kernels: where a contiguous array's elements begin, indexed as the array is.

Numba counts references to arrays, even around every step of a kernel, and each count empties all vector registers; of
pointers it does not.  An index into a pointer counts from its beginning and is not checked, as one into a C array.  And
pointers compile in a fraction of the time: an array is seven values, whose slices and indices are looked after one by
one.
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic


def first_element(context: Any, builder: Any, kind: Any, elements: Any) -> Any:
    """Where the elements of a contiguous array begin in LLVM; of a pointer, there."""
    if isinstance(kind, types.CPointer):
        return elements
    if kind.layout != "C":
        raise TypingError(f"a pointer is made of a contiguous array alone, not of {kind}")
    return context.make_array(kind)(context, builder, elements).data


@intrinsic
def data(typing: Any, elements: Any) -> Any:
    """Where a contiguous array's elements begin; a pointer is that already."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return first_element(context, builder, sig.args[0], args[0])

    return types.CPointer(elements.dtype)(elements), generate


@intrinsic
def pointers(typing: Any, arrays: Any) -> Any:
    """A named tuple with the `data` of every array that is in it."""
    kinds = [types.CPointer(kind.dtype) if isinstance(kind, types.Array) else kind for kind in arrays]
    result = types.NamedTuple(kinds, arrays.instance_class)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = [
            first_element(context, builder, kind, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(sig.args[0], cgutils.unpack_tuple(builder, args[0]), strict=True)
        ]
        return context.make_tuple(builder, result, values)

    return result(arrays), generate


@intrinsic
def onward(typing: Any, elements: Any, by: Any) -> Any:
    """A pointer moved on by so many elements."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return elements(elements, types.intp), generate
