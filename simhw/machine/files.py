"""Machine files: YAML that states every constant with its source, read without trusting it.

A constant is written ``name: {value: 8, source: "recalled", confidence: 0.95}``, maybe with an ``uncertainty``: 0.3
says that the true value lies between the value over 1.3 and the value times 1.3.  A file may extend another, or
several, and state only what differs; ``parts/NAME`` are sections that machines share.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from simhw.errors import MachineError, quoted
from simhw.files.plain_yaml import parse_yaml
from simhw.files.reading import read_text
from simhw.machine.dotted import assign, leaf, leaf_names
from simhw.machine.names import device_names, machine_names, named_file
from simhw.machine.provenance import Provenance
from simhw.plugins import MACHINES, problems

MAX_FILE_BYTES = 1_000_000
MAX_VALUES = 4096
"""Values that a file states itself; the largest of simhw's machines and devices have some 300 with all that they
inherit.
"""
MAX_PARENTS, MAX_CHAIN, MAX_FILES = 8, 16, 32
"""Files that one extends; how deep they may extend each other; how many there may be in all."""
MAX_UNCERTAINTY = 1000

Values = TypeVar("Values", bound=BaseModel)


_Content = tuple[dict[str, Any], dict[str, Provenance]]
"""Values and provenance of a file and all that it extends.  Not to be written to."""


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """A document of a machine file; the shared parts are read for every machine, and parsing YAML is slow.  Not to be
    written to.
    """
    return parse_yaml(text)


def validated(model: type[Values], values: Mapping[str, Any], where: str) -> Values:
    """Values as a pydantic model has them, checked strictly.

    Raises
    ------
    MachineError
        A value is missing, unknown or of the wrong type; names it.
    """
    try:
        valid = model.model_validate(values, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A misspelt name comes before the value that it leaves missing.
        first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
        problem = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # of the file as a whole
            raise MachineError(f"{where}: {problem}") from None
        place = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] == "missing" else f", given {quoted(first['input'])}"
        raise MachineError(f"{where}: {quoted(place)[1:-1] or quoted(place)}: {problem}{given}") from None
    kept = valid.model_dump()
    for name in leaf_names(values):
        # True and 4.0 equal the choices 1 and 4.
        if type(given := leaf(values, name)) in (bool, float) and type(leaf(kept, name)) is int:
            raise MachineError(f"{where}: {name}: give an integer, not {given}")
    return valid


def content_hash(values: BaseModel) -> str:
    """Hash of all values that can change a result.

    A baseline's compression is not among them: the hash of the baseline covers it, and stands beside this one.  A
    machine without a model of its tile's area has the hash that it had before there were any.
    """
    content = values.model_dump(mode="json", exclude={"description", "baseline_compression"})
    if not content.get("tile_area_model", True):
        del content["tile_area_model"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def machine_text(machine: str | Path) -> str:
    """The text of a machine file, by name or path.

    Raises
    ------
    MachineError
        No such machine (says which names there are), or its file cannot be read.
    """
    where = str(machine)
    if (named := named_file(where)) is not None:
        return named.read_text(encoding="utf-8")
    # Whatever else has the suffix, a folder or a pipe, is none; a name too long for a file is none either.
    if Path(machine).suffix not in (".yaml", ".yml") or not os.path.isfile(machine):
        device = f" ({where} is a device of `simhw roofline`)" if where in device_names() else ""
        raise MachineError(
            f"no machine {quoted(where)}{device}: give the path of a .yaml file or one of {', '.join(machine_names())}"
            f"{''.join(f'; {line}' for line in problems(MACHINES))}"
        )
    return read_text(machine, MAX_FILE_BYTES, MachineError, "a machine file")


def read_machine(machine: str | Path) -> tuple[dict[str, Any], dict[str, Provenance]]:
    """Values and provenance of a machine file, on top of those that it extends.

    Raises
    ------
    MachineError
        A file cannot be read or is none; files extend each other in a circle, over `MAX_CHAIN` deep, or are over
        `MAX_FILES`.
    """
    values, provenance = _read(str(machine), (), {})
    return deepcopy(values), dict(provenance)


def _read(where: str, chain: tuple[str, ...], done: dict[str, _Content]) -> _Content:
    """A file's content; `chain` are those that extend it, `done` what has been read, once each."""
    if where in done:
        return done[where]
    if where in chain or len(chain) == MAX_CHAIN:
        raise MachineError(
            f"{quoted(chain[0])[1:-1]}: machine files extend each other in a circle, or more than {MAX_CHAIN} deep"
        )
    if len(done) + len(chain) == MAX_FILES:
        raise MachineError(
            f"{quoted(chain[0])[1:-1]}: extends over {MAX_FILES} files, counted with those that they extend"
        )
    try:
        loaded = _parsed(machine_text(where))
    except MachineError as error:
        raise MachineError(f"{chain[-1]}: extends what cannot be read: {error}") if chain else error from None
    except yaml.YAMLError as error:
        raise MachineError(f"{where}: not valid YAML: {error}") from None
    if not isinstance(loaded, dict):
        raise MachineError(f"{where}: a machine file is a mapping of names to values")
    values: dict[str, Any] = {}
    provenance: dict[str, Provenance] = {}
    for parent in _parents(loaded.get("extends", []), where):
        inherited, sources = _read(parent, (*chain, where), done)
        for key in leaf_names(inherited):
            assign(values, key, leaf(inherited, key), where)
        provenance |= sources
    stated: set[str] = set()
    for key, value, source in _constants(
        {name: value for name, value in loaded.items() if name != "extends"}, "", where
    ):
        if key in stated:
            raise MachineError(f"{where}: {quoted(key)[1:-1]} stands there 2 times")
        stated.add(key)
        if len(stated) > MAX_VALUES:
            raise MachineError(f"{where}: over {MAX_VALUES:,} values; that is no machine file")
        assign(values, key, value, where)
        if source is not None:
            provenance[key] = source
    done[where] = values, provenance
    return done[where]


def _parents(extends: Any, where: str) -> list[str]:
    """The files that a file extends."""
    parents = extends if isinstance(extends, list) else [extends]
    if len(parents) > MAX_PARENTS or not all(isinstance(parent, str) for parent in parents):
        raise MachineError(
            f"{where}: extends is {quoted(extends)}; give a machine file's name or path, or a list of up to "
            f"{MAX_PARENTS}"
        )
    return parents


def _constants(section: Mapping[str, Any], prefix: str, where: str) -> Iterator[tuple[str, Any, Provenance | None]]:
    """Dotted names, values and provenance of a section's leaves."""
    for name, entry in section.items():
        key = f"{prefix}{name}"
        if isinstance(entry, dict) and "value" in entry:
            yield key, entry["value"], _provenance(entry, key, where)
        elif isinstance(entry, dict) and entry:
            yield from _constants(entry, f"{key}.", where)
        else:
            yield key, entry, None


def _provenance(entry: Mapping[str, Any], key: str, where: str) -> Provenance:
    """Source, confidence and uncertainty of a constant."""
    if set(entry) - {"uncertainty"} != {"value", "source", "confidence"}:
        raise MachineError(f"{where}: {key} needs exactly value, source and confidence, and maybe an uncertainty")
    confidence, uncertainty = entry["confidence"], entry.get("uncertainty", 0.0)
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise MachineError(f"{where}: the confidence of {key} must lie between 0 and 1")
    if (
        isinstance(uncertainty, bool)
        or not isinstance(uncertainty, int | float)
        or not 0 <= uncertainty <= MAX_UNCERTAINTY
    ):
        raise MachineError(
            f"{where}: the uncertainty of {key} must lie between 0 and {MAX_UNCERTAINTY}: 0.3 is from the value / "
            "1.3 to the value x 1.3"
        )
    if not isinstance(entry["source"], str) or not entry["source"].strip():
        raise MachineError(f"{where}: the source of {key} must be a text that says where it comes from")
    return Provenance(entry["source"], float(confidence), float(uncertainty))
