"""A table of text, before anything is known of where it will be shown."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sheet:
    """A table of text: columns as (heading, is a number), and rows of cells."""

    columns: list[tuple[str, bool]]
    rows: list[list[str]]
    total_last: bool = False
