"""The TensorDash processing element as a whole."""

from collections.abc import Iterator, Mapping
from functools import cached_property

from simhw.bfloat16 import BF16Array
from simhw.pe.ladder import PassTotals, Rung, share
from simhw.pe.operand import OperandChoice, requested_choices
from simhw.pe.passes import ParallelRows, Tile
from simhw.pe.protocol import LaneClass, ProcessingElement, Replay
from simhw.pe.signals import Signals
from simhw.pe.structure import Structure
from simhw.pe.tensordash.apart import OWN_CYCLES, ApartTile
from simhw.pe.tensordash.operand import choose_by_zeros
from simhw.pe.tensordash.parameters import TensorDashValues
from simhw.pe.tensordash.replay import TensorDashReplay
from simhw.pe.tensordash.replay_apart import ApartReplay
from simhw.pe.tensordash.signals import pass_signals
from simhw.pe.tensordash.structure import structure
from simhw.pe.tensordash.tile import TensorDashTile
from simhw.quantities import count
from simhw.trace.layer import OPERANDS, Layer, Operation
from simhw.trace.statistics import statistics_of


class TensorDash(ProcessingElement[TensorDashValues]):
    """Lanes skip pairs with a zero by taking later pairs forward."""

    kind = "tensordash"
    values_model = TensorDashValues
    lane_classes = (
        LaneClass(
            "useful",
            "a pair was multiplied (with one-sided scheduling the operand that is not scheduled may be zero)",
            "#009E73",
        ),
        LaneClass(
            "idle", "nothing to multiply was within the lane's reach, or the PE had no row to work on", "#DDDDDD"
        ),
    )
    operand_role = "scheduled"

    @cached_property
    def tile(self) -> Tile:
        return TensorDashTile(self.values.pe, self.values.tile)

    def replay(self) -> Replay:
        return TensorDashReplay(self.values.pe, self.values.tile)

    def signals(self, x: BF16Array, parallel: ParallelRows, cycles: int) -> Iterator[Signals]:
        return pass_signals(self.values.pe, self.values.tile, x, parallel, cycles)

    @property
    def least_cycles_per_set(self) -> float:
        """All steps of a staging buffer can drain in one cycle."""
        return 1 / self.values.pe.depth

    def choose(self, layer: Layer, operation: Operation) -> list[OperandChoice]:
        """As the file says, else the operand with the larger fraction of zeros."""
        requested = requested_choices(self.values.lowering.scheduled, operation)
        return requested or [choose_by_zeros(layer, operation)]

    def bypassed(self, layer: Layer, operation: Operation, choice: OperandChoice) -> bool:
        """True where an operation has no zeros to skip, so that its schedulers are bypassed and power-gated."""
        pe = self.values.pe
        if pe.gate == "off":
            return False
        both = pe.sides == "two" or choice.per_image is not None
        tensors = OPERANDS[operation] if both else (choice.tensor,)
        return all(statistics_of(layer, tensor).zeros == 0 for tensor in tensors)

    def structure(self) -> Structure:
        return structure(self.values)

    def ladder(self) -> list[Rung]:
        return [
            Rung(
                "non-zero values",
                "the ideal: every multiplier always has a pair, and only those take time that are not skipped as zeros",
                {"pe.order": "any"},
                _pairs,
                element=RowsApart,
            ),
            Rung(
                "look-ahead depth",
                "pairs come from the few steps of the staging buffer",
                {"pe.order": "any"},
                _own_pace,
                element=RowsApart,
            ),
            Rung("options", "a multiplier has wires to a few places of the buffer", {}, _own_pace, element=RowsApart),
            Rung("row synchronisation", "the rows of a tile advance together, as far as the slowest has drained"),
        ]

    def counter_lines(self, counters: Mapping[str, float]) -> list[str]:
        """How many steps were skipped, and how many more could have been."""
        skipped, kept = counters["skipped_steps"], counters["row_sync_steps"]
        return [
            f"Steps: rows of a tile skipped {count(skipped)} steps together; rows had drained another {count(kept)} "
            f"(counted in each cycle that they had to keep them for their neighbours)."
        ]


class RowsApart(TensorDash):
    """TensorDash PEs of which none waits for another before the end of a pass: no hardware, a rung of the ladder."""

    @cached_property
    def tile(self) -> Tile:
        return ApartTile(self.values.pe, self.values.tile)

    def replay(self) -> Replay:
        return ApartReplay(self.values.pe, self.values.tile)


def _pairs(_: TensorDashValues, totals: PassTotals) -> float:
    """Pairs to multiply, a lane each."""
    return share(totals.counters["useful"], totals.fed_macs)


def _own_pace(_: TensorDashValues, totals: PassTotals) -> float:
    """Cycles that the PEs with both rows take for a step by themselves."""
    return share(totals.counters[OWN_CYCLES], totals.filled_sets)
