"""What a file describes, whether simhw simulates it (`simhw.machine.machine`) or predicts it by a roofline."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from simhw.machine.files import content_hash
from simhw.machine.overrides import label
from simhw.machine.provenance import Provenance


class Section(BaseModel):
    """A section of a file: no unknown names, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DescribedValues(Section):
    """What every file states of the machine or device that it describes.

    The description may hold anything: the terminal shows only what is printable.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: Annotated[str, Field(max_length=2000)]


Values_co = TypeVar("Values_co", bound=DescribedValues, covariant=True)


@dataclass(frozen=True)
class Described(Generic[Values_co]):
    """Validated values, where each comes from, and what was overridden.

    Attributes
    ----------
    values : DescribedValues
        Every constant, by section.
    provenance : dict of dotted name to Provenance
    overrides : dict of dotted name to value
        What differs from the file.
    """

    values: Values_co
    provenance: Mapping[str, Provenance]
    overrides: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The file's name for it."""
        return self.values.name

    @property
    def label(self) -> str:
        """Name and overrides, as the command line takes them."""
        return label(self.name, self.overrides)

    @cached_property
    def content_hash(self) -> str:
        """Hash of all values that can change a result."""
        return content_hash(self.values)
