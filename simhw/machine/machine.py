"""Machines: every constant of one, validated, with its source and how sure we are of it.

An override replaces a value and its provenance.  The content hash covers the values alone.
"""

import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from simhw.errors import MachineError, quoted
from simhw.files.named import split_name
from simhw.machine.costs import Range
from simhw.machine.described import Described
from simhw.machine.dotted import leaf_names
from simhw.machine.files import read_machine, validated
from simhw.machine.overrides import label, override, split_machine
from simhw.machine.provenance import Provenance
from simhw.machine.tile_costs import Cost, TileCosts, tile_costs
from simhw.machine.values import MachineValues
from simhw.memory.parameters import BaselineCompression, Memory
from simhw.pe.passes import Tile
from simhw.pe.protocol import ProcessingElement
from simhw.pe.registry import kinds, processing_element


@dataclass(frozen=True)
class Machine(Described[MachineValues]):
    """A machine: validated values, where each comes from, and what was overridden.

    Attributes
    ----------
    values : pydantic model
        Every constant, by section: ``pe``, ``tile``, ``lowering``, ``tiles``, ``clock_hz``, areas and powers.
    provenance : dict of dotted name to Provenance
    overrides : dict of dotted name to value
        What differs from the file.
    element : type of ProcessingElement, optional
        In place of the one that ``pe.kind`` names.
    given_name : str
        What the user calls it; empty where that is its file's name with the overrides.
    """

    element: type[ProcessingElement[Any]] | None = None
    given_name: str = ""

    @property
    def label(self) -> str:
        """What the user calls it, else name and overrides as the command line takes them."""
        return self.given_name or label(self.name, self.overrides)

    def called(self, name: str) -> "Machine":
        """The same machine under a name of the user's."""
        return replace(self, given_name=name)

    @cached_property
    def tile_costs(self) -> TileCosts:
        """What area and power of a tile follow."""
        return tile_costs(self.values, self.overrides, self._element)

    @cached_property
    def tile_areas_um2(self) -> Mapping[str, float]:
        """Area of one tile by part [um^2]: that of the file, scaled where the tile is another one."""
        return self._scaled("tile_area_um2")

    @cached_property
    def tile_powers_mw(self) -> Mapping[str, float]:
        """Power of one tile by part [mW]: that of the file, scaled where the tile is another one."""
        return self._scaled("tile_power_mw")

    def _scaled(self, cost: Cost) -> Mapping[str, float]:
        parts: dict[str, float] = getattr(self.values, cost)
        return {part: value * self.tile_costs.scale(cost, part).factor for part, value in parts.items()}

    @cached_property
    def tile_power(self) -> Range:
        """Power of one tile [mW], with the ends of its uncertainty: that of the file, and of how it is scaled."""
        ranges = []
        for part in self.values.tile_power_mw:
            scale, own = self.tile_costs.scale("tile_power_mw", part), self.range(f"tile_power_mw.{part}")
            wider = 1 + scale.error
            ranges.append(Range(own.low / wider, own.mid, own.high * wider).times(scale.factor))
        return Range.total(ranges)

    @property
    def tile_area_um2(self) -> float:
        """Area of one tile [um^2]."""
        return sum(self.tile_areas_um2.values())

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
        return self.values.value(name)

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

    @cached_property
    def sram_costs(self) -> dict[tuple[str, str], Range]:
        """Costs that `simhw.machine.costs_of.sram_cost` has worked out, by memory and quantity."""
        return {}

    @cached_property
    def pe(self) -> ProcessingElement[Any]:
        """The machine's processing element, which all that depends on its kind is asked of."""
        return self._element(self.values)

    @property
    def _element(self) -> type[ProcessingElement[Any]]:
        return self.element or processing_element(self.values.pe.kind)

    @property
    def tile(self) -> Tile:
        """A tile that runs passes."""
        return self.pe.tile


def variant_of(
    machine: Machine, overrides: Mapping[str, Any], element: type[ProcessingElement[Any]] | None = None
) -> Machine:
    """A loaded machine with some more of its values replaced, and maybe with another processing element.

    Parameters
    ----------
    machine : Machine
    overrides : mapping of dotted name to value
        By whole names.
    element : type of ProcessingElement, optional
        As `Machine` has it; by default the machine's own.

    Raises
    ------
    MachineError
        No such value, or one that cannot be used.
    """
    values, provenance = machine.values.model_dump(), dict(machine.provenance)
    changing = {name: value for name, value in overrides.items() if machine.value(name) != value}
    changed = override(values, provenance, changing, machine.label)
    return Machine(
        _validate(values, machine.label), provenance, {**machine.overrides, **changed}, element or machine.element
    )


def load_machine(machine: str | Path, /, **overrides: Any) -> Machine:
    """Load a machine by name or from a file, and override some of its values.

    Parameters
    ----------
    machine : str or path
        A name from `simhw.machine.names.machine_names`, or the path of a YAML file.
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

    @cached_property
    def unchanged(self) -> Machine:
        """The machine as the file has it.

        Raises
        ------
        MachineError
            A value cannot be used.
        """
        return self.machine({})

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


def baseline_of(
    machine: Machine, compression: str | None = None, read: Callable[[str], MachineFile] = MachineFile
) -> Machine | None:
    """The baseline that a machine's file names, None where it names none.

    It is given the same streams, so that a machine gains nothing from padding that only its baseline executes, and what
    was overridden of the machine's memory and energy costs, so that both are compared around the same memories.  Only
    its off-chip compression may be another one, as a part of what is compared.

    Parameters
    ----------
    machine : Machine
    compression : {"same", "none", "bdc", "zero"}, optional
        Of what the baseline moves off chip, in place of what `baseline_compression` of the machine's file says.
    read : callable
        Gives the file of the baseline's name; for many machines of one baseline, each time the same.

    Raises
    ------
    MachineError
        The baseline cannot be loaded; or a compression is given that there is not, or that would change nothing: there
        is no baseline, or nothing that it moves off chip.
    """
    if compression is not None:
        _check_compression(machine, compression)
    if machine.values.baseline is None:
        return None
    try:
        file = read(machine.values.baseline)
        baseline = file.unchanged
    except MachineError as error:
        raise MachineError(f"{machine.label}: baseline: {error}") from None
    streams, own = machine.values.lowering.streams, baseline.values.lowering.streams
    shared = {f"lowering.{name}": value for name, value in streams.items() if value != own[name]}
    surroundings = ("memory.", "energy.", "sram.")
    shared |= {
        name: value
        for name, value in machine.overrides.items()
        if name.startswith(surroundings) and name in file.names and name != "memory.compression"
    }
    made = file.machine(shared) if shared else baseline
    memory, base = machine.modelled_memory, made.modelled_memory
    if base is None:
        if compression is not None:
            raise MachineError(
                f"baseline compression {compression}: memories of {made.label} are ideal, so that it would change "
                "nothing; leave it out"
            )
        return made
    wanted = compression or machine.values.baseline_compression
    if wanted == "same":
        wanted = memory.compression if memory is not None else base.compression
    return made if wanted == base.compression else file.machine({**shared, "memory.compression": wanted})


def _check_compression(machine: Machine, compression: str) -> None:
    """Refuse a compression of a machine's baseline that there is not, or that the machine leaves no room for."""
    known = get_args(BaselineCompression)
    if compression not in known:
        raise MachineError(f"baseline compression {quoted(compression)}: give one of {', '.join(known)}")
    if machine.values.baseline is None:
        raise MachineError(f"baseline compression {compression}: {machine.label} names no baseline; leave it out")
    if machine.modelled_memory is None:
        raise MachineError(
            f"baseline compression {compression}: memories of {machine.label} are ideal, so that it would change "
            "nothing; leave it out"
        )


def parse_machine(text: str) -> Machine:
    """A machine as the command line names it: ``NAME`` or ``NAME:key=value,key=value``, maybe with a name of the
    user's before it: ``small=fpraker:tile.rows=4``.

    Raises
    ------
    MachineError
        As `load_machine`, or an override without ``=``.
    """
    given, text = split_name(text)
    name, overrides = split_machine(text)
    return load_machine(name, **overrides).called(given)


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


def described_machine(
    values: dict[str, Any], provenance: Mapping[str, Provenance], overrides: Mapping[str, Any], where: str
) -> Machine:
    """A machine of its constants, as a saved result has them; `where` is that file, for errors.

    Raises
    ------
    MachineError
        A value is missing, unknown or of the wrong type, or the kind of PE is unknown.
    """
    return Machine(_validate(values, where), provenance, overrides)


def _validate(values: dict[str, Any], where: str) -> MachineValues:
    pe = values.get("pe")
    kind = pe.get("kind") if isinstance(pe, dict) else None
    if not isinstance(kind, str):
        raise MachineError(f"{where}: pe.kind is {quoted(kind)}; known are {', '.join(kinds())}")
    try:
        model = processing_element(kind).values_model
    except MachineError as error:
        raise MachineError(f"{where}: {error}") from None
    return validated(model, values, where)
