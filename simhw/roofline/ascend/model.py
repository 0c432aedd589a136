"""Any operator on an Ascend."""

from simhw.roofline.ascend.parameters import AscendValues
from simhw.roofline.operators import Operator
from simhw.roofline.prediction import Prediction


def predict_on_ascend(operator: Operator, ascend: AscendValues) -> Prediction:
    """How long an operator takes on an Ascend."""
    raise NotImplementedError
