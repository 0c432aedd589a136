"""An Ascend: everything that its file states, and what it makes of an operator."""

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import model_validator

from simhw.machine.costs import Range
from simhw.machine.described import DescribedValues, Section
from simhw.roofline.ascend.cube import predict_product
from simhw.roofline.ascend.hardware import Achieved, AscendHardware
from simhw.roofline.ascend.layout import convolution_product, gemm_product
from simhw.roofline.ascend.power import Power, energy_on_ascend
from simhw.roofline.ascend.recurrent import predict_recurrent
from simhw.roofline.ascend.vector import input_layout, is_network_input, predict_streaming
from simhw.roofline.operators import Attention, Convolution, Gemm, Operator, Recurrent
from simhw.roofline.prediction import Prediction
from simhw.roofline.quantities import check_tables
from simhw.roofline.step.compiler import Compiler


class Graph(Section):
    """What the vendor's graph compiler joins to the kernel before; `simhw.roofline.step.compiler` says what each is."""

    joins: dict[str, bool]
    others: bool
    after_products: bool


class AscendValues(DescribedValues):
    """Sections of an Ascend's file; `trains`: whether training is run on it."""

    usual_fusion: ClassVar[Literal["eager", "fused"]] = "fused"
    """How its users run elementwise functions, where no one says."""
    fuses_attention: ClassVar[bool] = False
    """Whether attention runs as one kernel."""

    kind: Literal["ascend"]
    trains: bool = True
    hardware: AscendHardware
    graph: Graph
    achieved: Achieved
    power: Power

    @model_validator(mode="after")
    def _tables_have_the_same_numbers(self) -> "AscendValues":
        check_tables(self, self.hardware.numbers)
        return self

    @property
    def compiler(self) -> Compiler:
        """What fuses, and changes the layout."""
        return Compiler(self.graph.joins, self.graph.others, self.graph.after_products, self.hardware.cube_depth)

    def predict(self, operator: Operator) -> Prediction:
        """How long an operator takes: graphs are compiled and run on the device, so the host costs nothing."""
        hardware, achieved = self.hardware, self.achieved
        if isinstance(operator, Gemm):
            return predict_product(operator, gemm_product(operator, hardware), hardware, achieved)
        if isinstance(operator, Convolution):
            prediction = predict_product(operator, convolution_product(operator, hardware), hardware, achieved)
            if not is_network_input(operator, hardware):
                return prediction
            return _with_layout(prediction, operator, hardware, achieved)
        if isinstance(operator, Recurrent):
            return predict_recurrent(operator, hardware, achieved)
        assert not isinstance(operator, Attention), "a device without fused attention is never asked for it"
        return predict_streaming(operator, hardware, achieved)

    def issue_s(self, prediction: Prediction, backward: bool) -> float:
        """None: see `predict`."""
        del backward
        return prediction.host_s

    @property
    def step_issue_s(self) -> float:
        """None."""
        return 0.0

    def gap_s(self, prediction: Prediction) -> float:
        """None: the device runs a graph."""
        del prediction
        return 0.0

    @property
    def waiting_w(self) -> float:
        """None: it never waits."""
        return 0.0

    def energy_j(self, prediction: Prediction) -> Range:
        """Energy [J] of an operator, low to high."""
        return energy_on_ascend(prediction, self.power)


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
