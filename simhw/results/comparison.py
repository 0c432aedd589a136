"""A training step on several machines, beside each other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from simhw.quantities import printable
from simhw.results.cautions import Caution
from simhw.results.shown import Shown
from simhw.results.step import Results

if TYPE_CHECKING:
    import pandas as pd


def labels(results: Sequence[Results]) -> list[str]:
    """A name for each machine; two files may give the same one, so hashes tell those apart."""
    names = Counter(each.machine.label for each in results)
    return [
        each.machine.label
        if names[each.machine.label] == 1
        else f"{each.machine.label} ({each.machine.content_hash[:8]})"
        for each in results
    ]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown):
    """A trace on several machines; printed, or at the end of a notebook's cell, it shows what `simhw compare` prints
    first.
    """

    results: list[Results]

    @property
    def cautions(self) -> list[Caution]:
        """Those of all results, each once."""
        return list(dict.fromkeys(line for result in self.results for line in result.cautions))

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """The rows of all results, told apart by the column ``machine``."""
        import pandas as pd

        return pd.concat([result.frame for result in self.results], ignore_index=True)

    @property
    def summary(self) -> "pd.DataFrame":
        """A row per machine and operation, and one for the total."""
        import pandas as pd

        named = [(result.provenance["machine"], result.summary) for result in self.results]
        return pd.concat([frame.assign(machine=name) for name, frame in named], ignore_index=True)[
            ["machine", *named[0][1].columns]
        ]

    def __repr__(self) -> str:
        return printable(
            f"<Comparison of {', '.join(result.provenance['machine'] for result in self.results)} on "
            f"{Path(self.results[0].provenance['trace']).name or 'a trace in memory'}; print it to see more>"
        )
