"""Recurrent cells on a GPU."""

from pydantic import BaseModel, ConfigDict

from simhw.roofline.gpu.gemm import GemmParameters
from simhw.roofline.gpu.hardware import Hardware
from simhw.roofline.operators import Recurrent
from simhw.roofline.prediction import Prediction


class RecurrentParameters(BaseModel):
    """Constants for recurrent cells."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def predict_recurrent(recurrent: Recurrent, hardware: Hardware, parameters: RecurrentParameters, gemm: GemmParameters) -> Prediction:
    raise NotImplementedError
