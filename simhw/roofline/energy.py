"""The energy of one operator on a device, with the ends of its uncertainty."""

from simhw.machine.costs import Range
from simhw.roofline.ascend.power import energy_on_ascend
from simhw.roofline.device import Device
from simhw.roofline.gpu.parameters import GpuValues
from simhw.roofline.gpu.power import energy_on_gpu
from simhw.roofline.prediction import Prediction


def energy_of(prediction: Prediction, device: Device) -> Range:
    """Energy [J] of an operator, low to high, while it runs on the device."""
    if isinstance(device.values, GpuValues):
        return energy_on_gpu(prediction, device.values.hardware, device.values.power)
    return energy_on_ascend(prediction, device.values.power)
