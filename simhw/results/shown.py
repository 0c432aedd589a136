"""Results show themselves, in the words and pictures of the report room.

Reports know results, and results know no reports: they ask for the room by its name, on first use, as `simhw` does for
its public calls.  So who only reads figures loads neither tables nor matplotlib.
"""

from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING

from simhw.files.writing import PICTURE_SUFFIXES, check_suffix, write_figure, write_frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PRESENTATION = "simhw.report.presentation"


class Drawn:
    """What has a tidy table and a picture."""

    @property
    def frame(self) -> "pd.DataFrame":
        """The tidy table."""
        raise NotImplementedError

    def write(self, path: str | PathLike[str]) -> None:
        """Write `frame` as .csv, .json or .parquet; see `simhw.files.writing.write_frame`."""
        write_frame(self.frame, path)

    def plot(self, path: str | PathLike[str] | None = None) -> "Figure":
        """Draw the picture of ``--plot``.

        Parameters
        ----------
        path : str or path, optional
            Where to write it; ends in ``.png``, ``.svg`` or ``.pdf``.

        Raises
        ------
        SimhwError
            Another suffix, or a place that cannot be written.
        """
        if path is not None:
            check_suffix(path, PICTURE_SUFFIXES)
        figure: Figure = import_module(PRESENTATION).figure(self)
        if path is not None:
            write_figure(figure, path)
        return figure


class Shown(Drawn):
    """What also shows itself: printed, or at the end of a notebook's cell, as the command prints it first."""

    def __str__(self) -> str:
        text: str = import_module(PRESENTATION).text(self)
        return text

    def _repr_html_(self) -> str:
        """For a notebook; names of traces and machines are text in it, whatever they hold."""
        html: str = import_module(PRESENTATION).html(self)
        return html
