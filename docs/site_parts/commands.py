"""The directive ``commands``: every command with its usage and its options, read from the parsers themselves."""

import argparse
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from simhw.cli import parser

USAGE_COLUMNS = 88


def _usage(command: argparse.ArgumentParser) -> str:
    """How a command is used, folded to the width of the page whatever the terminal's."""
    formatter = argparse.HelpFormatter(command.prog, width=USAGE_COLUMNS)
    formatter.add_usage(command.usage, command._actions, command._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def _text(text: str) -> nodes.paragraph:
    """A text in which backquotes enclose code."""
    pieces = [nodes.literal("", each) if odd % 2 else nodes.Text(each) for odd, each in enumerate(text.split("`"))]
    return nodes.paragraph("", "", *pieces)


def _options(command: argparse.ArgumentParser) -> nodes.definition_list:
    """What may be given, each with the help that the command prints."""
    formatter = argparse.HelpFormatter(command.prog)
    listed = nodes.definition_list()
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        invocation = formatter._format_action_invocation(action)
        term = nodes.term("", "", nodes.literal("", invocation))
        meaning = nodes.definition("", _text(formatter._expand_help(action) if action.help else ""))
        listed += nodes.definition_list_item("", term, meaning)
    return listed


def _below(command: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The commands of a command, in the order of its help."""
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def _section(command: argparse.ArgumentParser) -> nodes.section:
    """A command, and below it its own commands."""
    section = nodes.section("", nodes.title("", command.prog), ids=[nodes.make_id(command.prog)])
    section += _text(command.description or "")
    below = list(_below(command))
    if not below:
        section += nodes.literal_block("", _usage(command), language="none")
        section += _options(command)
    section += [_section(each) for each in below]
    return section


class Commands(SphinxDirective):
    """All commands below ``simhw``."""

    def run(self) -> list[nodes.Node]:
        """A section for each."""
        return [_section(command) for command in _below(parser())]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
