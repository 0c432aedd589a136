"""How the cross table runs a device of the rooflines: training or inference, precision, eager or fused."""

from simhw.roofline.device import Device
from simhw.roofline.step.run import Mode, usual_precision
from simhw.roofline.step.run import Run as DeviceRun

DEVICES = {"v100": "training", "h200": "training", "ascend910": "training", "ascend310": "inference"}
"""Devices of the cross table, and what each runs there."""


def device_run(device: Device, batch: int) -> DeviceRun:
    """A step as the device's users run it.

    Training in mixed precision, with bf16 where the device has no rates for fp16, inference in fp16 on a device that
    only infers; GPUs one kernel per operation, issued one by one (eager), Ascends with operations fused by their
    compiler.
    """
    mode: Mode = "inference" if DEVICES.get(device.name) == "inference" else "training"
    return DeviceRun(batch, mode, usual_precision(mode, device.values.hardware.numbers), device.values.usual_fusion)
