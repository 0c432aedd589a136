"""Nested mappings by dotted names: ``tile.rows`` is the value ``rows`` of the section ``tile``."""

from collections.abc import Mapping
from typing import Any

from simhw.errors import MachineError


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


def assign(values: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Set the value at a dotted name, in sections that are made where there are none.  An empty section changes no
    section.

    Raises
    ------
    MachineError
        The name goes through a value.
    """
    *sections, last = path.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise MachineError(f"{where}: {path}: {section} is a value, not a section")
    if isinstance(value, dict) and not value and isinstance(values.get(last), dict):
        return
    values[last] = value
