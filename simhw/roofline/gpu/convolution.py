"""Convolutions on a GPU."""

from pydantic import BaseModel, ConfigDict

from simhw.roofline.gpu.hardware import Hardware
from simhw.roofline.operators import Convolution
from simhw.roofline.prediction import Prediction


class ConvolutionParameters(BaseModel):
    """Constants for convolutions."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def predict_convolution(convolution: Convolution, hardware: Hardware, parameters: ConvolutionParameters) -> Prediction:
    raise NotImplementedError
