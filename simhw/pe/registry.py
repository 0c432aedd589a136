"""Which kinds of processing elements there are: simhw's own, and those of installed packages.

simhw's own stand in a table here and are imported when one is asked for.  A package brings its own by an entry point of
the group ``simhw.pe``, whose name is the kind and whose value is the class: ``serial = "serial_pe.element:Serial"``.
"""

from functools import cache
from importlib import import_module
from typing import Any

from simhw.errors import MachineError, quoted
from simhw.pe.protocol import ProcessingElement
from simhw.plugins import PE, brought, entries

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
    found = brought(PE, kind, f"pe.kind {kind}", MachineError)
    if found is None:
        raise MachineError(f"pe.kind is {quoted(kind)}; known are {', '.join(kinds())}")
    return _checked(kind, *found)


def _checked(kind: str, element: Any, place: str) -> type[ProcessingElement[Any]]:
    """What a package brings, once it is a class of this kind."""
    if not (isinstance(element, type) and issubclass(element, ProcessingElement)):
        raise MachineError(f"pe.kind {kind}: {place} is no class derived from ProcessingElement")
    if missing := sorted(getattr(element, "__abstractmethods__", ())):
        raise MachineError(f"pe.kind {kind}: {place} does not define {', '.join(missing)}")
    if element.kind != kind:
        raise MachineError(f"pe.kind {kind}: {place} is of the kind {quoted(element.kind)}")
    return element
