"""Area and power of a tile as they follow its make-up, part by part.

A file states them for one PE and one tile, which `tile_costs_of` names.  Of another one a part takes as much more or
less as the model of its area says (`tile_area_model`): the sum of what it consists of (`simhw.pe.structure`), each
times what one of it takes.  The published tile so keeps its published area.  Power goes with the area: as much of a
part's area works in a cycle as in the published one, at the same clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from simhw.machine.overrides import parse_overrides
from simhw.machine.values import TILE_SECTIONS, MachineValues, PartModel
from simhw.pe.protocol import ProcessingElement
from simhw.pe.structure import Quantities

Cost = Literal["tile_area_um2", "tile_power_mw"]


@dataclass(frozen=True)
class Scale:
    """A part's area or power over that of the file.

    Attributes
    ----------
    factor : float
    error : float
        By how much the factor may be wrong, as `PartModel` has it; 0 where the part is the one that the costs are of.
    """

    factor: float = 1.0
    error: float = 0.0


@dataclass(frozen=True)
class TileCosts:
    """What the area and the power of a tile follow.

    Attributes
    ----------
    scales : dict of part to Scale
        Of parts that are not those that the costs are of.
    followed, stale : tuple of str
        Values of the tile's make-up that are not those that its costs are of: those that the costs follow, and those
        that they do not.
    overridden : frozenset of str
        Dotted names of costs that the user gave, for the machine as it is.
    """

    scales: Mapping[str, Scale]
    followed: tuple[str, ...]
    stale: tuple[str, ...]
    overridden: frozenset[str]

    def scale(self, cost: Cost, part: str) -> Scale:
        """A part's cost over that of the file."""
        return Scale() if f"{cost}.{part}" in self.overridden else self.scales.get(part, Scale())


def tile_costs(values: MachineValues, overrides: Mapping[str, Any], element: type[ProcessingElement[Any]]) -> TileCosts:
    """What the costs of a machine's tile follow.

    Parameters
    ----------
    values : MachineValues
    overrides : mapping of dotted name to value
        What differs from the machine's file.
    element : type of ProcessingElement
        The machine's.
    """
    names = departing(values, overrides, values.tile_costs_of, TILE_SECTIONS)
    given = frozenset(name for name in overrides if name.startswith(("tile_area_um2.", "tile_power_mw.")))
    nothing = TileCosts({}, (), tuple(names), given)
    if not names or not values.tile_costs_of or not values.tile_area_model:
        return nothing
    now, then = element(values).structure(), element(values.of_costs()).structure()
    if now is None or then is None:
        return nothing
    scales: dict[str, Scale] = {}
    for part in [*values.tile_area_um2, *(part for part in values.tile_power_mw if part not in values.tile_area_um2)]:
        model = values.tile_area_model.get(part)
        scale = _scale(model, now.parts.get(part), then.parts.get(part))
        if scale is None:  # a part of which nothing is known may follow anything
            return nothing
        if scale != Scale():
            scales[part] = scale
    follows = now.follows & then.follows
    followed = tuple(name for name in names if name in follows)
    return TileCosts(scales, followed, tuple(name for name in names if name not in follows), given)


def _scale(model: PartModel | None, now: Quantities | None, then: Quantities | None) -> Scale | None:
    """A part's area over that of the part that its costs are of; None where the model does not know what it has."""
    if model is None or now is None or then is None or not {*now, *then} <= model.areas.keys():
        return None
    if now == then:
        return Scale()
    area, base = (sum(model.areas[name] * number for name, number in each.items()) for each in (now, then))
    return Scale(area / base, model.error) if base else None


def departing(
    values: MachineValues, overrides: Mapping[str, Any], costs_of: list[str], sections: str | tuple[str, ...]
) -> list[str]:
    """Names of the values that are not those that costs are of; where the file does not say which these are, those of
    the sections that are overridden.
    """
    if not costs_of:
        return [name for name in overrides if name.startswith(sections)]
    return [name for name, value in parse_overrides(costs_of).items() if values.value(name) != value]
