"""Charts as data: what is drawn, with the figures behind it, before anything is known of how."""

from dataclasses import dataclass
from math import isfinite, nan
from typing import Literal

from simhw.report.sheet import Sheet

Shape = Literal["circle", "triangle", "square"]


@dataclass(frozen=True)
class Piece:
    """A piece of a bar.

    Attributes
    ----------
    name : str
        As the legend has it.
    value : float
        Its length, in the unit of the chart.
    color : str
        ``#RRGGBB``.
    text : str
        The value for a reader; where there is room, within the piece.
    """

    name: str
    value: float
    color: str
    text: str


@dataclass(frozen=True)
class Bar:
    """A bar of one piece or of several, end to end.

    Attributes
    ----------
    name : str
        In the table of figures.
    label : str
        Above the bar; empty where it belongs to the one before.
    pieces : tuple of Piece
    text : str
        The whole, at the end of the bar.
    low, high : float
        Ends of its uncertainty or of its 95% confidence interval; NaN where there are none.
    hatched : bool
        Told apart from its neighbours of the same colour.
    """

    name: str
    label: str
    pieces: tuple[Piece, ...]
    text: str
    low: float = nan
    high: float = nan
    hatched: bool = False

    @property
    def end(self) -> float:
        """Where it ends, its whisker included."""
        return max([sum(piece.value for piece in self.pieces), *([self.high] if isfinite(self.high) else [])])


@dataclass(frozen=True)
class Bars:
    """Horizontal bars below each other.

    Attributes
    ----------
    title : str
    caption : str
        What length, colours and whiskers mean.
    bars : tuple of Bar
    reference : float
        A line across all bars; NaN for none.
    whole : float
        The value at the right end of the chart; NaN where bars and their texts decide.
    """

    title: str
    caption: str
    bars: tuple[Bar, ...]
    reference: float = nan
    whole: float = nan

    @property
    def legend(self) -> dict[str, str]:
        """Names and colours of the pieces; empty where the bars have but one each."""
        several = any(len(bar.pieces) > 1 for bar in self.bars)
        return {piece.name: piece.color for bar in self.bars for piece in bar.pieces} if several else {}

    @property
    def sheet(self) -> Sheet:
        """The figures behind it."""
        names = list(self.legend)
        if not names:
            return Sheet([("", False), ("value", True)], [[bar.name, bar.text] for bar in self.bars])
        rows = []
        for bar in self.bars:
            texts = {piece.name: piece.text for piece in bar.pieces}
            rows.append([bar.name, *(texts.get(name, "-") for name in names), bar.text])
        return Sheet([("", False), *((name, True) for name in names), ("total", True)], rows)


@dataclass(frozen=True)
class Series:
    """Dots that belong together.

    Attributes
    ----------
    name, color : str
    shape : {"circle", "triangle", "square"}
    """

    name: str
    color: str
    shape: Shape


@dataclass(frozen=True)
class Dot:
    """A point with what is said of it.

    Attributes
    ----------
    series : Series
    x, y : float
    share : float
        What its area grows with; in a roofline the share of the machine's time.
    text : str
    row : str
        The id of its row in a table, as `layers.LayerRow.anchor` names it.
    """

    series: Series
    x: float
    y: float
    share: float
    text: str
    row: str


@dataclass(frozen=True)
class Limit:
    """A line that no dot can be above.

    Attributes
    ----------
    name : str
    per_s : float
        Multiply-accumulates per second, or bytes per second.
    of : {"macs", "bytes"}
    """

    name: str
    per_s: float
    of: Literal["macs", "bytes"]


@dataclass(frozen=True)
class Roofline:
    """Dots by multiply-accumulates per byte off chip and per second, both logarithmic, below the machine's limits."""

    title: str
    caption: str
    dots: tuple[Dot, ...]
    limits: tuple[Limit, ...]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% confidence interval.

    Attributes
    ----------
    series : Series
    value, half_width : float
        Infinite where one simulated piece is all there is.
    """

    series: Series
    value: float
    half_width: float


@dataclass(frozen=True)
class IntervalRow:
    """A layer's estimates."""

    name: str
    intervals: tuple[Interval, ...]


@dataclass(frozen=True)
class Intervals:
    """Estimates of layers, a row each, with a line at 1."""

    title: str
    caption: str
    rows: tuple[IntervalRow, ...]


@dataclass(frozen=True)
class Rung:
    """A row of a waterfall: from where the row before it ended to where this one ends.

    Attributes
    ----------
    name : str
    start, end : float
        The start is NaN where the bar begins at the chart's left side.
    color : str
        ``#RRGGBB``.
    text : str
        Behind the bar.
    tip : str
        All that is said of it.
    """

    name: str
    start: float
    end: float
    color: str
    text: str
    tip: str


@dataclass(frozen=True)
class Waterfall:
    """Rows on a logarithmic axis, so that equal factors are equally long.

    Attributes
    ----------
    title, caption, axis : str
        `axis` names what the axis counts.
    rungs : tuple of Rung
    low, high : float
        The ends of the axis, above 0; those of charts that are compared are the same.
    """

    title: str
    caption: str
    axis: str
    rungs: tuple[Rung, ...]
    low: float
    high: float


@dataclass(frozen=True)
class Scatter:
    """Dots on two linear axes.

    Attributes
    ----------
    title, caption : str
    x_name, y_name : str
        What the axes are, with units.
    dots : tuple of Dot
        At least one.
    reference : float
        A line across at this height; NaN for none.
    """

    title: str
    caption: str
    x_name: str
    y_name: str
    dots: tuple[Dot, ...]
    reference: float = nan
