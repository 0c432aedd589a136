"""The page of a paper: its sections in the order of the figures, each made anew or kept from the last time."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from simhw.files.writing import replacing, write_figure, write_frame
from simhw.report.markdown import markdown_table
from simhw.reproduce.facts import TITLES, Paper
from simhw.reproduce.figure import Figure
from simhw.reproduce.section import Section, Table

_SECTION = re.compile(r"<!-- figure: (\w+) -->\n(.*?)<!-- end -->\n", re.DOTALL)


def page_path(folder: Path, paper: Paper) -> Path:
    """Where a paper's page lies."""
    return folder / f"{paper}.md"


def section_text(folder: Path, paper: Paper, figure: Figure, section: Section) -> str:
    """Write a section's table and picture beside the page, and give its text."""
    stem = f"{paper}-{figure.name}"
    lines = [f"## {figure.title}", "", f"`simhw reproduce {paper} --figure {figure.name}`", ""]
    for part in section.parts:
        lines += [*(markdown_table(part.headings, part.rows) if isinstance(part, Table) else [part]), ""]
    if section.picture is not None:
        write_figure(section.picture, folder / f"{stem}.png", dots_per_inch=110)
        lines += [f"![{figure.title}]({stem}.png)", ""]
    if section.frame is not None and len(section.frame):
        write_frame(section.frame, folder / f"{stem}.csv")
        lines += [f"Every number with the command that prints it: [{stem}.csv]({stem}.csv).", ""]
    return "\n".join(lines) + "\n"


def kept_sections(path: Path) -> dict[str, str]:
    """The sections of a page that was written before, by the names of their figures."""
    return dict(_SECTION.findall(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def write_page(
    folder: Path, paper: Paper, figures: Sequence[Figure], sections: Mapping[str, str], facts: Sequence[str]
) -> Path:
    """Write the page of a paper.

    Parameters
    ----------
    folder : Path
    paper : str
    figures : sequence of Figure
        All of the paper, in their order.
    sections : mapping of figure to str
        Texts of those that there are.
    facts : sequence of str
        What stands at its beginning, a line each.
    """
    lines = [f"# {TITLES[paper]}: the published results, made anew\n\n", *(f"- {fact}\n" for fact in facts), "\n"]
    for figure in figures:
        if figure.name in sections:
            lines.append(f"<!-- figure: {figure.name} -->\n{sections[figure.name]}<!-- end -->\n\n")
    path = page_path(folder, paper)
    with replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
    return path
