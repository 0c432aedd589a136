"""What a machine's file may state, whatever its processing element: the part that every kind of PE builds upon.

A PE's room derives its own `MachineValues` from this one, with its parameters of `pe`, `tile` and `lowering` in place
of the ones here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from simhw.errors import MachineError, quoted
from simhw.lowering import LanePadding, Padding
from simhw.machine.costs import Cells, EnergyParameters, SramCosts
from simhw.machine.described import DescribedValues, Section
from simhw.machine.dotted import assign, leaf_names
from simhw.machine.overrides import parse_overrides
from simhw.memory.parameters import MAX_BYTES, BaselineCompression, Memory

Amount = Annotated[float, Field(ge=0, le=1e12)]
"""Areas and powers: a square metre, a gigawatt."""
TILE_SECTIONS = ("pe.", "tile.")
"""How names of values begin that make up a tile."""


class PEParameters(Section):
    """What every processing element states: its kind, as `simhw.pe.registry` knows it, and its lanes."""

    kind: str
    lanes: int = Field(ge=1, le=64)


class TileParameters(Section):
    """The rows and columns of PEs of a tile."""

    rows: int = Field(ge=1, le=64)
    cols: int = Field(ge=1, le=64)


class Lowering(Section):
    """How layers become operand streams (spec page lowering.md)."""

    padding: Padding
    lane_padding: LanePadding
    fc_windows: Literal["batch", "image"]

    @property
    def streams(self) -> dict[str, str]:
        """The switches that decide what streams a layer becomes, whatever the machine that takes them."""
        return {"padding": self.padding, "lane_padding": self.lane_padding, "fc_windows": self.fc_windows}


class PartModel(Section):
    """How the area of a part of a tile follows what the part consists of.

    Attributes
    ----------
    areas : dict of quantity to float
        What one of each quantity of the part takes, as `simhw.pe.structure` counts them.  Only ratios count, so that
        the unit is any.
    error : float
        By how much a ratio of two such areas may be wrong: 0.03 is from the ratio / 1.03 to the ratio x 1.03.
    """

    areas: dict[str, Amount]
    error: float = Field(ge=0, le=10)


class MachineValues(DescribedValues):
    """Every constant of a machine, by section."""

    baseline: str | None = None
    # Of what the baseline moves off chip, where memories are modelled.
    baseline_compression: BaselineCompression = "same"
    conversion: Literal["rne", "truncate"]
    pe: PEParameters
    tile: TileParameters
    lowering: Lowering
    tiles: int = Field(ge=1, le=65536)
    clock_hz: float = Field(gt=0.1, le=1e18)
    tile_area_um2: dict[str, Amount]
    tile_power_mw: dict[str, Amount]
    gated_power: list[str] = Field([])
    # A machine without a memory section has ideal memories.
    memory: Memory | None = None
    energy: EnergyParameters | None = None
    sram: dict[str, dict[Cells, SramCosts]] = Field({})
    memory_area_mm2: dict[str, Amount] = Field({})
    # By part, how area and power follow a tile that is another one than its costs are of.
    tile_area_model: dict[str, PartModel] = Field({})
    # Which PEs, tiles and memories the costs are of, as overrides are written; empty where they are of the file's own.
    tile_costs_of: list[str] = Field([], max_length=64)
    sram_costs_of: list[str] = Field([], max_length=64)

    @model_validator(mode="after")
    def _gated_power_exists(self) -> "MachineValues":
        unknown = set(self.gated_power) - set(self.tile_power_mw)
        if unknown:
            raise ValueError(f"gated_power names {sorted(unknown)}, which tile_power_mw does not have")
        return self

    @model_validator(mode="after")
    def _costs_are_of_values_that_exist(self) -> "MachineValues":
        names = set(leaf_names(self.model_dump()))
        for part in ("tile_costs_of", "sram_costs_of"):
            try:
                stated = parse_overrides(getattr(self, part))
            except MachineError as error:
                raise ValueError(f"{part}: {error}") from None
            unknown = stated.keys() - names
            for name, value in stated.items():
                # Costs follow the ratio to these sizes.
                if name.endswith("_bytes") and (type(value) is not int or not 1 <= value <= MAX_BYTES):
                    raise ValueError(
                        f"{part}: {quoted(name)[1:-1]} is {quoted(value)}; give a size in bytes, from 1 to {MAX_BYTES}"
                    )
            if unknown and not (part == "sram_costs_of" and self.memory is None):
                raise ValueError(f"{part} names {quoted(min(unknown))}, which is no value of the machine")
        return self

    @model_validator(mode="after")
    def _costs_are_of_a_tile_that_can_be(self) -> "MachineValues":
        if self.tile_area_model:
            try:
                self.of_costs()
            except ValidationError as error:
                found = error.errors(include_url=False)[0]
                place = ".".join(str(part) for part in found["loc"])
                raise ValueError(f"tile_costs_of: {place}: {found['msg'].removeprefix('Value error, ')}") from None
        return self

    def value(self, name: str) -> Any:
        """A value or a section by its dotted name."""
        value: Any = self
        for part in name.split("."):
            value = value[part] if isinstance(value, Mapping) else getattr(value, part)
        return value

    def of_costs(self) -> Self:
        """The machine with the PE and the tile that its costs are of.

        Raises
        ------
        ValidationError
            There is no such PE or tile.
        """
        sections = {"pe": self.pe.model_dump(), "tile": self.tile.model_dump()}
        for name, value in parse_overrides(self.tile_costs_of).items():
            if name.startswith(TILE_SECTIONS):
                assign(sections, name, value, "tile_costs_of")
        return self.model_copy(
            update={
                "pe": type(self.pe).model_validate(sections["pe"], strict=True),
                "tile": type(self.tile).model_validate(sections["tile"], strict=True),
            }
        )

    @model_validator(mode="after")
    def _memories_have_costs(self) -> "MachineValues":
        if self.energy is not None and self.memory is not None:
            missing = {"buffer_a", "buffer_w", "buffer_g", "scratchpad", "transposer"} - {
                name for name, cells in self.sram.items() if self.energy.cells in cells
            }
            if missing:
                raise ValueError(f"sram has no {self.energy.cells} costs for {', '.join(sorted(missing))}")
        return self
