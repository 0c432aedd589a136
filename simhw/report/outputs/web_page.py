"""`--html`: the result as one self-contained web page."""

from simhw.files.writing import PAGE_SUFFIXES
from simhw.report.outputs.output import Finished, Output


def _write(path: str, finished: Finished) -> str:
    from simhw.report.page.results import page_of
    from simhw.report.page.traces import traces_page
    from simhw.report.page.write import write_page
    from simhw.results.traces import TraceComparison

    whole, commands = finished.whole, [finished.arguments.command_line]
    page = traces_page(whole, commands) if isinstance(whole, TraceComparison) else page_of(finished.results, commands)
    write_page(page, path)
    return f"page written to {path}"


WEB_PAGE = Output(
    "--html", PAGE_SUFFIXES, "write the result as a page for the browser, which needs no other file", _write
)
