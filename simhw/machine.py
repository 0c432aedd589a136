"""Machines: one YAML file holds every constant of one, each with its source and how sure we are of it.

A constant is written ``name: {value: 8, source: "recalled", confidence: 0.95}``.  A file may extend another and state
only what differs; an override replaces a value and its provenance.  The content hash covers the values alone.
"""

import hashlib
import json
import os
import re
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from simhw.errors import MachineError
from simhw.lowering import LanePadding, Padding
from simhw.pe.bitparallel import BitParallelPE
from simhw.pe.fpraker import FPRakerPE
from simhw.pe.tensordash import TensorDashPE
from simhw.tile.bitparallel import BitParallelTile
from simhw.tile.fpraker import FPRakerTile, FPRakerTileParameters
from simhw.tile.passes import GridTileParameters, Tile
from simhw.tile.tensordash import TensorDashTile

OperandChoice = Literal["auto", "a", "w", "g", "oracle"]
MAX_FILE_BYTES = 1_000_000
MAX_DEPTH = 16
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Lowering(BaseModel):
    """How layers become operand streams (spec page lowering.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    padding: Padding
    lane_padding: LanePadding
    fc_windows: Literal["batch", "image"]

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


@dataclass(frozen=True)
class Provenance:
    """Where a constant comes from: a source and the confidence in it, from 0 to 1."""

    source: str
    confidence: float


class _Values(BaseModel):
    """What every machine file states."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    baseline: str | None = None
    conversion: Literal["rne", "truncate"]
    tiles: int = Field(ge=1, le=65536)
    clock_hz: float = Field(gt=0, allow_inf_nan=False)
    tile_area_um2: dict[str, Amount]
    tile_power_mw: dict[str, Amount]
    gated_power: list[str] = []

    @model_validator(mode="after")
    def _gated_power_exists(self) -> "_Values":
        unknown = set(self.gated_power) - set(self.tile_power_mw)
        if unknown:
            raise ValueError(f"gated_power names {sorted(unknown)}, which tile_power_mw does not have")
        return self


class _BitParallel(_Values):
    pe: BitParallelPE
    tile: GridTileParameters
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
        changed = ",".join(f"{key}={value}" for key, value in self.overrides.items())
        return f"{self.name}:{changed}" if changed else self.name

    @cached_property
    def content_hash(self) -> str:
        """Hash of all values that can change a result."""
        values = self.values.model_dump(mode="json", exclude={"description"})
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def tile_area_um2(self) -> float:
        """Area of one tile [um^2]."""
        return sum(self.values.tile_area_um2.values())

    @property
    def compute_area_mm2(self) -> float:
        """Area of all tiles [mm^2]."""
        return self.values.tiles * self.tile_area_um2 / 1e6

    @cached_property
    def tile(self) -> Tile:
        """A tile that runs passes."""
        values = self.values
        if isinstance(values, _FPRaker):
            return FPRakerTile(values.pe, values.tile)
        if isinstance(values, _TensorDash):
            return TensorDashTile(values.pe, values.tile)
        return BitParallelTile(values.pe, values.tile)


class _Loader(yaml.SafeLoader):
    """YAML whose only booleans are true and false (``chunk: off`` is a word) and in which 600e6 is a number.

    It has no aliases, of which a few lines make a document of any size, no key twice, and little depth.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        if self.depth >= MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, count in Counter(keys).items():
            if count > 1:
                raise yaml.YAMLError(f"{key} stands there {count} times")
        return super().construct_mapping(node, deep)


def _parse(text: str) -> Any:
    """A YAML document; raises YAMLError for whatever is wrong with it."""
    try:
        return yaml.load(text, _Loader)  # a SafeLoader with fewer resolvers
    except ValueError as error:  # an integer or date that Python cannot hold
        raise yaml.YAMLError(str(error)) from None


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))
_EXPONENT_FLOAT = re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT_FLOAT, list("-+0123456789"))


def machine_names() -> list[str]:
    """Names of the machines that come with simhw."""
    return sorted(path.name.removesuffix(".yaml") for path in files("simhw").joinpath("machines").iterdir() if path.name.endswith(".yaml"))


def load_machine(machine: str | Path, /, **overrides: Any) -> Machine:
    """Load a machine by name or from a file, and override some of its values.

    Parameters
    ----------
    machine : str or path
        A name from `machine_names`, or the path of a YAML file.
    **overrides
        Dotted names and values, ``**{"tile.rows": 4, "pe.oob_threshold": 9}``.  A last part alone will do where no
        other value of the machine is called so.

    Raises
    ------
    MachineError
        No such machine, or a file or value that cannot be used; says which names there are.
    """
    where = str(machine)
    values, provenance = _read(machine)
    changed: dict[str, Any] = {}
    for key, value in overrides.items():
        path = _resolve(key, values, where)
        _assign(values, path, value, where)
        provenance[path] = Provenance("set by the user", 1.0)
        changed[path] = value
    return Machine(_validate(values, where), provenance, changed)


def parse_machine(text: str) -> Machine:
    """A machine as the command line names it: ``NAME`` or ``NAME:key=value,key=value``.

    Raises
    ------
    MachineError
        As `load_machine`, or an override without ``=``.
    """
    name, overrides = split_machine(text)
    return load_machine(name, **overrides)


def split_machine(text: str) -> tuple[str, dict[str, Any]]:
    """Name or path, and overrides, of a machine as the command line names it; see `parse_machine`."""
    # A path may hold a colon of its own, overrides always hold an equals sign.
    name, colon, settings = text.rpartition(":")
    if not colon or "=" not in settings:
        name, settings = text, ""
    return name, parse_overrides(filter(None, settings.split(",")))


def parse_overrides(settings: Any) -> dict[str, Any]:
    """``key=value`` texts as overrides, their values read as YAML.

    Raises
    ------
    MachineError
        A text without ``=``, or a value that is not YAML.
    """
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise MachineError(f"override {setting!r} is not of the form key=value, for example pe.oob_threshold=9")
        try:
            overrides[key.strip()] = _parse(value)
        except yaml.YAMLError:
            raise MachineError(f"override {setting!r}: the value is not valid YAML") from None
    return overrides


def machine_text(machine: str | Path) -> str:
    """The text of a machine file, by name or path.

    Raises
    ------
    MachineError
        No such machine; says which names there are.
    """
    where = str(machine)
    path = Path(machine)
    if where in machine_names():
        return files("simhw").joinpath("machines", f"{where}.yaml").read_text(encoding="utf-8")
    if path.suffix not in (".yaml", ".yml") or not os.path.isfile(path):  # which is false for a name too long, where Path raises
        raise MachineError(f"no machine {where!r}: give the path of a .yaml file or one of {', '.join(machine_names())}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise MachineError(f"{where}: over {MAX_FILE_BYTES:,} bytes; that is no machine file")
    return path.read_text(encoding="utf-8", errors="replace")


def _read(machine: str | Path, depth: int = 0) -> tuple[dict[str, Any], dict[str, Provenance]]:
    """Values and provenance of a machine file, on top of the one that it extends."""
    where = str(machine)
    text = machine_text(machine)
    try:
        loaded = _parse(text)
    except yaml.YAMLError as error:
        raise MachineError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise MachineError(f"{where}: a machine file is a mapping of names to values")
    values: dict[str, Any] = {}
    provenance: dict[str, Provenance] = {}
    if "extends" in loaded:
        if depth >= 8:
            raise MachineError(f"{where}: machine files extend each other in a circle")
        values, provenance = _read(str(loaded.pop("extends")), depth + 1)
    for key, value, source in _constants(loaded, "", where):
        _assign(values, key, value, where)
        if source is not None:
            provenance[key] = source
    return values, provenance


def _constants(section: Mapping[str, Any], prefix: str, where: str) -> Iterator[tuple[str, Any, Provenance | None]]:
    """Dotted names, values and provenance of a section's leaves."""
    for name, entry in section.items():
        key = f"{prefix}{name}"
        if isinstance(entry, dict) and "value" in entry:
            if set(entry) != {"value", "source", "confidence"}:
                raise MachineError(f"{where}: {key} needs exactly value, source and confidence")
            if not isinstance(entry["confidence"], int | float) or not 0 <= entry["confidence"] <= 1:
                raise MachineError(f"{where}: the confidence of {key} must lie between 0 and 1")
            if not isinstance(entry["source"], str) or not entry["source"].strip():
                raise MachineError(f"{where}: the source of {key} must be a text that says where it comes from")
            yield key, entry["value"], Provenance(str(entry["source"]), float(entry["confidence"]))
        elif isinstance(entry, dict):
            yield from _constants(entry, f"{key}.", where)
        else:
            yield key, entry, None


def leaf_names(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all leaves of nested mappings."""
    names: list[str] = []
    for name, value in values.items():
        names += leaf_names(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]
    return names


def _resolve(key: str, values: Mapping[str, Any], where: str) -> str:
    """The full dotted name that an override means: the name itself, or the only one with its last part."""
    names = leaf_names(values)
    if key in names:
        return key
    alike = [name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]]
    if len(alike) == 1:
        return alike[0]
    raise MachineError(f"{where}: no value {key!r} to override; there are {', '.join(alike or names)}")


def _assign(values: dict[str, Any], path: str, value: Any, where: str) -> None:
    *sections, last = path.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise MachineError(f"{where}: {path}: {section} is a value, not a section")
    values[last] = value


def _validate(values: dict[str, Any], where: str) -> _BitParallel | _FPRaker | _TensorDash:
    pe = values.get("pe")
    kind = pe.get("kind") if isinstance(pe, dict) else None
    if kind not in _MODELS:
        raise MachineError(f"{where}: pe.kind is {kind!r}; known are {', '.join(_MODELS)}")
    try:
        return _MODELS[kind].model_validate(values, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] == "missing" else f", given {reprlib.repr(first['input'])}"
        raise MachineError(f"{where}: {place}: {first['msg']}{given}") from None
