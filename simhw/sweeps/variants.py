"""Variants of machines: what a sweep overrides of one, and the pair of machine and baseline that comes of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from simhw.errors import MachineError, SimhwError, quoted
from simhw.machine.area import compute_area, iso_area
from simhw.machine.machine import Machine, MachineFile, baseline_of
from simhw.machine.overrides import meant, resolve, resolved, split_machine
from simhw.sweeps.description import SWITCHES, Scalar, SweepDescription

EQUAL_AREA = "iso-area"
"""In place of a number of tiles: as many as take the area of the baseline's tiles, as `simhw machine iso-area` counts
them.
"""
KEPT = 1000
"""Machines that are kept from planning to running, some 50 MB of them; a larger sweep builds its own twice."""


@dataclass(frozen=True)
class Variant:
    """A machine as a point asks for it.

    Attributes
    ----------
    machine : str
        As the command line names it.
    overrides : tuple of (name, value)
        By whole dotted names, in the order of the sweep's axes; values as JSON, in which 1, 1.0 and true differ.
    baseline, baseline_compression, memory : str or None
        As the options of `simhw run` take them; None for what the machine's file says.
    """

    machine: str
    overrides: tuple[tuple[str, str], ...] = ()
    baseline: str | None = None
    baseline_compression: str | None = None
    memory: str | None = None

    @property
    def values(self) -> dict[str, Scalar]:
        """What is overridden."""
        return {name: json.loads(value) for name, value in self.overrides}


class Variants:
    """The variants of a sweep's machines.  Each machine file is read once, so that all of them are of the same content.

    Parameters
    ----------
    description : SweepDescription
    where : str
        The sweep file, for errors.

    Raises
    ------
    SimhwError
        A machine or a baseline cannot be read; or an axis is no switch and no value of any machine, or sets what a
        machine's own overrides do.
    """

    def __init__(self, description: SweepDescription, where: str) -> None:
        self._file = lru_cache(maxsize=None)(MachineFile)
        self.built = lru_cache(maxsize=KEPT)(self._built)
        self._names: dict[str, dict[str, str]] = {}
        axes = [axis for axis in description.axes if axis not in SWITCHES]
        for text in description.machines:
            try:
                name, own = split_machine(text)
                names = self._file(name).names
                # Axes that mean the same value, or one of several, are told here.
                swept = {axis: resolve(axis, names, name) for axis in axes if meant(axis, names)}
                resolved(swept, names, name)
                for path in resolved(own, names, name):
                    if path in swept.values():
                        raise MachineError(f"{quoted(text)} sets {path}, which the sweep varies; leave one out")
            except MachineError as error:
                raise SimhwError(f"{where}: machines: {error}") from None
            self._names[text] = swept
        for baseline in description.values("baseline"):
            if baseline is not None:
                self._check_baseline(str(baseline), where)
        for axis in axes:
            if not any(axis in swept for swept in self._names.values()):
                self._refuse(axis, description.machines[0], where)

    def _check_baseline(self, text: str, where: str) -> None:
        try:
            name, own = split_machine(text)
            resolved(own, self._file(name).names, name)
        except MachineError as error:
            raise SimhwError(f"{where}: baseline: {error}") from None

    def _refuse(self, axis: str, machine: str, where: str) -> None:
        name, _ = split_machine(machine)
        try:
            resolve(axis, self._file(name).names, name)
        except MachineError as error:
            raise SimhwError(
                f"{where}: {quoted(axis)} is no switch ({', '.join(SWITCHES)}), and of no machine a value: {error}"
            ) from None

    @property
    def parameters(self) -> list[str]:
        """Whole names of all values of machines that the sweep varies, in the order of its axes."""
        return list(dict.fromkeys(path for swept in self._names.values() for path in swept.values()))

    def variant(self, machine: str, axes: Mapping[str, Scalar]) -> Variant:
        """A machine with the axes' values that it has; the others are not its own, and change nothing of it."""
        swept = self._names[machine]
        overrides = tuple((swept[axis], json.dumps(value)) for axis, value in axes.items() if axis in swept)
        baseline, compression, memory = (axes.get(name) for name in ("baseline", "baseline_compression", "memory"))
        return Variant(machine, overrides, _text(baseline), _text(compression), _text(memory))

    def _built(self, variant: Variant) -> tuple[Machine, Machine | None]:
        """The machine of a variant and its baseline; `built` keeps the last ones.

        Raises
        ------
        MachineError
            A value that cannot be used, or a combination of them.
        """
        values = variant.values
        if values.get("tiles") != EQUAL_AREA:
            return self._pair(variant, values)
        del values["tiles"]
        machine, baseline = self._pair(variant, values)
        if baseline is None:
            raise MachineError(f"tiles {EQUAL_AREA}: {machine.label} has no baseline whose area they could take")
        names = (baseline.label, machine.label)
        tiles = iso_area(compute_area(baseline), compute_area(machine), names=names).tiles
        return self._pair(variant, {**values, "tiles": tiles})

    def _pair(self, variant: Variant, values: Mapping[str, Any]) -> tuple[Machine, Machine | None]:
        machine = self._machine(variant.machine, values, variant.memory)
        if variant.baseline is None:
            return machine, baseline_of(machine, variant.baseline_compression, self._file)
        if variant.baseline_compression is not None:
            raise MachineError(
                f"baseline_compression {quoted(variant.baseline_compression)}: the baseline "
                f"{quoted(variant.baseline)} is named, and is taken as it is; override its memory.compression"
            )
        return machine, self._machine(variant.baseline, {}, variant.memory)

    def _machine(self, text: str, overrides: Mapping[str, Any], memory: str | None) -> Machine:
        name, own = split_machine(text)
        file = self._file(name)
        if memory == "modelled" and "memory.model" not in file.names:
            raise MachineError(
                f"memory modelled: the file of {name} has no memory section; extend a machine that has one"
            )
        model = {"memory.model": memory} if memory is not None and "memory.model" in file.names else {}
        return file.machine(model | resolved(own, file.names, name) | dict(overrides))


def _text(value: Scalar) -> str | None:
    assert value is None or isinstance(value, str)
    return value
