"""Everything that the file of a GPU states."""

from typing import Literal

from simhw.machine.described import DescribedValues
from simhw.roofline.gpu.convolution_parameters import ConvolutionParameters
from simhw.roofline.gpu.gemm import GemmParameters
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.power import PowerParameters
from simhw.roofline.gpu.recurrent import RecurrentParameters
from simhw.roofline.gpu.streaming import StreamingParameters


class GpuValues(DescribedValues):
    """Sections of a GPU's file: the hardware as published, and what its libraries make of it, fitted to measurements.

    `trains`: whether training is run on it.
    """

    kind: Literal["gpu"]
    trains: bool = True
    hardware: GpuHardware
    gemm: GemmParameters
    convolution: ConvolutionParameters
    streaming: StreamingParameters
    recurrent: RecurrentParameters
    power: PowerParameters
