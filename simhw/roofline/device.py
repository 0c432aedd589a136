"""Devices: every constant of one, validated, with its source; the counterpart of `simhw.machine` for real chips."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from simhw.errors import MachineError
from simhw.machine_file import Provenance, assign, parse_overrides, read_machine, resolve, validated
from simhw.roofline.ascend.parameters import AscendValues
from simhw.roofline.gpu.parameters import GpuValues

_MODELS: dict[str, type[GpuValues] | type[AscendValues]] = {"gpu": GpuValues, "ascend": AscendValues}


@dataclass(frozen=True)
class Device:
    """A device: validated values, where each comes from, and what was overridden.

    Attributes
    ----------
    values : pydantic model
        Every constant, by section.
    provenance : dict of dotted name to Provenance
    overrides : dict of dotted name to value
        What differs from the file.
    """

    values: GpuValues | AscendValues
    provenance: Mapping[str, Provenance]
    overrides: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The file's name for it."""
        return self.values.name

    @property
    def label(self) -> str:
        """Name and overrides, as `--device` takes them."""
        changed = ",".join(f"{key}={value}" for key, value in self.overrides.items())
        return f"{self.name}:{changed}" if changed else self.name

    @cached_property
    def content_hash(self) -> str:
        """Hash of all values that can change a result."""
        values = self.values.model_dump(mode="json", exclude={"description"})
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def device_names() -> list[str]:
    """Names of the devices that come with simhw."""
    devices = files("simhw").joinpath("machines", "devices")
    return sorted(path.name.removesuffix(".yaml") for path in devices.iterdir() if path.name.endswith(".yaml"))


def load_device(device: str | Path, /, **overrides: Any) -> Device:
    """Load a device by name or from a file, and override some of its values by their dotted names.

    Raises
    ------
    MachineError
        No such device, or a file or value that cannot be used; says which names there are.
    """
    where = str(device)
    if where in device_names():
        source = f"devices/{where}"
    elif Path(where).suffix in (".yaml", ".yml"):
        source = where
    else:
        raise MachineError(f"no device {where!r}: give the path of a .yaml file or one of {', '.join(device_names())}")
    values, provenance = read_machine(source)
    changed: dict[str, Any] = {}
    for key, value in overrides.items():
        path = resolve(key, values, where)
        assign(values, path, value, where)
        provenance[path] = Provenance("set by the user", 1.0)
        changed[path] = value
    kind = values.get("kind")
    if kind not in _MODELS:
        raise MachineError(f"{where}: kind is {kind!r}; known are {', '.join(_MODELS)}")
    return Device(validated(_MODELS[kind], values, where), provenance, changed)


def parse_device(text: str) -> Device:
    """A device as the command line names it: ``NAME`` or ``NAME:key=value,key=value``."""
    name, colon, settings = text.rpartition(":")
    if not colon or "=" not in settings:
        name, settings = text, ""
    return load_device(name, **parse_overrides(filter(None, settings.split(","))))
