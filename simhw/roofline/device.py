"""Devices: every constant of one, validated, with its source; the counterpart of `simhw.machine.machine`
for real chips.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simhw.errors import MachineError, quoted
from simhw.machine.described import Described
from simhw.machine.files import read_machine, validated
from simhw.machine.names import DEVICE, device_names
from simhw.machine.overrides import override, split_machine
from simhw.plugins import DEVICES, problems
from simhw.roofline.ascend.values import AscendValues
from simhw.roofline.gpu.values import GpuValues

_MODELS: dict[str, type[GpuValues] | type[AscendValues]] = {"gpu": GpuValues, "ascend": AscendValues}


@dataclass(frozen=True)
class Device(Described[GpuValues | AscendValues]):
    """A device: validated values, where each comes from, and what was overridden."""


def device_source(where: str) -> str:
    """The machine file of a device, by its name or path.

    Raises
    ------
    MachineError
        Neither.
    """
    if where in device_names():
        return f"{DEVICE}{where}"
    if Path(where).suffix not in (".yaml", ".yml") or not os.path.isfile(
        where
    ):  # false for a name too long, where Path raises
        raise MachineError(
            f"no device {quoted(where)}: give the path of a .yaml file or one of {', '.join(device_names())}"
            f"{''.join(f'; {line}' for line in problems(DEVICES))}"
        )
    return where


def load_device(device: str | Path, /, **overrides: Any) -> Device:
    """Load a device by name or from a file, and override some of its values by name; see `simhw.machine.overrides`.

    Raises
    ------
    MachineError
        No such device, or a file or value that cannot be used; says which names there are.
    """
    where = str(device)
    values, provenance = read_machine(device_source(where))
    changed = override(values, provenance, overrides, where)
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in _MODELS:
        raise MachineError(f"{where}: kind is {quoted(kind)}; known are {', '.join(_MODELS)}")
    return Device(validated(_MODELS[kind], values, where), provenance, changed)


def is_device(where: str) -> bool:
    """Whether a name is a device's, or a file describes one rather than a machine that simhw simulates."""
    if where in device_names():
        return True
    if not os.path.isfile(where):
        return False
    try:
        kind = read_machine(where)[0].get("kind")
        return isinstance(kind, str) and kind in _MODELS
    except MachineError:  # a layer list, say, or a machine's file whose mistake its own reader tells
        return False


def parse_device(text: str) -> Device:
    """A device as the command line names it: ``NAME`` or ``NAME:key=value,key=value``."""
    name, overrides = split_machine(text)
    return load_device(name, **overrides)
