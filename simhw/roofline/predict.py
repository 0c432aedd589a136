"""One operator on one device: how long it takes, and what energy it costs."""

from simhw.errors import MachineError
from simhw.machine.costs import Range
from simhw.roofline.device import Device
from simhw.roofline.operators import Attention, Operator
from simhw.roofline.prediction import Prediction


def predict(operator: Operator, device: Device) -> Prediction:
    """How long an operator takes on a device, and what binds it.

    Raises
    ------
    MachineError
        The device has no rates for the operator's numbers, or no fused attention.
    """
    known = device.values.hardware.numbers
    if isinstance(operator, Attention) and not device.values.fuses_attention:
        raise MachineError(f"{device.name} has no kernel for fused attention; run it as products")
    if operator.number not in known:
        raise MachineError(
            f"{device.name} has no rates for {operator.number}, only for {', '.join(known)}; "
            "a device's file may state them for other numbers (docs/rooflines.md)"
        )
    return device.values.predict(operator)


def energy_of(prediction: Prediction, device: Device) -> Range:
    """Energy [J] of an operator, low to high, while it runs on the device."""
    return device.values.energy_j(prediction)
