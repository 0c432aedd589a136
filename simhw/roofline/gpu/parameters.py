"""Everything that the file of a GPU states."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from simhw.machine.files import Description, Name
from simhw.roofline.gpu.convolution_parameters import ConvolutionParameters
from simhw.roofline.gpu.gemm import GemmParameters
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.power import PowerParameters
from simhw.roofline.gpu.recurrent import RecurrentParameters
from simhw.roofline.gpu.streaming import StreamingParameters


class GpuValues(BaseModel):
    """Sections of a GPU's file: the hardware as published, and what its libraries make of it, fitted to measurements.

    `trains`: whether training is run on it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["gpu"]
    name: Name
    description: Description
    trains: bool = True
    hardware: GpuHardware
    gemm: GemmParameters
    convolution: ConvolutionParameters
    streaming: StreamingParameters
    recurrent: RecurrentParameters
    power: PowerParameters
