"""Overrides: values of a machine or device that a user replaces, by name.

A name is given whole (``memory.buffers.a.banks``), or by its last part alone (``oob_threshold``) where no other value
of the machine ends in it.  A name with a dot is always a whole one: ``memory.rows`` is not ``tile.rows``.
"""

from collections.abc import Collection, Iterable, Mapping
from difflib import SequenceMatcher, get_close_matches
from typing import Any

import numpy as np
import yaml

from simhw.errors import MachineError, quoted
from simhw.files.plain_yaml import parse_yaml
from simhw.machine.dotted import assign, leaf_names
from simhw.machine.provenance import Provenance

MOST_MATCHES = 5
"""Names that an error offers."""


def parse_overrides(settings: Iterable[str]) -> dict[str, Any]:
    """``key=value`` texts as overrides, their values read as YAML.

    Raises
    ------
    MachineError
        A text without ``=``, a value that is not YAML, or a key twice.
    """
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise MachineError(
                f"override {quoted(setting)} is not of the form key=value, for example pe.oob_threshold=9"
            )
        if key.strip() in overrides:
            raise MachineError(f"{quoted(key.strip())} is overridden twice; give one value")
        try:
            overrides[key.strip()] = parse_yaml(value)
        except yaml.YAMLError as error:
            raise MachineError(f"override {quoted(setting)}: the value is not valid YAML: {error}") from None
    return overrides


def split_machine(text: str) -> tuple[str, dict[str, Any]]:
    """Name or path, and overrides, of a machine as the command line names it; see
    `simhw.machine.machine.parse_machine`.
    """
    # A path may hold a colon of its own, overrides always hold an equals sign.
    name, colon, settings = text.rpartition(":")
    if not colon or "=" not in settings:
        name, settings = text, ""
    return name, parse_overrides(filter(None, settings.split(",")))


def label(name: str, overrides: Mapping[str, Any]) -> str:
    """A name and its overrides, as the command line takes them."""
    changed = ",".join(f"{key}={value}" for key, value in overrides.items())
    return f"{name}:{changed}" if changed else name


def meant(key: str, names: Collection[str]) -> list[str]:
    """Which of a machine's dotted names an override may mean: the whole name, or where it has no dot those that end in
    it.
    """
    if key in names:
        return [key]
    return [] if "." in key else [name for name in names if name.rpartition(".")[2] == key]


def resolve(key: str, names: Collection[str], where: str) -> str:
    """The dotted name that an override means.

    Raises
    ------
    MachineError
        None of them, or several; offers at most five.
    """
    found = meant(key, names)
    if len(found) == 1:
        return found[0]
    offered = found or _close(key, names)
    there = f"there are {', '.join(offered[:MOST_MATCHES])}" if offered else "nothing is called alike"
    more = (
        f"{len(found)} values end so: give the whole name of one"
        if found
        else f"`simhw machine show {where}` lists them all"
    )
    raise MachineError(f"{where}: no value {quoted(key)} to override; {there}; {more}")


def resolved(overrides: Mapping[str, Any], names: Collection[str], where: str) -> dict[str, Any]:
    """Overrides by whole dotted names.

    Raises
    ------
    MachineError
        As `resolve`; or two of them mean the same value.
    """
    found: dict[str, Any] = {}
    for key, value in overrides.items():
        path = resolve(key, names, where)
        if path in found:
            raise MachineError(
                f"{where}: {path} is overridden twice, by its whole name and by its last part; give one value"
            )
        found[path] = value
    return found


def override(
    values: dict[str, Any], provenance: dict[str, Provenance], overrides: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Replace values and their provenance; gives what was replaced by its full dotted name.

    Raises
    ------
    MachineError
        No such value, or several; or one twice.
    """
    changed = resolved(overrides, dict.fromkeys(leaf_names(values)), where)
    for path, value in changed.items():
        # NumPy's numbers and arrays are as good as Python's.
        changed[path] = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        assign(values, path, changed[path], where)
        provenance[path] = Provenance("set by the user", 1.0)
    return changed


def _close(key: str, names: Collection[str]) -> list[str]:
    """The names most like one that does not exist: those that end in its last part first, the closest of
    either first.
    """
    last = key.rpartition(".")[2]
    matcher = SequenceMatcher(b=key)

    def likeness(name: str) -> float:
        matcher.set_seq1(name)
        return matcher.ratio()

    same = sorted((name for name in names if name.rpartition(".")[2] == last), key=likeness, reverse=True)
    alike = get_close_matches(key, names, MOST_MATCHES)
    if "." not in key:
        parts = get_close_matches(key, {name.rpartition(".")[2] for name in names}, MOST_MATCHES)
        alike = [name for part in parts for name in names if name.rpartition(".")[2] == part] + alike
    return list(dict.fromkeys([*same, *alike]))[:MOST_MATCHES]
