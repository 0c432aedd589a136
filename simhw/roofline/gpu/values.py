"""A GPU: everything that its file states, and what it makes of an operator."""

from typing import ClassVar, Literal

from pydantic import model_validator

from simhw.machine.costs import Range
from simhw.machine.described import DescribedValues
from simhw.roofline.gpu.attention import AttentionParameters, predict_attention
from simhw.roofline.gpu.convolution import predict_convolution
from simhw.roofline.gpu.convolution_parameters import ConvolutionParameters
from simhw.roofline.gpu.engines.convolution import predict_by_engines
from simhw.roofline.gpu.engines.parameters import EngineParameters
from simhw.roofline.gpu.gemm import GemmParameters
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.host import HostParameters
from simhw.roofline.gpu.pipelined_gemm import PipelinedGemmParameters
from simhw.roofline.gpu.power import PowerParameters, energy_on_gpu
from simhw.roofline.gpu.products import ProductParameters, predict_product
from simhw.roofline.gpu.recurrent import RecurrentParameters, predict_recurrent
from simhw.roofline.gpu.streaming import StreamingParameters, predict_streaming
from simhw.roofline.operators import Attention, Convolution, Gemm, Operator, Recurrent
from simhw.roofline.prediction import Prediction
from simhw.roofline.quantities import check_tables
from simhw.roofline.step.compiler import FRAMEWORK, Compiler


class GpuValues(DescribedValues):
    """Sections of a GPU's file: the hardware as published, and what its libraries make of it, fitted to measurements.

    `trains`: whether training is run on it.  `gemm` or `pipelined_gemm`: products with operands staged by the threads
    that multiply, or beside them.  `convolution` or `convolution_engines`: convolutions by algorithms that take images
    as they lie, or by engines of which most want one layout and convert to it.  `attention`: of devices that run it as
    one kernel.  `host`: of devices whose framework was timed by kind of call; without it each kernel's constants have
    its time.
    """

    usual_fusion: ClassVar[Literal["eager", "fused"]] = "eager"
    """How its users run elementwise functions, where no one says."""

    compiler: ClassVar[Compiler] = FRAMEWORK
    """What fuses."""

    kind: Literal["gpu"]
    trains: bool = True
    hardware: GpuHardware
    gemm: GemmParameters | None = None
    pipelined_gemm: PipelinedGemmParameters | None = None
    convolution: ConvolutionParameters | None = None
    convolution_engines: EngineParameters | None = None
    streaming: StreamingParameters
    recurrent: RecurrentParameters
    attention: AttentionParameters | None = None
    power: PowerParameters
    host: HostParameters | None = None

    @model_validator(mode="after")
    def _tables_have_the_same_numbers(self) -> "GpuValues":
        check_tables(self, self.hardware.numbers)
        return self

    @model_validator(mode="after")
    def _each_section_has_one_form(self) -> "GpuValues":
        for first, second in (("gemm", "pipelined_gemm"), ("convolution", "convolution_engines")):
            if (getattr(self, first) is None) == (getattr(self, second) is None):
                raise ValueError(f"give one of the sections {first} and {second}")
        return self

    @property
    def products(self) -> ProductParameters:
        """Constants for products, of either form."""
        found = self.gemm or self.pipelined_gemm
        assert found is not None, "one of them was asked for when the file was read"
        return found

    @property
    def fuses_attention(self) -> bool:
        """Whether attention runs as one kernel."""
        return self.attention is not None

    def predict(self, operator: Operator) -> Prediction:
        """How long an operator takes."""
        if isinstance(operator, Gemm):
            return predict_product(operator, self.hardware, self.products)
        if isinstance(operator, Convolution):
            if self.convolution_engines is not None:
                return predict_by_engines(operator, self.hardware, self.convolution_engines)
            assert self.convolution is not None, "one of them was asked for when the file was read"
            return predict_convolution(operator, self.hardware, self.convolution)
        if isinstance(operator, Recurrent):
            return predict_recurrent(operator, self.hardware, self.recurrent, self.products)
        if isinstance(operator, Attention):
            assert self.attention is not None, "a device without fused attention is never asked for it"
            return predict_attention(operator, self.hardware, self.attention)
        return predict_streaming(operator, self.hardware, self.streaming)

    def issue_s(self, prediction: Prediction, backward: bool) -> float:
        """Time [s] in which the framework issues an operator, of the forward pass or after it."""
        return prediction.host_s if self.host is None else self.host.issue_s(prediction, backward)

    @property
    def step_issue_s(self) -> float:
        """Time [s] of the framework for a step, whatever it does."""
        return 0.0 if self.host is None else self.host.step_s

    def gap_s(self, prediction: Prediction) -> float:
        """Time [s] that an operator takes more in a stream of launches than in a graph."""
        return 0.0 if self.host is None else self.host.stream_s * prediction.launches

    @property
    def waiting_w(self) -> float:
        """Power [W] while the device waits for the framework, where that was timed."""
        idle_w = self.power.constant_w + self.power.idle_sm_w * self.hardware.sms
        return 0.0 if self.host is None else idle_w

    def energy_j(self, prediction: Prediction) -> Range:
        """Energy [J] of an operator, low to high."""
        return energy_on_gpu(prediction, self.hardware, self.power)
