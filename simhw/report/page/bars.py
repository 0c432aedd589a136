"""Bars as SVG: across in shares of the page's width, down in pixels, so that text stays readable on a phone."""

from math import isfinite

from markupsafe import Markup

from simhw.quantities import short
from simhw.report.page.charts import Bar, Bars, Piece
from simhw.report.page.svg import element, ink, percent

LABEL_PX, BAR_PX, GAP_PX = 17, 18, 9
LONGEST_LABEL = 60
CHARACTER = 0.019
"""Share of a phone's width that a character takes behind a bar."""
SMALLEST_LABELLED = 0.1
"""Share of the width below which a piece has no room for its number."""


def draw_bars(chart: Bars) -> Markup:
    """The chart as an ``svg``; each piece is a mark with a tooltip."""
    longest = max([bar.end for bar in chart.bars], default=0.0)
    if isfinite(chart.reference):
        longest = max(longest, chart.reference)
    texts = max([len(bar.text) for bar in chart.bars], default=0)
    room = 0.96 - CHARACTER * min(texts, 30)
    scale = 1 / chart.whole if isfinite(chart.whole) else room / longest if longest > 0 else 0.0
    parts: list[Markup] = []
    top = 0.0
    for bar in chart.bars:
        if bar.label:
            top += GAP_PX if top else 0
            parts.append(element("text", short(bar.label, LONGEST_LABEL), x=0, y=top + 12, class_="label"))
            if isfinite(chart.whole):
                parts.append(element("text", bar.text, x="100%", y=top + 12, class_="end"))
            top += LABEL_PX
        parts += _bar(bar, top, scale, not isfinite(chart.whole))
        top += BAR_PX + 2
    if isfinite(chart.reference):
        at = percent(chart.reference * scale)
        parts.append(element("line", x1=at, x2=at, y1=0, y2=top, class_="reference"))
    return element("svg", *parts, width="100%", height=top + 2, role="img", class_="chart", aria_label=summary(chart))


def summary(chart: Bars) -> str:
    """The chart in words, for who does not see it."""
    first = "; ".join(f"{bar.name}: {bar.text}" for bar in chart.bars[:8])
    more = "; and more" if len(chart.bars) > 8 else ""
    return f"{chart.title}. {first}{more}. The figures follow as a table."


def _bar(bar: Bar, top: float, scale: float, text_behind: bool) -> list[Markup]:
    parts, start = [], 0.0
    for piece in bar.pieces:
        width = piece.value * scale
        tip = f"{bar.name}: {piece.name} {piece.text}" if piece.name != bar.name else f"{bar.name}: {piece.text}"
        parts.append(
            element(
                "rect",
                element("title", tip),
                x=percent(start),
                y=top,
                width=percent(width),
                height=BAR_PX,
                fill=piece.color,
                class_="mark",
            )
        )
        if len(bar.pieces) > 1 and width >= SMALLEST_LABELLED:
            middle = percent(start + width / 2)
            inside = piece.text if piece.text.endswith("%") else f"{piece.value / _whole(bar):.0%}"
            parts.append(element("text", inside, x=middle, y=top + 11.5, fill=ink(piece.color), class_="inside"))
        start += width
    if bar.hatched:
        parts.append(
            element("rect", x=0, y=top, width=percent(start), height=BAR_PX, fill="url(#hatch)", class_="hatched")
        )
    end = start
    if isfinite(bar.low) and isfinite(bar.high):
        low, high = percent(bar.low * scale), percent(bar.high * scale)
        # Low in the bar, so that it crosses no number.
        level = top + BAR_PX - 3
        parts.append(element("line", x1=low, x2=high, y1=level, y2=level, class_="whisker"))
        for at in (low, high):
            parts.append(element("line", x1=at, x2=at, y1=level - 3, y2=level + 3, class_="whisker"))
        end = max(end, bar.high * scale)
    if text_behind:
        parts.append(element("text", bar.text, x=percent(end), dx=6, y=top + 13, class_="value"))
    return parts


def _whole(bar: Bar) -> float:
    return sum(piece.value for piece in bar.pieces) or 1.0


def draw_mini(pieces: tuple[Piece, ...], what: str) -> Markup:
    """Shares as a small bar in a cell of a table; what it shows stands in words in its label."""
    parts, start = [], 0.0
    for piece in pieces:
        # Its height stands in the style sheet: there are thousands of these.
        at, width = (f"{100 * share:.1f}".removesuffix(".0") + "%" for share in (start, piece.value))
        parts.append(element("rect", x=at, width=width, fill=piece.color))
        start += piece.value
    label = f"{what}: " + (", ".join(f"{piece.name} {piece.text}" for piece in pieces) or "none")
    return element("svg", *parts, class_="mini", role="img", aria_label=label)
