"""Machine files: YAML that states every constant with its source, read without trusting it.

A constant is written ``name: {value: 8, source: "recalled", confidence: 0.95}``, maybe with an ``uncertainty``: 0.3 says
that the true value lies between the value over 1.3 and the value times 1.3.  A file may extend another, or several, and
state only what differs; ``parts/NAME`` are sections that machines share.
"""

import hashlib
import json
import os
import re
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from pydantic import BaseModel, ValidationError

from simhw.errors import MachineError

MAX_FILE_BYTES = 1_000_000
MAX_DEPTH = 16
MAX_UNCERTAINTY = 1000

Values = TypeVar("Values", bound=BaseModel)


@dataclass(frozen=True)
class Provenance:
    """Where a constant comes from: a source, the confidence in it, from 0 to 1, and its relative uncertainty."""

    source: str
    confidence: float
    uncertainty: float = 0.0


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


def parse_yaml(text: str) -> Any:
    """A YAML document; raises YAMLError for whatever is wrong with it."""
    try:
        return yaml.load(text, _Loader)  # a SafeLoader with fewer resolvers
    except ValueError as error:  # an integer or date that Python cannot hold
        raise yaml.YAMLError(str(error)) from None


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """A document of a machine file; the shared parts are read for every machine, and parsing YAML is slow.  Not to be written to."""
    return parse_yaml(text)


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


def _shared_names() -> list[str]:
    """Names of what lies in folders beside the machines: sections that machines share, and devices."""
    machines = files("simhw").joinpath("machines")
    return sorted(
        f"{folder}/{path.name.removesuffix('.yaml')}"
        for folder in ("parts", "devices")
        for path in machines.joinpath(folder).iterdir()
        if path.name.endswith(".yaml")
    )


def validated(model: type[Values], values: Mapping[str, Any], where: str) -> Values:
    """Values as a pydantic model has them, checked strictly.

    Raises
    ------
    MachineError
        A value is missing, unknown or of the wrong type; names it.
    """
    try:
        return model.model_validate(values, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] == "missing" else f", given {reprlib.repr(first['input'])}"
        raise MachineError(f"{where}: {place}: {first['msg']}{given}") from None


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
            overrides[key.strip()] = parse_yaml(value)
        except yaml.YAMLError:
            raise MachineError(f"override {setting!r}: the value is not valid YAML") from None
    return overrides


def split_machine(text: str) -> tuple[str, dict[str, Any]]:
    """Name or path, and overrides, of a machine as the command line names it; see `simhw.machine.parse_machine`."""
    # A path may hold a colon of its own, overrides always hold an equals sign.
    name, colon, settings = text.rpartition(":")
    if not colon or "=" not in settings:
        name, settings = text, ""
    return name, parse_overrides(filter(None, settings.split(",")))


def label(name: str, overrides: Mapping[str, Any]) -> str:
    """A name and its overrides, as the command line takes them."""
    changed = ",".join(f"{key}={value}" for key, value in overrides.items())
    return f"{name}:{changed}" if changed else name


def content_hash(values: BaseModel) -> str:
    """Hash of all values that can change a result."""
    content = values.model_dump(mode="json", exclude={"description"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def machine_text(machine: str | Path) -> str:
    """The text of a machine file, by name or path.

    Raises
    ------
    MachineError
        No such machine; says which names there are.
    """
    where = str(machine)
    path = Path(machine)
    if where in machine_names() or where in _shared_names():
        return files("simhw").joinpath("machines", f"{where}.yaml").read_text(encoding="utf-8")
    if path.suffix not in (".yaml", ".yml") or not os.path.isfile(path):  # which is false for a name too long, where Path raises
        raise MachineError(f"no machine {where!r}: give the path of a .yaml file or one of {', '.join(machine_names())}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise MachineError(f"{where}: over {MAX_FILE_BYTES:,} bytes; that is no machine file")
    return path.read_text(encoding="utf-8", errors="replace")


def read_machine(machine: str | Path, depth: int = 0) -> tuple[dict[str, Any], dict[str, Provenance]]:
    """Values and provenance of a machine file, on top of the one that it extends."""
    where = str(machine)
    try:
        loaded = deepcopy(_parsed(machine_text(machine)))
    except yaml.YAMLError as error:
        raise MachineError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise MachineError(f"{where}: a machine file is a mapping of names to values")
    values: dict[str, Any] = {}
    provenance: dict[str, Provenance] = {}
    parents = loaded.pop("extends", [])
    if depth >= 8 and parents:
        raise MachineError(f"{where}: machine files extend each other in a circle")
    for parent in parents if isinstance(parents, list) else [parents]:
        inherited, sources = read_machine(str(parent), depth + 1)
        for key in leaf_names(inherited):
            assign(values, key, leaf(inherited, key), where)
        provenance |= sources
    for key, value, source in _constants(loaded, "", where):
        assign(values, key, value, where)
        if source is not None:
            provenance[key] = source
    return values, provenance


def _constants(section: Mapping[str, Any], prefix: str, where: str) -> Iterator[tuple[str, Any, Provenance | None]]:
    """Dotted names, values and provenance of a section's leaves."""
    for name, entry in section.items():
        key = f"{prefix}{name}"
        if isinstance(entry, dict) and "value" in entry:
            yield key, entry["value"], _provenance(entry, key, where)
        elif isinstance(entry, dict):
            yield from _constants(entry, f"{key}.", where)
        else:
            yield key, entry, None


def _provenance(entry: Mapping[str, Any], key: str, where: str) -> Provenance:
    """Source, confidence and uncertainty of a constant."""
    if set(entry) - {"uncertainty"} != {"value", "source", "confidence"}:
        raise MachineError(f"{where}: {key} needs exactly value, source and confidence, and maybe an uncertainty")
    confidence, uncertainty = entry["confidence"], entry.get("uncertainty", 0.0)
    if not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise MachineError(f"{where}: the confidence of {key} must lie between 0 and 1")
    if not isinstance(uncertainty, int | float) or not 0 <= uncertainty <= MAX_UNCERTAINTY:
        raise MachineError(
            f"{where}: the uncertainty of {key} must lie between 0 and {MAX_UNCERTAINTY}: 0.3 is from the value / 1.3 to the value x 1.3"
        )
    if not isinstance(entry["source"], str) or not entry["source"].strip():
        raise MachineError(f"{where}: the source of {key} must be a text that says where it comes from")
    return Provenance(entry["source"], float(confidence), float(uncertainty))


def leaf_names(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all leaves of nested mappings."""
    names: list[str] = []
    for name, value in values.items():
        names += leaf_names(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]
    return names


def leaf(values: Mapping[str, Any], name: str) -> Any:
    """The value at a dotted name, one of `leaf_names`, of nested mappings."""
    for part in name.split("."):
        values = values[part]
    return values


def resolve(key: str, values: Mapping[str, Any], where: str) -> str:
    """The full dotted name that an override means: the name itself, or the only one with its last part."""
    names = leaf_names(values)
    if key in names:
        return key
    alike = [name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]]
    if len(alike) == 1:
        return alike[0]
    raise MachineError(f"{where}: no value {key!r} to override; there are {', '.join(alike or names)}")


def override(values: dict[str, Any], provenance: dict[str, Provenance], overrides: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Replace values and their provenance; gives what was replaced by its full dotted name.

    Raises
    ------
    MachineError
        No such value, or several.
    """
    changed: dict[str, Any] = {}
    for key, value in overrides.items():
        path = resolve(key, values, where)
        changed[path] = value.item() if isinstance(value, np.generic) else value
        assign(values, path, changed[path], where)
        provenance[path] = Provenance("set by the user", 1.0)
    return changed


def assign(values: dict[str, Any], path: str, value: Any, where: str) -> None:
    *sections, last = path.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise MachineError(f"{where}: {path}: {section} is a value, not a section")
    values[last] = value
