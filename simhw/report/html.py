"""Lines and tables as HTML, for a notebook.  Whatever they hold is text: names come from traces and machine files."""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from html import escape
from itertools import groupby

from simhw.report.sheet import Fact, Item, Sheet

NUMBER = ' style="text-align:right"'
TEXT = ' style="text-align:left"'


def html_text(items: Iterable[Item]) -> str:
    """A fragment of a page: facts and sheets as tables, lines as paragraphs."""
    return f"<div>{''.join(_parts(items))}</div>"


def html_picture(png: bytes, meaning: str) -> str:
    """A picture within the page itself; `meaning` is said where it cannot be seen."""
    data = b64encode(png).decode()
    return f'<img alt="{escape(meaning)}" style="max-width:100%" src="data:image/png;base64,{data}">'


def _parts(items: Iterable[Item]) -> Iterator[str]:
    for _, alike in groupby(items, type):
        rows = ""
        for item in alike:
            if isinstance(item, Sheet):
                yield _sheet(item)
            elif isinstance(item, Fact):
                rows += _row([item.name, item.value], [TEXT, TEXT])
            else:
                yield f"<p>{escape(item)}</p>"
        if rows:
            yield _table(rows)


def _sheet(sheet: Sheet) -> str:
    styles = [NUMBER if number else TEXT for _, number in sheet.columns]
    heads = "".join(
        f"<th{style}>{escape(heading)}</th>" for (heading, _), style in zip(sheet.columns, styles, strict=True)
    )
    rows = [_row(row, styles) for row in sheet.rows]
    if sheet.total_last and rows:
        rows[-1] = rows[-1].replace("<tr>", '<tr style="font-weight:bold">', 1)
    return _table(f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody>")


def _row(cells: Iterable[str], styles: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<td{style}>{escape(cell)}</td>' for cell, style in zip(cells, styles, strict=True))}</tr>"


def _table(content: str) -> str:
    return f"<table>{content}</table>"
