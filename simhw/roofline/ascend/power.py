"""Power of an Ascend."""

from simhw.costs import Range
from simhw.roofline.ascend.parameters import AscendValues
from simhw.roofline.prediction import Prediction


def energy_on_ascend(prediction: Prediction, ascend: AscendValues) -> Range:
    """Energy [J] of one operator, low to high."""
    raise NotImplementedError
