"""Power on a GPU."""

from pydantic import BaseModel, ConfigDict

from simhw.costs import Range
from simhw.roofline.gpu.hardware import Hardware
from simhw.roofline.prediction import Prediction


class PowerParameters(BaseModel):
    """Constants for power."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def energy_on_gpu(prediction: Prediction, hardware: Hardware, parameters: PowerParameters) -> Range:
    """Energy [J] of one operator, low to high."""
    raise NotImplementedError
