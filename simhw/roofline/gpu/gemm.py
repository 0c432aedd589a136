"""Products on a GPU."""

from pydantic import BaseModel, ConfigDict

from simhw.roofline.gpu.hardware import Hardware
from simhw.roofline.operators import Gemm
from simhw.roofline.prediction import Prediction


class GemmParameters(BaseModel):
    """Constants for products."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def predict_gemm(gemm: Gemm, hardware: Hardware, parameters: GemmParameters) -> Prediction:
    raise NotImplementedError
