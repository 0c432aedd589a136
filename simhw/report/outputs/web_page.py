"""`--html`: the result as one self-contained web page."""

from simhw.files.writing import PAGE_SUFFIXES
from simhw.report.outputs.output import Finished, Output


def _write(path: str, finished: Finished) -> str:
    from simhw.report.page.results import page_of
    from simhw.report.page.write import write_page

    write_page(page_of(finished.results, [finished.arguments.command_line]), path)
    return f"page written to {path}"


WEB_PAGE = Output(
    "--html", PAGE_SUFFIXES, "write the result as a page for the browser, which needs no other file", _write
)
