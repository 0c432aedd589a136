"""`--plot`: the result as a picture, of one step or of machines side by side."""

from simhw.files.writing import PICTURE_SUFFIXES
from simhw.report.outputs.output import Finished, Output


def _write(path: str, finished: Finished) -> str:
    from simhw.report.result_plots import plot_comparison, plot_results

    plot = plot_comparison if finished.arguments.command == "compare" else plot_results
    plot(finished.trace, finished.results, path)
    return f"plot written to {path}"


PICTURE = Output("--plot", PICTURE_SUFFIXES, "draw the result to a .png, .svg or .pdf file", _write)
