"""The layers of two networks that are the same, and what each takes in both.

A compressed network may have a layer's factors in place of the layer: these are matched by their names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simhw.results.operation import OperationCost, OperationResult

Costs = Sequence[tuple[OperationResult, OperationCost]]
"""Operations, and what each takes on one piece of hardware."""


@dataclass(frozen=True)
class Part:
    """How much less a layer's operation takes in the other step; negative where it takes more.

    Attributes
    ----------
    layer, operation : str
    macs : int
    time_s, energy_j : float
        With memories.
    off_chip_bytes : int
    """

    layer: str
    operation: str
    macs: int = 0
    time_s: float = 0.0
    energy_j: float = 0.0
    off_chip_bytes: int = 0

    def plus(self, sign: int, macs: int, cost: OperationCost) -> "Part":
        """With an operation of the first step (1) or the other (-1)."""
        moved = cost.memory.off_chip_bytes if cost.memory else 0
        return Part(
            self.layer,
            self.operation,
            self.macs + sign * macs,
            self.time_s + sign * cost.overall_time_s,
            self.energy_j + sign * cost.overall_energy_j.mid,
            self.off_chip_bytes + sign * moved,
        )


@dataclass(frozen=True)
class Pair:
    """An operation of a layer in two steps.

    Attributes
    ----------
    layer, operation : str
        The layer by the name that both go by.
    first, other : sequence of (OperationResult, OperationCost)
        Of the layers that are matched; several where factors stand for one, empty where the step has none.
    """

    layer: str
    operation: str
    first: Costs
    other: Costs

    @property
    def saved(self) -> Part:
        """How much less it takes in the other step."""
        part = Part(self.layer, self.operation)
        for sign, costs in ((1, self.first), (-1, self.other)):
            for item, cost in costs:
                part = part.plus(sign, item.macs, cost)
        return part


def paired(first: Costs, other: Costs) -> Iterator[Pair]:
    """Each layer's operation in two steps, in the order of the first."""
    layers = matched([item.layer for item, _ in first], [item.layer for item, _ in other])
    sides: list[dict[tuple[str, str], list[tuple[OperationResult, OperationCost]]]] = [{}, {}]
    for side, costs in zip(sides, (first, other), strict=True):
        for item, cost in costs:
            side.setdefault((layers[item.layer], item.operation), []).append((item, cost))
    before, after = sides
    for key in dict.fromkeys([*before, *after]):
        yield Pair(*key, before.get(key, []), after.get(key, []))


def matched(first: Sequence[str], other: Sequence[str]) -> dict[str, str]:
    """Which layers of two networks are the same, as the name that both go by.

    Layers of one name are the same.  One that has no namesake belongs to the layer whose dotted name its own begins
    with, such as the factors ``conv.0`` and ``conv.1`` to ``conv``; where there is none it stands alone.
    """
    names, others = set(first), set(other)
    return {
        name: name if name in names and name in others else _parent(name, others if name in names else names) or name
        for name in [*first, *other]
    }


def _parent(name: str, among: set[str]) -> str:
    """The longest of the names that this one begins with, part by part; empty where there is none."""
    parts = name.split(".")
    longer = (".".join(parts[:number]) for number in range(len(parts) - 1, 0, -1))
    return next((each for each in longer if each in among), "")
