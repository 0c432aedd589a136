"""Which kinds of processing elements there are: simhw's own, and those of installed packages.

simhw's own stand in a table here and are imported when one is asked for.  A package brings its own by an entry point of
the group ``simhw.pe``, whose name is the kind and whose value is the class, ``toy = "toy_pe:Toy"``.  Neither depends on
what a process did before, so worker processes know the same kinds.
"""

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any

from simhw.errors import MachineError, quoted
from simhw.pe.protocol import ProcessingElement
from simhw.plugins import PE, entries, place

OWN = {
    "bitparallel": "simhw.pe.bitparallel.element:BitParallel",
    "fpraker": "simhw.pe.fpraker.element:FPRaker",
    "tensordash": "simhw.pe.tensordash.element:TensorDash",
}


def kinds() -> list[str]:
    """Names of all kinds, simhw's own first."""
    return [*OWN, *sorted({entry.name for entry in entries(PE)} - set(OWN))]


@cache
def processing_element(kind: str) -> type[ProcessingElement[Any]]:
    """The class of a kind of processing element.

    Raises
    ------
    MachineError
        There is no such kind, two packages bring it, or its package does not give what it says.
    """
    if kind in OWN:
        module, _, name = OWN[kind].partition(":")
        own: type[ProcessingElement[Any]] = getattr(import_module(module), name)
        return own
    found = entries(PE, kind)
    if not found:
        raise MachineError(f"pe.kind is {quoted(kind)}; known are {', '.join(kinds())}")
    if len(found) > 1:
        both = f"{place(found[0])} and {place(found[1])}"
        raise MachineError(f"pe.kind {kind}: {both} both bring it; remove one package")
    return _loaded(found[0])


def _loaded(entry: EntryPoint) -> type[ProcessingElement[Any]]:
    """The class that an entry point names."""
    try:
        brought = entry.load()
    except (ImportError, AttributeError) as error:
        raise MachineError(f"pe.kind {entry.name}: {place(entry)} cannot be loaded: {error}") from None
    if not (isinstance(brought, type) and issubclass(brought, ProcessingElement)):
        raise MachineError(f"pe.kind {entry.name}: {place(entry)} is no class derived from ProcessingElement")
    if missing := sorted(getattr(brought, "__abstractmethods__", ())):
        raise MachineError(f"pe.kind {entry.name}: {place(entry)} does not define {', '.join(missing)}")
    if brought.kind != entry.name:
        raise MachineError(f"pe.kind {entry.name}: {place(entry)} is of the kind {quoted(brought.kind)}")
    return brought
