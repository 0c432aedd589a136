"""A training step on several machines, beside each other."""

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING

from simhw.files.writing import write_frame
from simhw.results.cautions import Caution
from simhw.results.step import Results
from simhw.results.table import totals_row

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Comparison:
    """A trace on several machines."""

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

        return pd.DataFrame(
            [
                {"machine": result.provenance["machine"], "operation": name, **totals_row(totals)}
                for result in self.results
                for name, totals in {**result.by_operation(), "total": result.total}.items()
            ]
        )

    def write(self, path: str | PathLike[str]) -> None:
        """Write `frame` as .csv, .json or .parquet; see `simhw.files.writing.write_frame`."""
        write_frame(self.frame, path)
