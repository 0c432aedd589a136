"""Boolean functions of cells as Liberty writes them: ``!((A & B) | C)``, ``(A B)'``, ``A + B * C``."""

import re
from dataclasses import dataclass

from simhw.errors import SimhwError, quoted

_TOKEN = re.compile(r"\s*(?:([A-Za-z_][\w\[\].]*|[01])|(.))")
_BINARY = {"|": "|", "+": "|", "&": "&", "*": "&", "^": "^"}
_STRENGTH = {"|": 0, "&": 1, "^": 2}
"""What binds more: Liberty's manual has inversion first, then exclusive or, and, or."""


@dataclass(frozen=True)
class Function:
    """A node of a Boolean function.

    Attributes
    ----------
    operator : str
        ``&``, ``|``, ``^``, ``!``, ``pin``, ``0`` or ``1``.
    operands : tuple of Function
    pin : str
        The input that a ``pin`` names.
    """

    operator: str
    operands: tuple["Function", ...] = ()
    pin: str = ""

    @property
    def pins(self) -> tuple[str, ...]:
        """The inputs it depends on, each once, in the order of the text."""
        if self.operator == "pin":
            return (self.pin,)
        return tuple(dict.fromkeys(pin for operand in self.operands for pin in operand.pins))


def read_function(text: str) -> Function:
    """Read a function.

    Raises
    ------
    SimhwError
        It is no Boolean function.
    """
    tokens = [name or sign for name, sign in _TOKEN.findall(text.strip())]
    function, rest = _read_binary(tokens, 0, text)
    if rest:
        raise _wrong(text)
    return function


def _wrong(text: str) -> SimhwError:
    return SimhwError(f"a cell's function is {quoted(text)}, which is no Boolean function of pins with ! ' & * ^ | +")


def _read_binary(tokens: list[str], strength: int, text: str) -> tuple[Function, list[str]]:
    """Operands joined by operators that bind at least so much, and the tokens behind them."""
    left, tokens = _read_unary(tokens, text)
    while tokens and tokens[0] != ")":
        # Nothing between two operands means `and`.
        operator = _BINARY.get(tokens[0], "&")
        if _STRENGTH[operator] < strength:
            break
        right, tokens = _read_binary(tokens[tokens[0] in _BINARY :], _STRENGTH[operator] + 1, text)
        left = Function(operator, (left, right))
    return left, tokens


def _read_unary(tokens: list[str], text: str) -> tuple[Function, list[str]]:
    """A pin, a constant, something in brackets or its inverse, and the tokens behind it."""
    if not tokens:
        raise _wrong(text)
    first, tokens = tokens[0], tokens[1:]
    if first == "!":
        operand, tokens = _read_unary(tokens, text)
        return Function("!", (operand,)), tokens
    if first == "(":
        function, tokens = _read_binary(tokens, 0, text)
        if not tokens:
            raise _wrong(text)
        tokens = tokens[1:]
    elif first in ("0", "1"):
        function = Function(first)
    elif first[0].isalpha() or first[0] == "_":
        function = Function("pin", pin=first)
    else:
        raise _wrong(text)
    while tokens and tokens[0] == "'":
        function, tokens = Function("!", (function,)), tokens[1:]
    return function, tokens
