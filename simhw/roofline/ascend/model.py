"""Any operator on an Ascend."""

from dataclasses import replace

from simhw.roofline.ascend.cube import predict_product
from simhw.roofline.ascend.hardware import Achieved, AscendHardware
from simhw.roofline.ascend.layout import convolution_product, gemm_product
from simhw.roofline.ascend.parameters import AscendValues
from simhw.roofline.ascend.recurrent import predict_recurrent
from simhw.roofline.ascend.vector import input_layout, is_network_input, predict_streaming
from simhw.roofline.operators import Convolution, Gemm, Operator, Recurrent
from simhw.roofline.prediction import Prediction


def predict_on_ascend(operator: Operator, ascend: AscendValues) -> Prediction:
    """How long an operator takes on an Ascend: graphs are compiled and run on the device, so the host costs nothing."""
    hardware, achieved = ascend.hardware, ascend.achieved
    if isinstance(operator, Gemm):
        return predict_product(operator, gemm_product(operator, hardware), hardware, achieved)
    if isinstance(operator, Convolution):
        prediction = predict_product(operator, convolution_product(operator, hardware), hardware, achieved)
        return (
            _with_layout(prediction, operator, hardware, achieved)
            if is_network_input(operator, hardware)
            else prediction
        )
    if isinstance(operator, Recurrent):
        return predict_recurrent(operator, hardware, achieved)
    return predict_streaming(operator, hardware, achieved)


def _with_layout(
    prediction: Prediction, convolution: Convolution, hardware: AscendHardware, achieved: Achieved
) -> Prediction:
    """The first convolution of a network, and the change of its input's layout before it."""
    seconds, moved = input_layout(convolution, hardware, achieved)
    return replace(
        prediction,
        seconds=prediction.seconds + seconds,
        times_s={**prediction.times_s, "dram": prediction.times_s["dram"] + seconds},
        mapping=f"input changed to NC1HWC0 before; {prediction.mapping}",
        dram_bytes=prediction.dram_bytes + moved,
    )
