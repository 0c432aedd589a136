"""A ladder: a machine whose limits are switched off, one after another, from what values alone allow to the machine.

Every rung is a variant of the machine, and what it takes for a set of values.  Between two rungs one limit is switched
on; the ratio of their times is what it costs.  A processing element brings the rungs within its tile passes; what
surrounds these (lanes and PEs without work, tiles that wait, memories) is the same for all machines.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simhw.machine.values import MachineValues


@dataclass(frozen=True)
class PassTotals:
    """What all tile passes of an operation came to on a machine.

    Attributes
    ----------
    tile_cycles : float
        Sum over the passes [tile cycles].
    sets : int
        Sets that the passes execute.
    filled_sets : int
        Sets that PEs execute which have a row of X and one of Y.
    fed_macs : int
        Products that the machine is fed: lanes that have a value of both operands, zeros among them.
    counters : mapping of str to float
    """

    tile_cycles: float
    sets: int
    filled_sets: int
    fed_macs: int
    counters: Mapping[str, float]


Pace = Callable[[Any, PassTotals], float]
"""Cycles that a set takes, from the constants of a machine and what its passes came to."""


def tile_pace(_: "MachineValues", totals: PassTotals) -> float:
    """Cycles of a tile pass for each of its sets."""
    return share(totals.tile_cycles, totals.sets)


def share(amount: float, whole: float) -> float:
    """The quotient; 0 where there is nothing to share."""
    return amount / whole if whole else 0.0


@dataclass(frozen=True)
class Rung:
    """A limit, and the variant of the machine in which it is the last one that is switched on.

    Attributes
    ----------
    limit : str
        Its name; on the first rung what is left where all limits are off.
    meaning : str
        What it does, for a reader of a report.
    overrides : mapping of dotted name to value
        Of the machine's constants, which switch all later limits off.
    pace : callable
        How long a set takes on this rung.
    best_operand : bool
        True where the operand that is treated apart is the better one, whatever the machine chooses.
    element : type of ProcessingElement, optional
        In place of the machine's own, where no constant of a machine switches a limit off.
    """

    limit: str
    meaning: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    pace: Pace = tile_pace
    best_operand: bool = False
    element: type[Any] | None = None
