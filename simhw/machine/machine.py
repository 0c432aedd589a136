"""Machines: every constant of one, validated, with its source and how sure we are of it.

An override replaces a value and its provenance.  The content hash covers the values alone.
"""

import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simhw.errors import MachineError, quoted
from simhw.lowering import LanePadding, Padding
from simhw.machine.costs import Cells, EnergyParameters, Range, SramCosts
from simhw.machine.costs_of import size_factor
from simhw.machine.dotted import leaf_names
from simhw.machine.files import Description, Name, Provenance, content_hash, read_machine, validated
from simhw.machine.overrides import label, override, parse_overrides, split_machine
from simhw.machine.sram import Quantity
from simhw.memory.parameters import MAX_BYTES, Memory
from simhw.pe.bitparallel.kernel import BitParallelPE
from simhw.pe.bitparallel.tile import BitParallelTile, BitParallelTileParameters
from simhw.pe.fpraker.kernel import FPRakerPE
from simhw.pe.fpraker.tile import FPRakerTile, FPRakerTileParameters
from simhw.pe.passes import GridTileParameters, Tile
from simhw.pe.tensordash.kernel import TensorDashPE
from simhw.pe.tensordash.tile import TensorDashTile

OperandChoice = Literal["auto", "a", "w", "g", "oracle"]
Amount = Annotated[float, Field(ge=0, le=1e12)]
"""Areas and powers: a square metre, a gigawatt."""


class Lowering(BaseModel):
    """How layers become operand streams (spec page lowering.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    padding: Padding
    lane_padding: LanePadding
    fc_windows: Literal["batch", "image"]

    @property
    def streams(self) -> dict[str, str]:
        """The switches that decide what streams a layer becomes, whatever the machine that takes them."""
        return {"padding": self.padding, "lane_padding": self.lane_padding, "fc_windows": self.fc_windows}

    @property
    def x_operand(self) -> OperandChoice:
        """The tensor that takes the X side; a bit-parallel machine has no reason to choose."""
        return "auto"


class SerialLowering(Lowering):
    """Lowering with a choice of FPRaker's serial operand."""

    serial: OperandChoice

    @property
    def x_operand(self) -> OperandChoice:
        return self.serial


class ScheduledLowering(Lowering):
    """Lowering with a choice of TensorDash's scheduled operand."""

    scheduled: OperandChoice

    @property
    def x_operand(self) -> OperandChoice:
        return self.scheduled


class _Values(BaseModel):
    """What every machine file states."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    description: Description
    baseline: str | None = None
    conversion: Literal["rne", "truncate"]
    tiles: int = Field(ge=1, le=65536)
    clock_hz: float = Field(gt=0.1, le=1e18)
    tile_area_um2: dict[str, Amount]
    tile_power_mw: dict[str, Amount]
    gated_power: list[str] = []
    # A machine without a memory section has ideal memories.
    memory: Memory | None = None
    energy: EnergyParameters | None = None
    sram: dict[str, dict[Cells, SramCosts]] = {}
    memory_area_mm2: dict[str, Amount] = {}
    # Which PEs, tiles and memories the costs are of, as overrides are written; empty where they are of the file's own.
    tile_costs_of: list[str] = Field([], max_length=64)
    sram_costs_of: list[str] = Field([], max_length=64)

    @model_validator(mode="after")
    def _gated_power_exists(self) -> "_Values":
        unknown = set(self.gated_power) - set(self.tile_power_mw)
        if unknown:
            raise ValueError(f"gated_power names {sorted(unknown)}, which tile_power_mw does not have")
        return self

    @model_validator(mode="after")
    def _costs_are_of_values_that_exist(self) -> "_Values":
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
    def _memories_have_costs(self) -> "_Values":
        if self.energy is not None and self.memory is not None:
            missing = {"buffer_a", "buffer_w", "buffer_g", "scratchpad", "transposer"} - {
                name for name, cells in self.sram.items() if self.energy.cells in cells
            }
            if missing:
                raise ValueError(f"sram has no {self.energy.cells} costs for {', '.join(sorted(missing))}")
        return self


class _BitParallel(_Values):
    pe: BitParallelPE
    tile: BitParallelTileParameters
    lowering: Lowering


class _FPRaker(_Values):
    pe: FPRakerPE
    tile: FPRakerTileParameters
    lowering: SerialLowering


class _TensorDash(_Values):
    pe: TensorDashPE
    tile: GridTileParameters
    lowering: ScheduledLowering


_MODELS: dict[str, type[_BitParallel] | type[_FPRaker] | type[_TensorDash]] = {
    "bitparallel": _BitParallel,
    "fpraker": _FPRaker,
    "tensordash": _TensorDash,
}


@dataclass(frozen=True)
class Machine:
    """A machine: validated values, where each comes from, and what was overridden.

    Attributes
    ----------
    values : pydantic model
        Every constant, by section: ``pe``, ``tile``, ``lowering``, ``tiles``, ``clock_hz``, areas and powers.
    provenance : dict of dotted name to Provenance
    overrides : dict of dotted name to value
        What differs from the file.
    """

    values: _BitParallel | _FPRaker | _TensorDash
    provenance: Mapping[str, Provenance]
    overrides: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The file's name for it."""
        return self.values.name

    @property
    def label(self) -> str:
        """Name and overrides, as `--pe` takes them."""
        return label(self.name, self.overrides)

    @cached_property
    def content_hash(self) -> str:
        """Hash of all values that can change a result."""
        return content_hash(self.values)

    @property
    def tile_area_um2(self) -> float:
        """Area of one tile [um^2]."""
        return sum(self.values.tile_area_um2.values())

    @property
    def compute_area_mm2(self) -> float:
        """Area of all tiles [mm^2]."""
        return self.values.tiles * self.tile_area_um2 / 1e6

    @property
    def modelled_memory(self) -> Memory | None:
        """The memory hierarchy; None where memories are ideal."""
        memory = self.values.memory
        return None if memory is None or memory.model == "ideal" else memory

    def value(self, name: str) -> Any:
        """A value or a section by its dotted name."""
        value: Any = self.values
        for part in name.split("."):
            value = value[part] if isinstance(value, Mapping) else getattr(value, part)
        return value

    def range(self, name: str) -> Range:
        """A constant by its dotted name, or the sum of a section's, with the ends of its uncertainty."""
        if name not in self._ranges:
            value = self.value(name)
            if isinstance(value, Mapping):
                self._ranges[name] = Range.total(self.range(f"{name}.{part}") for part in value)
            else:
                source = self.provenance.get(name)
                factor = 1 + (source.uncertainty if source else 0.0)
                self._ranges[name] = Range(value / factor, value, value * factor)
        return self._ranges[name]

    @cached_property
    def _ranges(self) -> dict[str, Range]:
        return {}

    def sram_cost(self, memory: str, quantity: Quantity) -> Range:
        """A cost of a memory, as `sram` names both, at the size that it has."""
        assert self.values.energy is not None
        if (memory, quantity) not in self._sram_costs:
            cost = self.range(f"sram.{memory}.{self.values.energy.cells}.{quantity}")
            self._sram_costs[memory, quantity] = cost.times(size_factor(self, memory, quantity))
        return self._sram_costs[memory, quantity]

    @cached_property
    def _sram_costs(self) -> dict[tuple[str, Quantity], Range]:
        return {}

    @cached_property
    def tile(self) -> Tile:
        """A tile that runs passes."""
        values = self.values
        if isinstance(values, _FPRaker):
            return FPRakerTile(values.pe, values.tile)
        if isinstance(values, _TensorDash):
            return TensorDashTile(values.pe, values.tile)
        return BitParallelTile(values.pe, values.tile)


def load_machine(machine: str | Path, /, **overrides: Any) -> Machine:
    """Load a machine by name or from a file, and override some of its values.

    Parameters
    ----------
    machine : str or path
        A name from `simhw.machine.files.machine_names`, or the path of a YAML file.
    **overrides
        Dotted names and values, ``**{"tile.rows": 4, "pe.oob_threshold": 9}``.  The last part alone, without a dot,
        will do where no other value of the machine ends in it; see `simhw.machine.overrides`.

    Raises
    ------
    MachineError
        No such machine, or a file or value that cannot be used; says which names there are.
    """
    return MachineFile(machine).machine(overrides)


class MachineFile:
    """A machine's file, read once: machines with any overrides are made of it.

    Parameters
    ----------
    machine : str or path
        As `load_machine` takes it.

    Raises
    ------
    MachineError
        No such machine, or a file that cannot be read.
    """

    def __init__(self, machine: str | Path) -> None:
        self.where = str(machine)
        self._values, self._provenance = read_machine(machine)
        self.names = list(leaf_names(self._values))
        """Dotted names of all values, which are those that can be overridden."""

    def machine(self, overrides: Mapping[str, Any]) -> Machine:
        """The machine with some values replaced.

        Raises
        ------
        MachineError
            No such value, or a value that cannot be used.
        """
        values, provenance = deepcopy(self._values), dict(self._provenance)
        changed = override(values, provenance, overrides, self.where)
        return Machine(_validate(values, self.where), provenance, changed)


def baseline_of(machine: Machine) -> Machine | None:
    """The baseline that a machine's file names, None where it names none.

    It is given the same streams, so that a machine gains nothing from padding that only its baseline executes, and what
    was overridden of the machine's memory and energy costs, so that both are compared around the same memories.
    """
    if machine.values.baseline is None:
        return None
    try:
        file = MachineFile(machine.values.baseline)
        baseline = file.machine({})
    except MachineError as error:
        raise MachineError(f"{machine.label}: baseline: {error}") from None
    streams, own = machine.values.lowering.streams, baseline.values.lowering.streams
    shared = {f"lowering.{name}": value for name, value in streams.items() if value != own[name]}
    surroundings = ("memory.", "energy.", "sram.")
    shared |= {
        name: value for name, value in machine.overrides.items() if name.startswith(surroundings) and name in file.names
    }
    return file.machine(shared)


def parse_machine(text: str) -> Machine:
    """A machine as the command line names it: ``NAME`` or ``NAME:key=value,key=value``.

    Raises
    ------
    MachineError
        As `load_machine`, or an override without ``=``.
    """
    name, overrides = split_machine(text)
    return load_machine(name, **overrides)


def machine_of(machine: Machine | str | PathLike[str]) -> Machine:
    """A machine as the public calls take it: one that is loaded, or what `parse_machine` reads.

    Raises
    ------
    MachineError
        It is neither, or as `parse_machine`.
    """
    if isinstance(machine, Machine):
        return machine
    if not isinstance(machine, str | PathLike):
        raise MachineError(
            f"{quoted(machine)} is no machine; give one that load_machine gave, a name, or the path of a .yaml file"
        )
    return parse_machine(os.fspath(machine))


def _validate(values: dict[str, Any], where: str) -> _BitParallel | _FPRaker | _TensorDash:
    pe = values.get("pe")
    kind = pe.get("kind") if isinstance(pe, dict) else None
    if not isinstance(kind, str) or kind not in _MODELS:
        raise MachineError(f"{where}: pe.kind is {quoted(kind)}; known are {', '.join(_MODELS)}")
    return validated(_MODELS[kind], values, where)
