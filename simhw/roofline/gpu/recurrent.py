"""Recurrent cells on a GPU: a chain of small products, each with its elementwise gates, that cannot run side by side.

forward and input_grad take one product of the state per step; weight_grad takes one product over all steps and adds it
to the gradients.  Products of the layer's input take no part in the chain and run for all steps at once.
"""

from dataclasses import replace
from typing import Annotated

from pydantic import Field

from simhw.machine.described import Section
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.products import ProductParameters, predict_product
from simhw.roofline.numbers import BYTES
from simhw.roofline.operators import GATES, Gemm, Recurrent
from simhw.roofline.prediction import Limit, Prediction
from simhw.roofline.quantities import ByNumber, Rate, Seconds, every
from simhw.trace.layer import OPERATIONS, Operation


class Chain(Section):
    """What the library makes of one operation.

    Attributes
    ----------
    call_s : float
        Of a call: set-up, and its first launches.
    step_s : float
        Of a step, beside its product: gates, and waiting for the step before.
    product_share : float
        Time of the step's product, in that of the same product alone; below one where weights stay close from step to
        step.
    """

    call_s: Seconds
    step_s: Seconds
    product_share: Annotated[float, Field(gt=0, le=3)]


class RecurrentParameters(Section):
    """Constants for recurrent cells.

    Attributes
    ----------
    chains : dict of number to dict of operation to Chain
    gradient_bytes_per_s : dict of number to float
        Rate at which weight_grad adds to the gradients.
    host_s : float
        Time in which the framework issues a call.
    """

    chains: ByNumber[Annotated[dict[Operation, Chain], every(OPERATIONS)]]
    gradient_bytes_per_s: ByNumber[Rate]
    host_s: Seconds


def predict_recurrent(
    recurrent: Recurrent, hardware: GpuHardware, parameters: RecurrentParameters, products: ProductParameters
) -> Prediction:
    """Time of a recurrent layer's operation over all its steps."""
    chain = parameters.chains[recurrent.number][recurrent.operation]
    length = 1 if recurrent.operation == "weight_grad" else recurrent.steps
    product = predict_product(
        product_of(recurrent, recurrent.hidden, length),
        hardware,
        products,
        chained=recurrent.operation != "weight_grad",
    )
    share = length * chain.product_share
    times_s: dict[Limit, float] = {limit: share * seconds for limit, seconds in product.times_s.items()}
    seconds = chain.call_s + length * chain.step_s + share * product.seconds
    times_s["launch"] += chain.call_s + length * chain.step_s
    moved = length * product.dram_bytes
    if recurrent.operation == "weight_grad":
        gradients = (
            2.0
            * BYTES[recurrent.number]
            * GATES[recurrent.cell]
            * recurrent.hidden
            * (recurrent.inputs + recurrent.hidden)
        )
        seconds += gradients / parameters.gradient_bytes_per_s[recurrent.number]
        times_s["dram"] += gradients / parameters.gradient_bytes_per_s[recurrent.number]
        moved += gradients
    if recurrent.inputs:
        of_input = predict_product(product_of(recurrent, recurrent.inputs, 1), hardware, products)
        seconds += of_input.seconds
        moved += of_input.dram_bytes
        for limit, alone_s in of_input.times_s.items():
            times_s[limit] = times_s.get(limit, 0.0) + alone_s
    return Prediction(
        operator=recurrent,
        seconds=seconds,
        times_s=times_s,
        mapping=f"{length} x {product.mapping}",
        peak_flops_per_s=product.peak_flops_per_s,
        dram_bytes=moved,
        host_s=parameters.host_s,
    )


def product_of(recurrent: Recurrent, width: int, length: int) -> Gemm:
    """A product with the weights of the state or the input, of `width` values, as one of `length` equal products.

    Parameters
    ----------
    recurrent : Recurrent
    width : int
        `hidden` for the state's weights, `inputs` for the input's.
    length : int
        Products that the layer takes one after another; 1: all steps at once.
    """
    gates, rows = GATES[recurrent.cell] * recurrent.hidden, recurrent.batch * recurrent.steps // length
    forward = Gemm(rows, gates, width, number=recurrent.number)
    if recurrent.operation == "forward":
        return forward
    if recurrent.operation == "input_grad":
        return replace(forward, n=width, k=gates, transposed=(False, False))
    return replace(forward, m=gates, n=width, k=rows, transposed=(True, False))
