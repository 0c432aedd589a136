"""A GPU: everything that its file states, and what it makes of an operator."""

from typing import ClassVar, Literal

from pydantic import model_validator

from simhw.machine.costs import Range
from simhw.machine.described import DescribedValues
from simhw.roofline.gpu.convolution import predict_convolution
from simhw.roofline.gpu.convolution_parameters import ConvolutionParameters
from simhw.roofline.gpu.gemm import GemmParameters, predict_gemm
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.power import PowerParameters, energy_on_gpu
from simhw.roofline.gpu.recurrent import RecurrentParameters, predict_recurrent
from simhw.roofline.gpu.streaming import StreamingParameters, predict_streaming
from simhw.roofline.operators import Attention, Convolution, Gemm, Operator, Recurrent
from simhw.roofline.prediction import Prediction
from simhw.roofline.quantities import check_tables


class GpuValues(DescribedValues):
    """Sections of a GPU's file: the hardware as published, and what its libraries make of it, fitted to measurements.

    `trains`: whether training is run on it.
    """

    usual_fusion: ClassVar[Literal["eager", "fused"]] = "eager"
    """How its users run elementwise functions, where no one says."""
    fuses_attention: ClassVar[bool] = False
    """Whether attention runs as one kernel."""

    kind: Literal["gpu"]
    trains: bool = True
    hardware: GpuHardware
    gemm: GemmParameters
    convolution: ConvolutionParameters
    streaming: StreamingParameters
    recurrent: RecurrentParameters
    power: PowerParameters

    @model_validator(mode="after")
    def _tables_have_the_same_numbers(self) -> "GpuValues":
        check_tables(self, self.hardware.numbers)
        return self

    def predict(self, operator: Operator) -> Prediction:
        """How long an operator takes."""
        if isinstance(operator, Gemm):
            return predict_gemm(operator, self.hardware, self.gemm)
        if isinstance(operator, Convolution):
            return predict_convolution(operator, self.hardware, self.convolution)
        if isinstance(operator, Recurrent):
            return predict_recurrent(operator, self.hardware, self.recurrent, self.gemm)
        assert not isinstance(operator, Attention), "a device without fused attention is never asked for it"
        return predict_streaming(operator, self.hardware, self.streaming)

    def energy_j(self, prediction: Prediction) -> Range:
        """Energy [J] of an operator, low to high."""
        return energy_on_gpu(prediction, self.hardware, self.power)
