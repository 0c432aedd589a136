"""What installed packages add to simhw, found by their entry points.

A package names its parts in groups, such as ``simhw.pe``; nothing in simhw changes for them.  Which parts there are
does not depend on what a process did before, so worker processes find the same ones.  A part that cannot be used is an
error that names its package, and only for who asks for that part.  simhw's own parts come first, so none is replaced.
"""

from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from typing import Any

from simhw.errors import SimhwError

PE = "simhw.pe"
"""Classes of processing elements; the name is the kind."""
WORKLOADS = "simhw.workloads"
"""Rows of the table of workloads; the name is the workload's."""
MACHINES = "simhw.machines"
"""Folders of machine files; what each file is called is a machine's name."""
DEVICES = "simhw.devices"
"""Folders of device files, likewise."""
FOLDERS = (MACHINES, DEVICES)
GROUPS = (PE, WORKLOADS, *FOLDERS)


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


def brought(group: str, name: str, what: str, error: type[SimhwError]) -> tuple[Any, str] | None:
    """The object that a package brings by a name, and its place for an error; None where there is none.

    Parameters
    ----------
    group, name : str
    what : str
        Begins an error, such as "pe.kind toy".

    Raises
    ------
    SimhwError
        Of the type given: two packages bring it, or it cannot be loaded.
    """
    found = entries(group, name)
    if not found:
        return None
    if len(found) > 1:
        raise error(f"{what}: {place(found[0])} and {place(found[1])} both bring it; remove one package")
    (entry,) = found
    try:
        return entry.load(), place(entry)
    except Exception as cause:  # whatever a stranger's module raises when it is run
        kind = "" if isinstance(cause, ImportError | AttributeError) else f"{type(cause).__name__}: "
        raise error(f"{what}: {place(entry)} cannot be loaded: {kind}{cause}") from None


def folders(group: str) -> dict[EntryPoint, Traversable]:
    """The folders that the entry points of a group name; one that is not there is left out (`problem` tells)."""
    return {entry: files(entry.value) for entry in entries(group) if problem(entry) is None}


def problem(entry: EntryPoint) -> str | None:
    """Why an entry point leads nowhere, None where its module or folder is there; neither is run."""
    name, is_folder = entry.value.partition(":")[0].strip(), entry.group in FOLDERS
    try:
        spec = find_spec(name)
    except Exception as cause:  # the packages around it are run, and may raise anything
        return f"{place(entry)} cannot be found: {cause}"
    # A folder without code of its own is a package too, to Python.
    there = spec is not None and (not is_folder or bool(spec.submodule_search_locations))
    return None if there else f"{place(entry)} cannot be found: no {'folder' if is_folder else 'module'} {name}"


def problems(*groups: str) -> list[str]:
    """A line on each entry point of some groups that leads nowhere."""
    found = {entry: problem(entry) for group in groups for entry in entries(group)}
    return [f"plug-in {entry.group} {entry.name}: {told}" for entry, told in found.items() if told is not None]
