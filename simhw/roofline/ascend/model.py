"""Any operator on an Ascend."""

from simhw.roofline.ascend.cube import predict_product
from simhw.roofline.ascend.layout import convolution_product, gemm_product
from simhw.roofline.ascend.parameters import AscendValues
from simhw.roofline.ascend.recurrent import predict_recurrent
from simhw.roofline.ascend.vector import predict_streaming
from simhw.roofline.operators import Convolution, Gemm, Operator, Recurrent
from simhw.roofline.prediction import Prediction


def predict_on_ascend(operator: Operator, ascend: AscendValues) -> Prediction:
    """How long an operator takes on an Ascend: graphs are compiled and run on the device, so the host costs nothing."""
    hardware, achieved = ascend.hardware, ascend.achieved
    if isinstance(operator, Gemm):
        return predict_product(operator, gemm_product(operator, hardware), hardware, achieved)
    if isinstance(operator, Convolution):
        return predict_product(operator, convolution_product(operator, hardware), hardware, achieved)
    if isinstance(operator, Recurrent):
        return predict_recurrent(operator, hardware, achieved)
    return predict_streaming(operator, hardware, achieved)
