"""Everything that the file of an Ascend states."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from simhw.roofline.ascend.hardware import Achieved, Hardware
from simhw.roofline.ascend.power import Power


class AscendValues(BaseModel):
    """Sections of an Ascend's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ascend"]
    name: str
    description: str
    hardware: Hardware
    achieved: Achieved
    power: Power
