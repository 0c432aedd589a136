"""`--out`: a row per machine, layer and operation, for a spreadsheet or a script."""

from simhw.files.writing import TABLE_SUFFIXES
from simhw.report.outputs.output import Finished, Output


def _write(path: str, finished: Finished) -> str:
    finished.whole.write(path)
    return f"table written to {path}"


TABLE = Output(
    "--out",
    TABLE_SUFFIXES,
    "write a row per machine, layer and operation to a .csv, .json or .parquet file",
    _write,
)
