"""Recurrent cells: one product for all inputs, then a product and the gates' arithmetic per step, in one operator."""

from simhw.roofline.ascend.cube import predict_product
from simhw.roofline.ascend.hardware import Achieved, AscendHardware
from simhw.roofline.ascend.layout import gemm_product
from simhw.roofline.ascend.vector import predict_streaming
from simhw.roofline.numbers import BYTES
from simhw.roofline.operators import GATES, Gemm, Recurrent, Streaming
from simhw.roofline.prediction import Limit, Prediction

GATE_OPERATIONS = 12
"""Vector operations per gate and value: two exponentials' worth of polynomial, division and the state's update."""


def predict_recurrent(recurrent: Recurrent, hardware: AscendHardware, achieved: Achieved) -> Prediction:
    """A library operator runs all steps, so the cost of an operator is paid once; weights are read again every step.

    The gradient of the weights is one product over all steps; the gradient of the input reads the same as forward,
    mirrored.
    """
    gates = GATES[recurrent.cell] * recurrent.hidden
    rows = recurrent.batch * recurrent.steps
    inside = achieved.model_copy(update={"operator_s": 0.0})

    def product(m: int, n: int, k: int) -> Prediction:
        gemm = Gemm(m=m, n=n, k=k, number=recurrent.number)
        return predict_product(gemm, gemm_product(gemm, hardware), hardware, inside)

    parts: list[tuple[int, Prediction]] = []
    if recurrent.operation == "weight_grad":
        parts.append((1, product(gates, recurrent.inputs + recurrent.hidden, rows)))
    else:
        forward = recurrent.operation == "forward"
        if recurrent.inputs:
            wide, deep = (gates, recurrent.inputs) if forward else (recurrent.inputs, gates)
            parts.append((1, product(rows, wide, deep)))
        wide, deep = (gates, recurrent.hidden) if forward else (recurrent.hidden, gates)
        parts.append((recurrent.steps, product(recurrent.batch, wide, deep)))
        size = float(recurrent.batch * gates)
        width = BYTES[recurrent.number]
        cell = Streaming(
            "activation",
            recurrent.cell,
            recurrent.batch,
            gates,
            size * width,
            size * width,
            GATE_OPERATIONS * size,
            recurrent.number,
        )
        parts.append((recurrent.steps, predict_streaming(cell, hardware, inside)))
    times: dict[Limit, float] = {"launch": achieved.operator_s}
    for count, part in parts:
        for limit, seconds in part.times_s.items():
            times[limit] = times.get(limit, 0.0) + count * seconds
    return Prediction(
        operator=recurrent,
        seconds=achieved.operator_s + sum(count * part.seconds for count, part in parts),
        times_s=times,
        mapping="; ".join(f"{count} x {part.mapping}" for count, part in parts),
        peak_flops_per_s=hardware.matrix_flops_per_s(recurrent.number),
        dram_bytes=sum(count * part.dram_bytes for count, part in parts),
    )
