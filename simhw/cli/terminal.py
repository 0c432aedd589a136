"""What commands print: lines and tables that fit a terminal, stay whole and plain in a pipe or a file, and are one JSON
document where ``--json`` is given.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from simhw.cli.document import Document
from simhw.quantities import printable as printable
from simhw.report.sheet import Item
from simhw.report.sheet import facts as facts

_document: ContextVar[Document | None] = ContextVar("document", default=None)


def show(*what: Item, widest: int | None = None) -> None:
    """Print lines and sheets to standard output, or gather them for the JSON document.

    A pipe or file gets every row and line whole, or folded to `widest` columns.  On a terminal lines are folded to its
    width, and a table that is wider is cut into several.
    """
    document = _document.get()
    if document is not None:
        document.add(what)
        return
    from simhw.report.printing import UNBOUNDED, print_items, standard_output

    print_items(standard_output(), what, widest or UNBOUNDED)


@contextmanager
def as_json(command_line: str) -> Iterator[None]:
    """Gather all that is shown within the block, and print it as one JSON document where the block ends well."""
    document = Document(command_line)
    token = _document.set(document)
    try:
        yield
    finally:
        _document.reset(token)
    print(document.text())
