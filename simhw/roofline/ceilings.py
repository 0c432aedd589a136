"""The lines of a roofline plot: how fast a device computes and moves data at most."""

from dataclasses import dataclass
from typing import Literal

from simhw.roofline.device import Device
from simhw.roofline.numbers import Number


@dataclass(frozen=True)
class Ceiling:
    """A limit of a device: operations or bytes per second."""

    name: str
    per_s: float
    of: Literal["flops", "bytes"]


def ceilings(device: Device, number: Number) -> list[Ceiling]:
    """What limits a device: products and vectors of such numbers, the L2 and off-chip memory, in this order."""
    hardware = device.values.hardware
    return [
        Ceiling(f"{number} matrix peak", hardware.matrix_flops_per_s(number), "flops"),
        Ceiling(f"{number} vector peak", hardware.vector_flops_per_s(number), "flops"),
        Ceiling("L2", hardware.l2_bytes_per_s, "bytes"),
        Ceiling("DRAM", hardware.dram_bytes_per_s, "bytes"),
    ]
