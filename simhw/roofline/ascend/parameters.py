"""Everything that the file of an Ascend states."""

from typing import Literal

from simhw.machine.described import DescribedValues
from simhw.roofline.ascend.hardware import Achieved, AscendHardware
from simhw.roofline.ascend.power import Power


class AscendValues(DescribedValues):
    """Sections of an Ascend's file; `trains`: whether training is run on it."""

    kind: Literal["ascend"]
    trains: bool = True
    hardware: AscendHardware
    achieved: Achieved
    power: Power
