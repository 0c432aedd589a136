"""Products of matrices on any GPU: operands staged by the threads that multiply, or beside them."""

from simhw.roofline.gpu.gemm import GemmParameters, predict_gemm
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.pipelined_gemm import PipelinedGemmParameters, predict_pipelined_gemm
from simhw.roofline.operators import Gemm
from simhw.roofline.prediction import Prediction

ProductParameters = GemmParameters | PipelinedGemmParameters


def predict_product(
    gemm: Gemm, hardware: GpuHardware, parameters: ProductParameters, chained: bool = False
) -> Prediction:
    """Time of a product with the kernel that is fastest for it.

    Parameters
    ----------
    gemm : Gemm
    hardware : GpuHardware
    parameters : GemmParameters or PipelinedGemmParameters
    chained : bool
        Whether it is a step of a chain of products that one call takes: such a call has no kernels for few rows or
        small products.
    """
    if isinstance(parameters, PipelinedGemmParameters):
        return predict_pipelined_gemm(gemm, hardware, parameters.of_chains if chained else parameters)
    return predict_gemm(gemm, hardware, parameters)
