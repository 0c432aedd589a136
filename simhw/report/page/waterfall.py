"""Waterfalls as SVG: a row per limit with its name before and its factor behind, each where the one above it ended."""

from math import ceil, floor, isfinite, log2

from markupsafe import Markup

from simhw.quantities import short
from simhw.report.page.charts import Rung, Waterfall
from simhw.report.page.svg import element, percent

ROW_PX, BAR_PX, FOOT_PX = 22, 14, 34
NAMES, BARS = 0.4, 0.8
"""Shares of the width at which bars begin, and at which the longest one ends; its text stands behind it."""
LONGEST_NAME = 26
THINNEST = 0.004
"""Share of the width of a bar that would be too thin to be seen."""
MOST_TICKS = 6


def draw_waterfall(chart: Waterfall) -> Markup:
    """The chart as an ``svg``; each row is a mark with a tooltip, along its whole width."""
    low, high = log2(chart.low), log2(chart.high)

    def x(value: float) -> float:
        return NAMES + (BARS - NAMES) * ((log2(value) - low) / (high - low) if high > low else 1.0)

    bottom = ROW_PX * len(chart.rungs)
    parts = []
    every = max(1, ceil((high - low) / MOST_TICKS))
    for power in range(ceil(low), floor(high) + 1):
        if power % every == 0:
            at = percent(x(2.0**power))
            parts.append(element("line", x1=at, x2=at, y1=0, y2=bottom, class_="grid"))
            parts.append(element("text", f"{2.0**power:g}", x=at, y=bottom + 14, class_="tick middle"))
    parts.append(element("text", chart.axis, x="100%", y=bottom + FOOT_PX - 4, class_="tick end"))
    for number, rung in enumerate(chart.rungs):
        parts += _row(rung, number * ROW_PX, x(rung.start) if isfinite(rung.start) else NAMES, x(rung.end))
    label = f"{chart.title}. {'; '.join(f'{rung.name}: {rung.text}' for rung in chart.rungs)}."
    height = bottom + FOOT_PX
    return element("svg", *parts, width="100%", height=height, role="img", class_="chart", aria_label=label)


def _row(rung: Rung, top: float, start: float, end: float) -> list[Markup]:
    middle, bar = top + ROW_PX / 2, top + (ROW_PX - BAR_PX) / 2
    left, right = min(start, end), max(start, end)
    parts = [
        element("text", short(rung.name, LONGEST_NAME), x=0, y=middle + 4, class_="label"),
        element("text", rung.text, x=percent(right), dx=6, y=middle + 4, class_="value"),
    ]
    if isfinite(rung.start):
        # From the end of the row above.
        at = percent(start)
        parts.append(element("line", x1=at, x2=at, y1=bar - (ROW_PX - BAR_PX), y2=bar, class_="grid"))
    drawn = element(
        "rect",
        x=percent(left),
        y=bar,
        width=percent(max(right - left, THINNEST)),
        height=BAR_PX,
        fill=rung.color,
    )
    # The whole row answers to the mouse: the bar of a limit that costs little is thin.
    row = element("rect", x=0, y=top, width="100%", height=ROW_PX, class_="reach")
    return [*parts, element("g", element("title", rung.tip), drawn, row, class_="mark")]
