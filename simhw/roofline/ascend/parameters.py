"""Everything that the file of an Ascend states."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from simhw.machine.files import Description, Name
from simhw.roofline.ascend.hardware import Achieved, AscendHardware
from simhw.roofline.ascend.power import Power


class AscendValues(BaseModel):
    """Sections of an Ascend's file; `trains`: whether training is run on it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ascend"]
    name: Name
    description: Description
    trains: bool = True
    hardware: AscendHardware
    achieved: Achieved
    power: Power
