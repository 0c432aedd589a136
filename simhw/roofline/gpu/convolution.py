"""Convolutions on a GPU: the library's algorithms beside each other, the fastest of which runs.

Algorithms: implicit GEMM for everything; Winograd for 3 x 3 and 5 x 5 kernels of stride 1 in fp32, which does fewer
multiplications than the convolution has (see `winograd`), so that direct FLOPs over peak is no upper bound; and for
grouped convolutions a kernel without tiles, as a thread block's tile is wider than a group's channels.
"""

from math import prod

from simhw.roofline.gpu.algorithm import TimedAlgorithm
from simhw.roofline.gpu.convolution_parameters import ConvolutionParameters
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.implicit_gemm import implicit_gemm, tensor_bytes
from simhw.roofline.gpu.tiles import overlapped
from simhw.roofline.gpu.winograd import winograd
from simhw.roofline.operators import Convolution
from simhw.roofline.prediction import Prediction


def timed_algorithms(
    convolution: Convolution, hardware: GpuHardware, parameters: ConvolutionParameters
) -> list[TimedAlgorithm]:
    """Every algorithm that can compute it, timed."""
    found = [implicit_gemm(convolution, hardware, parameters), *winograd(convolution, hardware, parameters)]
    if convolution.groups > 1:
        found.append(_direct(convolution, hardware, parameters))
    return found


def predict_convolution(
    convolution: Convolution, hardware: GpuHardware, parameters: ConvolutionParameters
) -> Prediction:
    """How long one operation of a convolution takes, by the fastest algorithm that can compute it.

    Parameters
    ----------
    convolution : Convolution
        Of 1 to 3 dimensions, any stride, dilation and number of groups.
    hardware : GpuHardware
    parameters : ConvolutionParameters

    Returns
    -------
    Prediction
        `mapping` names the algorithm; the limit "l2" is the staging of operands from L2 to shared memory.
    """
    best = min(timed_algorithms(convolution, hardware, parameters), key=lambda algorithm: algorithm.seconds)
    return best.prediction(convolution, hardware, parameters.host_s, parameters.start_s)


def _direct(convolution: Convolution, hardware: GpuHardware, parameters: ConvolutionParameters) -> TimedAlgorithm:
    """One thread per output (depthwise and small groups): every multiply-accumulate loads its operand from the L1."""
    kernels = parameters.kernels[convolution.number]
    arithmetic_s = convolution.flops / (hardware.vector_flops_per_s(convolution.number) * parameters.direct_share)
    moved = tensor_bytes(convolution)
    dram_s = moved / parameters.dram_bytes_per_s
    return TimedAlgorithm(
        algorithm="direct",
        mapping=f"direct, {convolution.groups} groups of {convolution.in_channels // convolution.groups} channels, "
        f"{prod(convolution.kernel)} taps",
        seconds=overlapped(arithmetic_s, dram_s, parameters.overlap) + kernels.launch_s,
        matrix_s=arithmetic_s,
        staging_s=0.0,
        dram_s=dram_s,
        launch_s=kernels.launch_s,
        dram_bytes=moved,
    )
