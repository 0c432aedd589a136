"""The toy processing element as a whole."""

from collections.abc import Iterator, Mapping
from functools import cached_property

from simhw.bfloat16 import BF16Array
from simhw.pe.passes import ParallelRows
from simhw.pe.protocol import LaneClass, ProcessingElement
from simhw.pe.signals import Signals
from toy_pe.parameters import ToyValues
from toy_pe.replay import ToyReplay
from toy_pe.signals import pass_signals
from toy_pe.tile import ToyTile


class Toy(ProcessingElement[ToyValues]):
    """Sets whose values of X are all zero take no time."""

    kind = "toy"
    values_model = ToyValues
    lane_classes = (
        LaneClass("useful", "a value of X that is not zero was multiplied", "#009E73"),
        LaneClass("zero", "the lane's value of X was zero, another one's of its set was not", "#E69F00"),
        LaneClass("waiting", "the row had finished, or there was no row", "#DDDDDD"),
    )
    operand_role = "skipped"

    @cached_property
    def tile(self) -> ToyTile:
        return ToyTile(self.values.pe, self.values.tile)

    def replay(self) -> ToyReplay:
        return ToyReplay(self.values.pe, self.values.tile)

    def signals(self, x: BF16Array, parallel: ParallelRows, cycles: int) -> Iterator[Signals]:
        return pass_signals(self.values.pe, x, cycles)

    @property
    def least_cycles_per_set(self) -> float:
        return float(self.values.pe.empty_set_cycles)

    def counter_lines(self, counters: Mapping[str, float]) -> list[str]:
        return [f"Sets: {counters['skipped_sets']:,.0f} sets were skipped."]
