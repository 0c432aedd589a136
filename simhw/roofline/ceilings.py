"""The lines of a roofline plot: how fast a device computes and moves data at most."""

from dataclasses import dataclass

from simhw.roofline.device import Device
from simhw.roofline.gpu.parameters import GpuValues
from simhw.roofline.operators import Number


@dataclass(frozen=True)
class Ceiling:
    """A limit of a device.

    Attributes
    ----------
    name : str
    flops_per_s, bytes_per_s : float or None
        A horizontal line has the first, a slope the second.
    """

    name: str
    flops_per_s: float | None = None
    bytes_per_s: float | None = None


def ceilings(device: Device, number: Number) -> list[Ceiling]:
    """What limits products and vectors of such numbers, and traffic."""
    if isinstance(device.values, GpuValues):
        hardware = device.values.hardware
        matrix = hardware.matrix_flops_per_s(number)
        vector = hardware.vector_flops_per_s(number)
        lines = [Ceiling(f"{number} matrix peak", matrix)]
        if vector != matrix:
            lines.append(Ceiling(f"{number} vector peak", vector))
        return [*lines, Ceiling("L2", bytes_per_s=hardware.l2_bytes_per_s), Ceiling("DRAM", bytes_per_s=hardware.dram_bytes_per_s)]
    raise NotImplementedError
