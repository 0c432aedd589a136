"""The FPRaker processing element as a whole."""

from collections.abc import Iterator, Mapping
from functools import cached_property

from simhw.bfloat16 import BF16Array
from simhw.pe.fpraker.ladder import ladder
from simhw.pe.fpraker.parameters import BIT_SLOTS, FPRakerValues
from simhw.pe.fpraker.replay import FPRakerReplay
from simhw.pe.fpraker.signals import pass_signals
from simhw.pe.fpraker.structure import structure
from simhw.pe.fpraker.tile import FPRakerTile
from simhw.pe.ladder import Rung
from simhw.pe.operand import OperandChoice, both_choices, requested_choices
from simhw.pe.passes import ParallelRows
from simhw.pe.protocol import LaneClass, ProcessingElement
from simhw.pe.signals import Signals
from simhw.pe.structure import Structure
from simhw.trace.layer import Layer, Operation
from simhw.trace.statistics import statistics_of

_TERMS = {"processed": "were processed", "skipped_zero": "skipped as zeros", "skipped_oob": "skipped as out of bounds"}


class FPRaker(ProcessingElement[FPRakerValues]):
    """Lanes multiply one signed power of two of the serial operand a cycle."""

    kind = "fpraker"
    values_model = FPRakerValues
    lane_classes = (
        LaneClass("useful", "a term of the serial value was multiplied and added", "#009E73"),
        LaneClass("shift_range", "a term was ready, but lay beyond this cycle's shift window", "#E69F00"),
        LaneClass(
            "no_term",
            "no term was left in the lane (or its value was zero) while another lane of its PE worked",
            "#999999",
        ),
        LaneClass(
            "exponent",
            "the PE had finished, but a set takes no less than the shared exponent block needs "
            "(PEs without rows included)",
            "#CC79A7",
            waiting=True,
        ),
        LaneClass("inter_pe", "the PE had finished and waited for the slowest PE of its tile", "#56B4E9", waiting=True),
    )
    operand_role = "serial"

    @cached_property
    def tile(self) -> FPRakerTile:
        return FPRakerTile(self.values.pe, self.values.tile)

    def replay(self) -> FPRakerReplay:
        return FPRakerReplay(self.values.pe, self.values.tile)

    def signals(self, x: BF16Array, parallel: ParallelRows, cycles: int) -> Iterator[Signals]:
        return pass_signals(self.values.pe, self.values.tile, x, parallel, cycles)

    @property
    def least_cycles_per_set(self) -> float:
        """PEs that share an exponent block take turns at it, but for sets that are skipped."""
        return 0.0 if self.values.tile.empty_sets == "skip" else float(self.values.tile.exponent_sharing)

    def choose(self, layer: Layer, operation: Operation) -> list[OperandChoice]:
        """As the file says, else the operand with fewer terms per value of the encoder (spec page fpraker.md, 4)."""
        if requested := requested_choices(self.values.lowering.serial, operation):
            return requested
        canonical, other = both_choices(operation)
        terms = [
            statistics_of(layer, choice.tensor).terms_per_value(self.values.pe.encoder) for choice in (canonical, other)
        ]
        return [other if terms[1] < terms[0] else canonical]

    def structure(self) -> Structure:
        return structure(self.values)

    def ladder(self) -> list[Rung]:
        return list(ladder(self.values))

    def counter_lines(self, counters: Mapping[str, float]) -> list[str]:
        """What became of the bits of the serial values."""
        slots = sum(counters[name] for name in _TERMS)
        if not slots:
            return []
        parts = ", ".join(f"{BIT_SLOTS * counters[name] / slots:.3f} {what}" for name, what in _TERMS.items())
        return [f"Terms: of {BIT_SLOTS} bit slots a serial value, {parts}."]
