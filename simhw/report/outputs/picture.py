"""`--plot`: the result as a picture, of one step or of machines side by side."""

from simhw.files.writing import PICTURE_SUFFIXES
from simhw.report.outputs.output import Finished, Output


def _write(path: str, finished: Finished) -> str:
    # A run shows its machines one below the other, each in full.
    if finished.arguments.command == "run":
        from simhw.files.writing import write_figure
        from simhw.report.result_plots import results_figure

        write_figure(results_figure(finished.results), path)
    else:
        finished.whole.plot(path)
    return f"plot written to {path}"


PICTURE = Output("--plot", PICTURE_SUFFIXES, "draw the result to a .png, .svg or .pdf file", _write)
