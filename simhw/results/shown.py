"""Results show themselves, in the words and pictures of the report room.

Reports know results, and results know no reports: they ask for the room by its name, on first use, as `simhw` does for
its public calls.  So who only reads figures loads neither tables nor matplotlib.
"""

from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING

from simhw.files.writing import PICTURE_SUFFIXES, check_suffix, write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESENTATION = "simhw.report.presentation"


def as_text(shown: object) -> str:
    """The first screen, as `simhw run` prints it."""
    text: str = import_module(PRESENTATION).text(shown)
    return text


def as_html(shown: object) -> str:
    """The first screen for a notebook; names of traces and machines are text in it, whatever they hold."""
    html: str = import_module(PRESENTATION).html(shown)
    return html


def as_figure(shown: object, path: str | PathLike[str] | None) -> "Figure":
    """The picture of ``--plot``, written to a file where one is named.

    Raises
    ------
    SimhwError
        The file's name does not end in ``.png``, ``.svg`` or ``.pdf``, or it cannot be written.
    """
    if path is not None:
        check_suffix(path, PICTURE_SUFFIXES)
    figure: Figure = import_module(PRESENTATION).figure(shown)
    if path is not None:
        write_figure(figure, path)
    return figure
