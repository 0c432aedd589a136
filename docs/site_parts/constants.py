"""The directive ``constants MACHINE``: every constant of a machine, from its file."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from simhw.machine.constants import constants
from simhw.machine.machine import load_machine

COLUMNS = (("constant", 34), ("value", 22), ("confidence and source", 44))
"""Headings, and widths in per cent."""


def _row(cells: list[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", cell)) for cell in cells))


class Constants(SphinxDirective):
    """The constants of the machine that the argument names."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A table with a row per constant."""
        rows = []
        for each in constants(load_machine(self.arguments[0])):
            source = each.source
            known = f"{source.confidence:.0%}: {source.source}" if source else "-"
            rows.append(_row([each.name, f"{each.text} {each.unit}", known]))
        group = nodes.tgroup("", cols=len(COLUMNS))
        group += [nodes.colspec(colwidth=width) for _, width in COLUMNS]
        group += nodes.thead("", _row([heading for heading, _ in COLUMNS]))
        group += nodes.tbody("", *rows)
        return [nodes.table("", group, classes=["constants", "colwidths-given"])]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("constants", Constants)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
