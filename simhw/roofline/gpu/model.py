"""Any operator on a GPU."""

from simhw.roofline.gpu.convolution import predict_convolution
from simhw.roofline.gpu.gemm import predict_gemm
from simhw.roofline.gpu.parameters import GpuValues
from simhw.roofline.gpu.recurrent import predict_recurrent
from simhw.roofline.gpu.streaming import predict_streaming
from simhw.roofline.operators import Convolution, Gemm, Operator, Recurrent
from simhw.roofline.prediction import Prediction


def predict_on_gpu(operator: Operator, gpu: GpuValues) -> Prediction:
    """How long an operator takes on a GPU."""
    if isinstance(operator, Gemm):
        return predict_gemm(operator, gpu.hardware, gpu.gemm)
    if isinstance(operator, Convolution):
        return predict_convolution(operator, gpu.hardware, gpu.convolution)
    if isinstance(operator, Recurrent):
        return predict_recurrent(operator, gpu.hardware, gpu.recurrent, gpu.gemm)
    return predict_streaming(operator, gpu.hardware, gpu.streaming)
