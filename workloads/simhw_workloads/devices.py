"""How the cross table runs a device of the rooflines: training or inference, precision, eager or fused."""

from simhw.roofline.device import Device
from simhw.roofline.step.run import Run as DeviceRun

DEVICES = {"v100": "training", "ascend910": "training", "ascend310": "inference"}
"""Devices of the cross table, and what each runs there."""


def device_run(device: Device, batch: int) -> DeviceRun:
    """A step as the device's users run it.

    Training in mixed precision, inference in fp16 on a device that only infers; GPUs one kernel per operation (eager),
    Ascends with operations fused by their compiler.
    """
    inference = DEVICES.get(device.name) == "inference"
    return DeviceRun(
        batch,
        "inference" if inference else "training",
        "fp16" if inference else "amp",
        device.values.usual_fusion,
    )
