"""Products of matrices on any GPU: operands staged by the threads that multiply, or beside them."""

from simhw.roofline.gpu.gemm import GemmParameters, predict_gemm
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.pipelined_gemm import PipelinedGemmParameters, predict_pipelined_gemm
from simhw.roofline.operators import Gemm
from simhw.roofline.prediction import Prediction

ProductParameters = GemmParameters | PipelinedGemmParameters


def predict_product(gemm: Gemm, hardware: GpuHardware, parameters: ProductParameters) -> Prediction:
    """Time of a product with the kernel that is fastest for it."""
    if isinstance(parameters, PipelinedGemmParameters):
        return predict_pipelined_gemm(gemm, hardware, parameters)
    return predict_gemm(gemm, hardware, parameters)
