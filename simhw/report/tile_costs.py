"""What area and power of a machine's tile are, in words."""

from collections.abc import Iterable

from simhw.machine.machine import Machine


def tile_costs_fact(machine: Machine) -> str:
    """Whether area and power of a machine's tile are those of its file, or by what they are scaled, and for which
    values.
    """
    costs = machine.tile_costs
    if not costs.followed:
        return "those of the file"
    scaled = ", ".join(
        f"{part} x {scale.factor:.4g} (+-{scale.error:.1%})" if scale.error else f"{part} x {scale.factor:.4g}"
        for part, scale in costs.scales.items()
    )
    given = "; what is overridden is not scaled" if costs.overridden else ""
    return f"those of the file, {scaled or 'x 1'}, for {', '.join(costs.followed)}{given}"


def scaled_costs(machines: Iterable[Machine | None]) -> dict[str, str]:
    """A sentence on each machine whose tile's area and power are scaled, by its label."""
    return {
        each.label: f"{each.label}: area and power are {tile_costs_fact(each)}"
        for each in machines
        if each is not None and each.tile_costs.followed
    }
