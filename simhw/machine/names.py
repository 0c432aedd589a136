"""Which machine files have a name: those that come with simhw, and those of installed packages.

A package brings machines by an entry point of the group ``simhw.machines``.  Its value is a folder of the package, such
as ``toy_pe.machines``; every ``.yaml`` file in it is a machine of that name.
"""

from importlib.metadata import EntryPoint
from importlib.resources import files
from importlib.resources.abc import Traversable

from simhw.errors import MachineError
from simhw.plugins import MACHINES, entries

SHARED = ("parts", "devices")
"""Folders beside simhw's machines: sections that machines share, and devices."""


def own_names() -> list[str]:
    """Names of the machines that come with simhw."""
    return _yaml_names(_library())


def shared_names() -> list[str]:
    """Names of what lies in the folders beside them, as ``folder/name``."""
    return sorted(f"{folder}/{name}" for folder in SHARED for name in _yaml_names(_library().joinpath(folder)))


def machine_names() -> list[str]:
    """Names of all machines, those of installed packages too.

    Raises
    ------
    MachineError
        A package does not have the folder that it names.
    """
    return sorted({*own_names(), *(name for entry in _packages() for name in _yaml_names(_folder(entry)))})


def named_file(name: str) -> Traversable | None:
    """The file of a machine, or of what machines share, by its name; simhw's own come first.

    Raises
    ------
    MachineError
        Two packages have a machine of that name, or a package does not have the folder that it names.
    """
    if name in own_names() or name in shared_names():
        return _library().joinpath(f"{name}.yaml")
    found = {entry: folder for entry in _packages() if name in _yaml_names(folder := _folder(entry))}
    if len(found) > 1:
        both = " and ".join(entry.value for entry in list(found)[:2])
        raise MachineError(f"machine {name}: {both} both have one; give the path of the file that you mean")
    return next((folder.joinpath(f"{name}.yaml") for folder in found.values()), None)


def _library() -> Traversable:
    return files("simhw").joinpath("machine", "library")


def _packages() -> list[EntryPoint]:
    return entries(MACHINES)


def _folder(entry: EntryPoint) -> Traversable:
    """The folder that an entry point names."""
    try:
        return files(entry.value)
    except ImportError as error:
        raise MachineError(
            f"the entry point {MACHINES} {entry.name} = {entry.value!r}: no such folder: {error}"
        ) from None


def _yaml_names(folder: Traversable) -> list[str]:
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))
