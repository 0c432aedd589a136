"""Which machine and device files have a name: those that come with simhw, and those of installed packages.

A package brings machines by an entry point of the group ``simhw.machines`` and devices by one of ``simhw.devices``. Its
value is a folder of the package, such as ``serial_pe.machines``; every ``.yaml`` file in it is a machine, or a device,
of that name.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable

from simhw.errors import MachineError
from simhw.plugins import DEVICES, MACHINES, folders, place

DEVICE = "devices/"
"""What a device's name as a file begins with, so that a machine may have the same name."""
SHARED = ("parts", "devices")
"""Folders beside simhw's machines: sections that machines share, and devices."""


def own_names() -> list[str]:
    """Names of the machines that come with simhw."""
    return _yaml_names(_library())


def machine_names() -> list[str]:
    """Names of all machines, those of installed packages too."""
    return sorted({*own_names(), *_brought(MACHINES)})


def device_names() -> list[str]:
    """Names of all devices, those of installed packages too."""
    own = [name.removeprefix(DEVICE) for name in _shared_names() if name.startswith(DEVICE)]
    return sorted({*own, *_brought(DEVICES)})


def named_file(name: str) -> Traversable | None:
    """The file of a machine, of a device (``devices/NAME``) or of a part (``parts/NAME``); simhw's own come first.

    Raises
    ------
    MachineError
        Two packages have one of that name.
    """
    if name in own_names() or name in _shared_names():
        return _library().joinpath(f"{name}.yaml")
    group, file = (DEVICES, name.removeprefix(DEVICE)) if name.startswith(DEVICE) else (MACHINES, name)
    found = {entry: folder for entry, folder in folders(group).items() if file in _yaml_names(folder)}
    if len(found) > 1:
        both = " and ".join(map(place, list(found)[:2]))
        raise MachineError(f"{group} {file}: {both} both have one; give the path of the file that you mean")
    return next((folder.joinpath(f"{file}.yaml") for folder in found.values()), None)


def _library() -> Traversable:
    return files("simhw").joinpath("machine", "library")


def _shared_names() -> list[str]:
    """Names of what lies in the folders beside simhw's machines, as ``folder/name``."""
    return sorted(f"{folder}/{name}" for folder in SHARED for name in _yaml_names(_library().joinpath(folder)))


def _brought(group: str) -> list[str]:
    return [name for folder in folders(group).values() for name in _yaml_names(folder)]


def _yaml_names(folder: Traversable) -> list[str]:
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))
