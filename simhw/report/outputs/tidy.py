"""`--tidy`: a row per figure, with its unit and its bounds, for an analysis or another program."""

from simhw.report.outputs.output import Finished, Output


def _write(path: str, finished: Finished) -> str:
    from simhw.results.tidy import write_tidy

    write_tidy(finished.results, path)
    return f"tidy table written to {path}"


TIDY = Output("--tidy", (".parquet",), "write a row per figure, with unit and bounds, to a .parquet file", _write)
