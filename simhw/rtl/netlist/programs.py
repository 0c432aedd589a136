"""Cell functions as steps of two operands, which a kernel takes without looking at what they are.

A step is ``c0 ^ c1 a ^ c2 b ^ c3 a b`` with constants that are all ones or all zeros: every function of two bits is one
of these, inversions of operands and of the result included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simhw.rtl.netlist.functions import Function


class Operand(NamedTuple):
    """A pin, or what an earlier step gave (its number); inverted or not."""

    source: str | int
    inverted: bool


class Step(NamedTuple):
    """Coefficients c0 to c3, and the two operands."""

    coefficients: tuple[bool, bool, bool, bool]
    a: str | int
    b: str | int


@dataclass(frozen=True, eq=False)
class Program:
    """The steps of all gates, gate after gate; the last one of each gives its output.

    Attributes
    ----------
    first : (gates + 1,) int64
        Where each gate's steps begin.
    operands : (steps, 2) int64
        Nets; from `scratch` on, what the steps of the same gate gave.
    coefficients : (steps, 4) uint64
    scratch : int
        Number of nets.
    rows : int
        Rows of values to have: nets and scratch.
    """

    first: npt.NDArray[np.int64]
    operands: npt.NDArray[np.int64]
    coefficients: npt.NDArray[np.uint64]
    scratch: int
    rows: int

    @property
    def gates(self) -> int:
        """How many there are."""
        return len(self.first) - 1

    @staticmethod
    def of(functions: Sequence[Function], net_of: Callable[[int, str], int], nets: int) -> "Program":
        """The program of gates.

        Parameters
        ----------
        functions : sequence of Function
        net_of : callable
            The net at a pin of gate number so and so.
        nets : int
        """
        first, operands, coefficients, longest = [0], [], [], 0
        for gate, function in enumerate(functions):
            steps = compiled(function)
            for step in steps:
                operands.append(
                    [nets + each if isinstance(each, int) else net_of(gate, each) for each in (step.a, step.b)]
                )
                coefficients.append([0xFFFF_FFFF_FFFF_FFFF if each else 0 for each in step.coefficients])
            first.append(len(operands))
            longest = max(longest, len(steps))
        return Program(
            np.array(first, np.int64),
            np.array(operands, np.int64).reshape(-1, 2),
            np.array(coefficients, np.uint64).reshape(-1, 4),
            nets,
            nets + longest,
        )

    def levels(self) -> npt.NDArray[np.bool_]:
        """(nets, depth + 1): whether there is a way of so many gates to a net from a net that no gate drives.

        With a delay of one unit a gate, these are the times after a clock edge at which it may change.
        """
        first_gate = self.scratch - self.gates
        times: list[int] = [1] * first_gate  # bit t: time t
        times[:2] = [0, 0]  # constants never change
        for gate in range(self.gates):
            after = 0
            for net in self.operands[self.first[gate] : self.first[gate + 1]].ravel().tolist():
                if net < self.scratch:
                    after |= times[net] << 1
            times.append(after)
        depth = max((each.bit_length() for each in times), default=1)
        return np.array([[each >> t & 1 for t in range(depth)] for each in times], bool)


@cache
def compiled(function: Function) -> tuple[Step, ...]:
    """A function's steps, at least one."""
    steps: list[Step] = []
    result = _compile(function, steps)
    if isinstance(result.source, int) and result.source == len(steps) - 1:
        last = steps[-1]
        steps[-1] = last._replace(coefficients=(last.coefficients[0] ^ result.inverted, *last.coefficients[1:]))
    else:  # a pin or a constant as it is, or inverted
        steps.append(_step("|", result, result))
    return tuple(steps)


def _compile(function: Function, steps: list[Step]) -> Operand:
    if function.operator == "pin":
        return Operand(function.pin, False)
    if function.operator in ("0", "1"):
        return Operand("0", function.operator == "1")
    operands = [_compile(operand, steps) for operand in function.operands]
    if function.operator == "!":
        return operands[0]._replace(inverted=not operands[0].inverted)
    steps.append(_step(function.operator, *operands))
    return Operand(len(steps) - 1, False)


def _step(operator: str, a: Operand, b: Operand) -> Step:
    if operator == "^":
        return Step((a.inverted ^ b.inverted, True, True, False), a.source, b.source)
    # De Morgan: a | b = !(!a & !b).
    either = operator == "|"
    p, q = a.inverted ^ either, b.inverted ^ either
    return Step(((p and q) ^ either, q, p, True), a.source, b.source)
