"""The lines of a roofline plot: how fast a device computes and moves data at most."""

from dataclasses import dataclass
from typing import Literal

from simhw.roofline.device import Device
from simhw.roofline.gpu.parameters import GpuValues
from simhw.roofline.operators import Number


@dataclass(frozen=True)
class Ceiling:
    """A limit of a device: operations or bytes per second."""

    name: str
    per_s: float
    of: Literal["flops", "bytes"]


def ceilings(device: Device, number: Number) -> list[Ceiling]:
    """What limits a device: products and vectors of such numbers, the L2 and off-chip memory, in this order."""
    values = device.values
    if isinstance(values, GpuValues):
        matrix, vector = values.hardware.matrix_flops_per_s(number), values.hardware.vector_flops_per_s(number)
        l2, dram = values.hardware.l2_bytes_per_s, values.hardware.dram_bytes_per_s
    else:
        raise NotImplementedError
    return [
        Ceiling(f"{number} matrix peak", matrix, "flops"),
        Ceiling(f"{number} vector peak", vector, "flops"),
        Ceiling("L2", l2, "bytes"),
        Ceiling("DRAM", dram, "bytes"),
    ]
