"""What installed packages add to simhw, found by their entry points.

A package names its parts in groups, such as ``simhw.pe``; nothing in simhw changes for them.  Which groups there are
does not depend on what a process did before, so worker processes find the same parts.
"""

from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

PE = "simhw.pe"
"""Classes of processing elements; the name is the kind."""
MACHINES = "simhw.machines"
"""Folders of machine files."""
GROUPS = (PE, MACHINES)


def entries(group: str, name: str | None = None) -> list[EntryPoint]:
    """Entry points of a group, all or those of one name, in an order that does not depend on the path."""
    found = entry_points(group=group) if name is None else entry_points(group=group, name=name)
    return sorted(found, key=lambda entry: (entry.name, entry.value))


def package(entry: EntryPoint) -> str:
    """The package that brings an entry point, as pip names it."""
    return entry.dist.name if entry.dist else "unknown"


def place(entry: EntryPoint) -> str:
    """What an entry point names and who brings it, for an error."""
    return f"{entry.value} of the package {package(entry)}"


def missing(entry: EntryPoint) -> str | None:
    """Why an entry point leads nowhere, None where its module is there; it is not run."""
    try:
        spec = find_spec(entry.module)
    except (ImportError, AttributeError, ValueError) as error:
        return str(error)
    return None if spec is not None else f"no module {entry.module}"
