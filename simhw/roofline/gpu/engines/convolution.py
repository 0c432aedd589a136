"""A convolution by the engines that can compute it: the fastest runs."""

from dataclasses import replace
from math import prod

from simhw.roofline.gpu.algorithm import TimedAlgorithm
from simhw.roofline.gpu.engines.multiply_add import implicit, on_multiply_add
from simhw.roofline.gpu.engines.parameters import Depthwise, EngineParameters
from simhw.roofline.gpu.engines.tensor_cores import on_tensor_cores
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.implicit_gemm import tensor_bytes
from simhw.roofline.numbers import BYTES
from simhw.roofline.operators import Convolution
from simhw.roofline.prediction import Prediction


def timed_engines(
    convolution: Convolution, hardware: GpuHardware, parameters: EngineParameters
) -> list[TimedAlgorithm]:
    """Every engine that can compute it, timed.

    Layers of one filter per channel have kernels of their own.  Where converting the layout costs more than the
    product, the library runs fp32's implicit GEMM, which needs no conversion: tf32 data is stored alike, and weight
    gradients are summed in fp32 whatever the data.
    """
    engines = parameters.kernels[convolution.number]
    if convolution.groups == convolution.in_channels > 1:
        return [_depthwise(convolution, hardware, engines.depthwise[convolution.layout])]
    found: list[TimedAlgorithm] = []
    if engines.tensor_cores is not None:
        found += on_tensor_cores(convolution, hardware, engines.tensor_cores)
    if engines.multiply_add is not None:
        found += on_multiply_add(convolution, hardware, engines.multiply_add)
    plain = parameters.kernels["fp32"].multiply_add
    borrows = BYTES[convolution.number] == BYTES["fp32"] or convolution.operation == "weight_grad"
    if engines.multiply_add is None and borrows and plain is not None:
        found.append(implicit(replace(convolution, number="fp32"), hardware, plain))
    return found


def predict_by_engines(convolution: Convolution, hardware: GpuHardware, parameters: EngineParameters) -> Prediction:
    """How long one operation of a convolution takes, by the fastest engine that can compute it.

    Parameters
    ----------
    convolution : Convolution
        Of 1 to 3 dimensions, any stride, dilation and number of groups.
    hardware : GpuHardware
    parameters : EngineParameters

    Returns
    -------
    Prediction
        `mapping` names the engine; the limit "l2" is the staging of operands from L2 to shared memory.
    """
    best = min(timed_engines(convolution, hardware, parameters), key=lambda algorithm: algorithm.seconds)
    return best.prediction(convolution, hardware, parameters.host_s)


def _depthwise(convolution: Convolution, hardware: GpuHardware, kernels: Depthwise) -> TimedAlgorithm:
    """A thread per value that is made, which visits every tap, those that a stride skips too."""
    made = convolution.size if convolution.operation == "input_grad" else convolution.out_size
    channels = convolution.in_channels if convolution.operation == "input_grad" else convolution.out_channels
    macs = float(convolution.images) * channels * prod(made) * prod(convolution.kernel)
    launch_s = kernels.launch_s[convolution.operation]
    arithmetic_s = macs / kernels.macs_per_s[convolution.operation]
    moved = tensor_bytes(convolution)
    dram_s = moved / hardware.dram_bytes_per_s
    return TimedAlgorithm(
        algorithm="depthwise",
        mapping=f"depthwise, {convolution.groups} channels, {prod(convolution.kernel)} taps",
        seconds=max(arithmetic_s, dram_s) + launch_s,
        matrix_s=arithmetic_s,
        staging_s=0.0,
        dram_s=dram_s,
        launch_s=launch_s,
        dram_bytes=moved,
    )
