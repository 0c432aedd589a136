"""Tables of a device's file that have an entry for every kind of number, operator or operation."""

from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import AfterValidator

from simhw.roofline.operators import BYTES, Number

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


ByNumber = Annotated[dict[Number, Value], every(BYTES)]
