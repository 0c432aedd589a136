"""What a processing element is to the rest of simhw: everything that is asked of one, and nothing else.

A kind of PE is a class derived from `ProcessingElement`, in a room of its own; `simhw.pe.registry` finds it by its
name. Nothing outside the room knows the class.  A run asks the machine's PE how long its tile takes, which operand it
treats apart, what its counters mean, and how to check and to show a tile pass.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.machine.values import MachineValues
from simhw.pe.ladder import Rung
from simhw.pe.operand import OperandChoice, both_choices
from simhw.pe.passes import ParallelRows, Tile
from simhw.pe.signals import Signals
from simhw.pe.structure import Structure
from simhw.trace.layer import Layer, Operation

Values = TypeVar("Values", bound=MachineValues)


@dataclass(frozen=True)
class LaneClass:
    """What a lane may do in a cycle.

    Attributes
    ----------
    name : str
        Of the counter.  The class of lanes that do useful work is called ``useful``.
    meaning : str
        For a reader of a report.
    color : str
        In pictures, ``#RRGGBB``; from Okabe and Ito's palette, which colour-blind readers can tell apart too.
    waiting : bool
        True where no lane of the PE works: it has finished a set and waits for the next one.
    """

    name: str
    meaning: str
    color: str
    waiting: bool = False


class Replay(Protocol):
    """A second, slow and plain implementation of a tile pass.  It shares no arithmetic with the kernels."""

    def tile_pass(
        self, x: BF16Array, y: BF16Array, real_y: npt.NDArray[np.bool_]
    ) -> tuple[int, Counter[str], BF16Array]:
        """Cycles, counters and outputs (rows of X, rows of Y) of one pass.

        Parameters
        ----------
        x : (rows, K) uint16
            At most the rows of X of a tile.
        y : (rows, K) uint16
            The rows of Y of a tile.
        real_y : (rows,) bool
            False for a row of Y that only fills the tile.
        """


class ProcessingElement(ABC, Generic[Values]):
    """A processing element with the parameters of one machine.

    Attributes
    ----------
    kind : str
        As ``pe.kind`` of a machine's file has it.
    values_model : type of MachineValues
        What a file of such a machine may state, with this PE's parameters of ``pe``, ``tile`` and ``lowering``.  A
        class of its own at the top of a module, so that machines can be pickled.
    lane_classes : tuple of LaneClass
        The counters that add up to lanes x PEs x cycles.
    operand_role : str
        What the operand is called that this PE treats apart ("serial"); empty where it treats both alike.
    values
        The machine's constants.
    """

    kind: ClassVar[str]
    values_model: ClassVar[type[MachineValues]]
    lane_classes: ClassVar[tuple[LaneClass, ...]]
    operand_role: ClassVar[str] = ""

    def __init__(self, values: Values) -> None:
        self.values = values

    @property
    @abstractmethod
    def tile(self) -> Tile:
        """A tile of these PEs that runs passes; made once (a `functools.cached_property`)."""

    @abstractmethod
    def replay(self) -> Replay:
        """The second implementation, which ``--check`` compares with the tile."""

    @abstractmethod
    def signals(self, x: BF16Array, parallel: ParallelRows, cycles: int) -> Iterator[Signals]:
        """The signals of the first cycles of a tile pass, for a waveform.

        Parameters
        ----------
        x : (rows, K) uint16
            At most the tile's rows of X.
        parallel : ParallelRows
            One tile of Y.
        cycles : int
            At most the duration of the pass.
        """

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the lane classes."""
        return tuple(each.name for each in self.lane_classes)

    @property
    def least_cycles_per_set(self) -> float:
        """The fewest cycles that a set can take, whatever the values; 0 where a set may take no time."""
        return 1.0

    def choose(self, layer: Layer, operation: Operation) -> list[OperandChoice]:
        """Which tensor takes the X side: one choice, or several of which the fastest counts.

        Parameters
        ----------
        layer : Layer
            Its shapes and statistics may be read, no tensor.
        operation : {"forward", "input_grad", "weight_grad"}
        """
        del layer
        return [both_choices(operation)[0]]

    def bypassed(self, layer: Layer, operation: Operation, choice: OperandChoice) -> bool:
        """True where the parts that ``gated_power`` names have nothing to do in an operation and draw no power."""
        del layer, operation, choice
        return False

    def ladder(self) -> list[Rung]:
        """The limits of the PE and its tile, from what values alone allow to the machine itself; empty for a PE without
        any that could be switched off.
        """
        return []

    def structure(self) -> Structure | None:
        """What a tile consists of, by which area and power follow its values; None where the PE does not say."""
        return None

    def counter_lines(self, counters: Mapping[str, float]) -> list[str]:
        """What the PE's own counters say of a run, a sentence each."""
        del counters
        return []
