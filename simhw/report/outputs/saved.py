"""`--save`: everything that a run gave, for `simhw report` and `simhw.load_results`."""

from simhw.report.outputs.output import Finished, Output


def _write(path: str, finished: Finished) -> str:
    from simhw.results.saved import save_results
    from simhw.results.traces import TraceComparison

    traces = finished.whole.names if isinstance(finished.whole, TraceComparison) else ()
    save_results(finished.results, path, finished.arguments.command_line, traces)
    return f"result saved to {path}"


SAVED = Output("--save", (".json",), "save the whole result as .json, for `simhw report`", _write)
