"""Straight-line parts of kernels, recorded once: what Numba sees of them is one operation each.

For Numba every operation of a function is a statement whose types it infers and whose variables it gives memory, anew
wherever the function is inlined; a kernel of some hundred vector operations takes seconds that way.  A function without
branches or loops needs none of that.  It is called once, in Python, with values that stand for the kernel's and write
down what is done with them, and the record is what is compiled.

`operation` is Numba's `intrinsic` for operations that such functions may use; `straight` makes an operation of a
function.  Integers that a kernel passes as literals reach the function as Python's.
"""

import inspect
import operator
from collections.abc import Callable
from typing import Any

from numba import types
from numba.core.extending import _Intrinsic


class Operation(_Intrinsic):  # type: ignore[misc]  # Numba calls it final
    """An operation that kernels call, and functions that are recorded too."""

    def __call__(self, *args: Any) -> Any:
        record = next(value.record for value in args if isinstance(value, Value))
        kinds = [_kind(value, self._prefer_literal) for value in args]
        sig, generate = self._defn(record.typing, *kinds)
        return record.add(sig, args, generate)


def operation(*function: Callable[..., Any], prefer_literal: bool = False) -> Any:
    """`numba.extending.intrinsic` for functions that `straight` records as well."""

    def define(function: Callable[..., Any]) -> Operation:
        made = Operation(function.__name__, function, prefer_literal=prefer_literal)
        made._register()
        return made

    return define(*function) if function else define


def straight(function: Callable[..., Any]) -> Any:
    """Make one operation of a function without branches or loops."""

    def define(typing: Any, *kinds: Any) -> Any:
        record = _Record(typing, len(kinds))
        own = [_seen(record, index, kind) for index, kind in enumerate(kinds)]
        returned = function(*own)
        results = returned if isinstance(returned, tuple) else (returned,)
        kind = types.BaseTuple.from_types([value.kind for value in results])

        def generate(context: Any, builder: Any, _sig: Any, args: Any) -> Any:
            values = record.replayed(context, builder, args)
            given = [values[value.index] for value in results]
            return context.make_tuple(builder, kind, given) if isinstance(returned, tuple) else given[0]

        return (kind if isinstance(returned, tuple) else results[0].kind)(*kinds), generate

    own = inspect.signature(function)
    typing = inspect.Parameter("typing", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    define.__signature__ = own.replace(parameters=[typing, *own.parameters.values()])  # type: ignore[attr-defined]
    define.__name__, define.__doc__, define.__module__ = function.__name__, function.__doc__, function.__module__
    return operation(define, prefer_literal=True)


def _kind(value: Any, literal: bool) -> Any:
    if isinstance(value, Value):
        return value.kind
    if value is None:
        return types.none
    return types.literal(value) if literal else types.int64


def _seen(record: "_Record", index: int, kind: Any) -> Any:
    """What a function sees of a value: Python's own where its type says all."""
    if isinstance(kind, types.IntegerLiteral):
        return kind.literal_value
    return None if kind is types.none else Value(record, index, kind)


class _Record:
    """What a function does, step by step, to values numbered from its arguments on."""

    def __init__(self, typing: Any, arguments: int) -> None:
        self.typing, self.steps, self.count = typing, list[Callable[..., Any]](), arguments

    def step(self, kind: Any, generate: Callable[[Any, Any, list[Any]], Any]) -> Any:
        """A value of its own, that `generate` makes of context, builder and the values so far."""
        self.steps.append(generate)
        self.count += 1
        return _seen(self, self.count - 1, kind)

    def add(self, sig: Any, args: tuple[Any, ...], generate: Callable[..., Any]) -> Any:
        """The result of an operation of that signature."""

        def step(context: Any, builder: Any, values: list[Any]) -> Any:
            given = [_given(context, builder, values, *pair) for pair in zip(args, sig.args, strict=True)]
            return generate(context, builder, sig, given)

        return self.step(sig.return_type, step)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """The result of an operator."""
        kind = self.typing.resolve_value_type(function)
        sig = kind.get_call_type(self.typing, tuple(_kind(value, literal=False) for value in args), {})
        return self.add(sig, args, lambda context, builder, sig, given: context.get_function(kind, sig)(builder, given))

    def replayed(self, context: Any, builder: Any, args: Any) -> list[Any]:
        """All values, as LLVM's."""
        values = list(args)
        for step in self.steps:
            values.append(step(context, builder, values))
        return values


def _given(context: Any, builder: Any, values: list[Any], value: Any, kind: Any) -> Any:
    """An argument as the operation takes it."""
    if not isinstance(value, Value):
        return context.get_constant(kind, value) if kind is types.int64 else context.get_dummy_value()
    return context.cast(builder, values[value.index], value.kind, kind)


class Value:
    """A value of a kernel in a function that is recorded."""

    def __init__(self, record: _Record, index: int, kind: Any) -> None:
        self.record, self.index, self.kind = record, index, kind

    def __getattr__(self, name: str) -> Any:
        kind = self.__dict__["kind"]
        if not isinstance(kind, types.BaseNamedTuple) or name not in kind.fields:
            raise AttributeError(name)
        return self._member(kind.fields.index(name))

    def __iter__(self) -> Any:
        return iter([self._member(place) for place in range(len(self.kind))])

    def __bool__(self) -> bool:
        raise TypeError("a function that is recorded has no branches")

    def _member(self, place: int) -> Any:
        return self.record.step(
            self.kind[place], lambda _context, builder, values: builder.extract_value(values[self.index], place)
        )


def _add_operators() -> None:
    def forward(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, *other: self.record.call(function, self, *other)

    def backward(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, other: self.record.call(function, other, self)

    for name in ("add", "sub", "mul", "and", "or", "xor", "lshift", "rshift"):
        function = getattr(operator, f"__{name}__")
        setattr(Value, f"__{name}__", forward(function))
        setattr(Value, f"__r{name}__", backward(function))
    for name in ("invert", "neg"):
        setattr(Value, f"__{name}__", forward(getattr(operator, f"__{name}__")))


_add_operators()
