"""How results show themselves: as text, in a notebook, and as a picture; `simhw.results.shown` asks for it by name."""

from typing import TYPE_CHECKING

from simhw.report.html import html_picture, html_text
from simhw.report.limit_screen import limits_screen
from simhw.report.printing import plain_text
from simhw.report.screen import SCREEN_WIDTH, screen
from simhw.report.sheet import Item
from simhw.report.trace_screen import trace_screen
from simhw.results.attribution import Explanation
from simhw.results.comparison import Comparison
from simhw.results.step import Results
from simhw.results.traces import TraceComparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WATERFALL = "Limits as a waterfall, from the ideal time to the measured one; the tables have its figures."

Shown = Results | Comparison | TraceComparison | Explanation


def first_screen(shown: Shown) -> list[Item]:
    """The lines and tables that say what the result is."""
    if isinstance(shown, TraceComparison):
        return trace_screen(shown)
    if isinstance(shown, Explanation):
        return limits_screen(shown)
    return screen(shown.results if isinstance(shown, Comparison) else [shown])


def text(shown: Shown) -> str:
    """The first screen, as `simhw run`, `simhw compare` and `simhw explain` print it."""
    return plain_text(first_screen(shown), SCREEN_WIDTH)


def html(shown: Shown) -> str:
    """The first screen as a fragment of a page; an explanation begins with its waterfall."""
    text = html_text(first_screen(shown))
    if not isinstance(shown, Explanation):
        return text
    from simhw.report.limit_plots import limits_figure

    return html_picture(limits_figure(shown).png(), WATERFALL) + text


def figure(shown: Shown) -> "Figure":
    """The picture of ``--plot``."""
    # matplotlib takes half a second to load.
    from simhw.report.limit_plots import limits_figure
    from simhw.report.result_plots import comparison_figure, results_figure
    from simhw.report.trace_comparison_plots import trace_comparison_figure

    if isinstance(shown, Explanation):
        return limits_figure(shown)
    if isinstance(shown, TraceComparison):
        return trace_comparison_figure(shown)
    return comparison_figure(shown.results) if isinstance(shown, Comparison) else results_figure([shown])
