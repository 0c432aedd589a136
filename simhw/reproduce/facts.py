"""What was published: values, ranges and the confidence in their recall, by name, from ``published/PAPER.yaml``."""

from functools import lru_cache
from importlib.resources import files
from math import log
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from simhw.files.plain_yaml import parse_yaml

Paper = Literal["fpraker", "tensordash"]
PAPERS: tuple[Paper, ...] = get_args(Paper)
TITLES: dict[Paper, str] = {"fpraker": "FPRaker (MICRO 2021)", "tensordash": "TensorDash (MICRO 2020)"}


class Fact(BaseModel):
    """A published figure: one value, or a range where the recall gives one.

    Attributes
    ----------
    says : str
        What it is a figure of.
    low, high : float
        The range; both are the value where there is one.
    confidence : float
        In the recall, from 0 to 1.
    source : str
    reason : str
        What most likely makes ours differ: the reading, the network, the data or our model, and how.
    measure : str or None
        What gives the figure here, by `simhw.reproduce.measures`; None where it does not score readings.
    network : str or None
        The network that it is of, where it is of one and that is measured.
    scale : {"ratio", "difference"}
        Whether deviations are those of the logarithm.
    spread : float or None
        A deviation that a right reading may have on stand-in networks and data, one standard deviation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    says: str
    low: float
    high: float
    confidence: float = Field(gt=0, lt=1)
    source: str
    reason: str = ""
    measure: str | None = None
    network: str | None = None
    scale: Literal["ratio", "difference"] = "ratio"
    spread: float | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _one_value_is_a_range(cls, stated: dict[str, object]) -> dict[str, object]:
        rest = {name: value for name, value in stated.items() if name != "value"}
        return rest | {"low": stated["value"], "high": stated["value"]} if "value" in stated else rest

    @model_validator(mode="after")
    def _what_is_measured_has_a_spread(self) -> "Fact":
        if (self.measure is None) != (self.spread is None):
            raise ValueError("a fact that scores readings has a measure and a spread, another has neither")
        return self

    def deviation(self, measured: float) -> float:
        """How far a figure lies outside the range: of the logarithm, or as a difference."""
        nearest = min(max(measured, self.low), self.high)
        return log(measured / nearest) if self.scale == "ratio" else measured - nearest

    @property
    def shown(self) -> str:
        """The figure and the confidence in it."""
        value = f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"
        return f"{value} ({self.confidence:.0%})"


_FACTS = TypeAdapter(dict[str, Fact])


@lru_cache(maxsize=4)
def load_facts(paper: Paper) -> dict[str, Fact]:
    """All facts of a paper by name, in the order of its file."""
    text = files("simhw.reproduce").joinpath("published", f"{paper}.yaml").read_text(encoding="utf-8")
    return _FACTS.validate_python(parse_yaml(text))
