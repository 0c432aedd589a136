"""Operators limited by data movement on a GPU."""

from pydantic import BaseModel, ConfigDict

from simhw.roofline.gpu.hardware import Hardware
from simhw.roofline.operators import Streaming
from simhw.roofline.prediction import Prediction


class StreamingParameters(BaseModel):
    """Constants for operators limited by data movement."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def predict_streaming(streaming: Streaming, hardware: Hardware, parameters: StreamingParameters) -> Prediction:
    raise NotImplementedError
