"""One operator on one device."""

from simhw.roofline.ascend.model import predict_on_ascend
from simhw.roofline.device import Device
from simhw.roofline.gpu.model import predict_on_gpu
from simhw.roofline.gpu.parameters import GpuValues
from simhw.roofline.operators import Operator
from simhw.roofline.prediction import Prediction


def predict(operator: Operator, device: Device) -> Prediction:
    """How long an operator takes on a device, and what binds it."""
    if isinstance(device.values, GpuValues):
        return predict_on_gpu(operator, device.values)
    return predict_on_ascend(operator, device.values)
