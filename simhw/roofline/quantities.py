"""Quantities that a device's file states, with the range in which a value can be meant, and tables of them."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, Field

from simhw.roofline.numbers import EVERY_DEVICE, Number

Count = Annotated[int, Field(ge=1, le=1 << 40)]
Rate = Annotated[float, Field(ge=1e-3, le=1e18)]
Seconds = Annotated[float, Field(ge=0, le=1e3)]
Share = Annotated[float, Field(ge=1e-6, le=1)]
Factor = Annotated[float, Field(ge=1, le=10)]
"""Of an uncertainty: the true value lies between the stated one over, and times, this."""

Value = TypeVar("Value")
Table = TypeVar("Table", bound="dict")  # type: ignore[type-arg]  # of any keys


def every(names: Iterable[str]) -> AfterValidator:
    """A check that a table has all of these."""
    wanted = tuple(names)

    def check(table: Table) -> Table:
        if missing := [name for name in wanted if name not in table]:
            raise ValueError(f"needs an entry for {', '.join(missing)} too")
        return table

    return AfterValidator(check)


ByNumber = Annotated[dict[Number, Value], every(EVERY_DEVICE)]


def check_tables(values: BaseModel, numbers: Iterable[Number]) -> None:
    """Check that every table by number of a device's file has an entry for the same numbers.

    Raises
    ------
    ValueError
        One has fewer or more; names it.
    """
    wanted = set(numbers)
    for name, table in _tables(values, ""):
        for number in sorted(wanted ^ table.keys()):
            lacking = "needs an entry for" if number in wanted else "has an entry that the hardware's peaks lack:"
            raise ValueError(f"{name[1:]} {lacking} {number}")


def _tables(value: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, BaseModel):
        for field, inner in value:
            yield from _tables(inner, f"{name}.{field}")
    elif isinstance(value, dict) and value and value.keys() <= set(get_args(Number)):
        yield name, value
