"""Marks as SVG: the roofline of the layers, their estimates with intervals, and points of two figures."""

from collections.abc import Callable
from math import ceil, floor, isfinite, log10, sqrt

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from simhw.quantities import count, ratio, short
from simhw.report.page.charts import Dot, IntervalRow, Intervals, Limit, Roofline, Scatter, Series
from simhw.report.page.svg import element, percent

HEIGHT_PX = 380
FOOT_PX = 34
SMALLEST_PX, LARGEST_PX = 3.0, 11.0
"""Radius of a mark that takes no time, and of the one that takes most."""
ROW_PX, NAMES = 17, 0.34
"""Height of a row of intervals, and the share of the width that its name has."""
LONGEST_NAME = 30
LEFT, RIGHT, TOP_PX = 0.11, 0.97, 22
"""Shares of the width between which the dots of a scatter lie, and the height of what stands above them."""
MOST_STEPS = 5
"""Between the ticks of an axis of a scatter."""
Place = Callable[[float], float]
"""Where a value lies along an axis."""


def draw_roofline(chart: Roofline) -> Markup:
    """Logarithmic axes, the machine's limits, and a mark per layer and operation."""
    slopes = [limit.per_s for limit in chart.limits if limit.of == "bytes"]
    tops = [limit.per_s for limit in chart.limits if limit.of == "macs"]
    xs, ys = [dot.x for dot in chart.dots], [dot.y for dot in chart.dots]
    ridge = [max(tops) / min(slopes)] if tops and slopes else []
    left, right = floor(log10(min(xs)) * 2) / 2 - 0.25, ceil(log10(max(xs + ridge)) * 2) / 2 + 0.25
    bottom, top = floor(log10(min(ys))), log10(max(ys + tops)) + 0.35

    def x(value: float) -> float:
        return (log10(value) - left) / (right - left)

    def y(value: float) -> float:
        return (HEIGHT_PX - FOOT_PX) * (top - log10(value)) / (top - bottom)

    parts = [*_grid(x, y, (left, right), (bottom, top))]
    for number, limit in enumerate(chart.limits):
        parts += _limit(limit, x, y, (left, right), max(tops, default=10**top), number)
    most = max(dot.share for dot in chart.dots)
    # Large marks first, so that small ones stay within reach.
    for dot in sorted(chart.dots, key=lambda dot: -dot.share):
        parts.append(_mark(dot, x(dot.x), y(dot.y), most))
    label = f"{chart.title}, {len(chart.dots)} marks. The layer table has their figures."
    return element("svg", *parts, width="100%", height=HEIGHT_PX, role="img", class_="chart", aria_label=label)


def _grid(x: Place, y: Place, xs: tuple[float, float], ys: tuple[float, float]) -> list[Markup]:
    parts = []
    for power in range(ceil(xs[0]), floor(xs[1]) + 1):
        at = percent(x(10.0**power))
        parts.append(element("line", x1=at, x2=at, y1=0, y2=HEIGHT_PX - FOOT_PX, class_="grid"))
        parts.append(element("text", f"{10.0**power:g}", x=at, y=HEIGHT_PX - FOOT_PX + 14, class_="tick middle"))
    for power in range(ceil(ys[0]), floor(ys[1]) + 1):
        level = y(10.0**power)
        parts.append(element("line", x1=0, x2="100%", y1=level, y2=level, class_="grid"))
        parts.append(element("text", f"{count(10.0**power)} MAC/s", x=0, y=level - 3, class_="tick"))
    foot = element("text", "multiply-accumulates per byte off chip", x="50%", y=HEIGHT_PX - 4, class_="tick middle")
    return [*parts, foot]


def _limit(limit: Limit, x: Place, y: Place, xs: tuple[float, float], most: float, number: int) -> list[Markup]:
    if limit.of == "macs":
        at = y(limit.per_s)
        line = element("line", x1=0, x2="100%", y1=at, y2=at, class_="limit")
        return [line, element("text", limit.name, x="100%", y=at - 4, class_="tick end")]
    start, end = 10 ** xs[0], min(10 ** xs[1], most / limit.per_s)
    floor_y = HEIGHT_PX - FOOT_PX
    if y(start * limit.per_s) > floor_y:  # the line enters from below
        start *= 10 ** ((y(start * limit.per_s) - floor_y) / (y(1.0) - y(10.0)))
    if start >= end:
        return []
    line = element(
        "line",
        x1=percent(x(start)),
        x2=percent(x(end)),
        y1=y(start * limit.per_s),
        y2=y(end * limit.per_s),
        class_="limit slope",
    )
    # Above the line, where no mark can be.
    place = start * (end / start) ** (0.55 + 0.15 * (number % 2))
    name = element("text", limit.name, x=percent(x(place)), y=y(place * limit.per_s), dx=-10, class_="tick end")
    return [line, name]


def _mark(dot: Dot, x: float, y: float, most: float) -> Markup:
    radius = sqrt(SMALLEST_PX**2 + dot.share / most * (LARGEST_PX**2 - SMALLEST_PX**2))
    # A nested svg puts the mark at a share of the width.
    shape = _shape(dot.series, radius, element("title", dot.text), data_row=dot.row)
    return element("svg", shape, x=percent(x), y=y, class_="at")


def _shape(series: Series, radius: float, title: Markup, **attributes: str) -> Markup:
    """A mark around the origin."""
    if series.shape == "circle":
        return element("circle", title, r=radius, fill=series.color, class_="mark dot", **attributes)
    half = radius * 0.9
    points = (
        f"0,{-radius:.1f} {radius:.1f},{half:.1f} {-radius:.1f},{half:.1f}"
        if series.shape == "triangle"
        else f"{-half:.1f},{-half:.1f} {half:.1f},{-half:.1f} {half:.1f},{half:.1f} {-half:.1f},{half:.1f}"
    )
    return element("polygon", title, points=points, fill=series.color, class_="mark dot", **attributes)


def draw_swatch(series: Series) -> Markup:
    """A mark for the legend."""
    shape = _shape(series, 6.0, Markup(""))
    return element("svg", element("g", shape, transform="translate(7 7)"), width=14, height=14, aria_hidden="true")


def draw_scatter(chart: Scatter) -> Markup:
    """Linear axes that begin and end at a tick, and a mark per dot."""
    ticks = MaxNLocator(MOST_STEPS, steps=[1, 2, 2.5, 5, 10])
    referred = [chart.reference] if isfinite(chart.reference) else []
    across, up = [dot.x for dot in chart.dots], [dot.y for dot in chart.dots] + referred
    xs, ys = ([float(tick) for tick in ticks.tick_values(min(each), max(each))] for each in (across, up))
    floor_y = HEIGHT_PX - FOOT_PX

    def x(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (value - xs[0]) / (xs[-1] - xs[0])

    def y(value: float) -> float:
        return TOP_PX + (floor_y - TOP_PX) * (ys[-1] - value) / (ys[-1] - ys[0])

    parts = [element("text", chart.y_name, x=0, y=11, class_="tick")]
    for value in xs:
        at = percent(x(value))
        parts.append(element("line", x1=at, x2=at, y1=TOP_PX, y2=floor_y, class_="grid"))
        parts.append(element("text", f"{value:.6g}", x=at, y=floor_y + 14, class_="tick middle"))
    for value in ys:
        parts.append(element("line", x1=percent(LEFT), x2=percent(RIGHT), y1=y(value), y2=y(value), class_="grid"))
        parts.append(element("text", f"{value:.6g}", x=0, y=y(value) + 4, class_="tick"))
    if referred:
        level = y(chart.reference)
        parts.append(element("line", x1=percent(LEFT), x2=percent(RIGHT), y1=level, y2=level, class_="reference"))
    parts.append(element("text", chart.x_name, x="50%", y=HEIGHT_PX - 4, class_="tick middle"))
    most = max(dot.share for dot in chart.dots) or 1.0
    # Small marks last, so that they stay within reach.
    for dot in sorted(chart.dots, key=lambda dot: -dot.share):
        parts.append(_mark(dot, x(dot.x), y(dot.y), most))
    label = f"{chart.title}, {len(chart.dots)} marks. The table of points has their figures."
    return element("svg", *parts, width="100%", height=HEIGHT_PX, role="img", class_="chart", aria_label=label)


def draw_intervals(chart: Intervals) -> Markup:
    """A row per layer: its name, and a mark with a whisker per operation."""
    every = [each for row in chart.rows for each in row.intervals]
    longest = max([1.0, *(each.value + (each.half_width if isfinite(each.half_width) else 0) for each in every)]) * 1.05
    # One estimate of a tiny layer may be wide beyond all others.
    longest = min(longest, 2.5 * max(1.0, *(each.value for each in every)))

    def x(value: float) -> float:
        return NAMES + (0.98 - NAMES) * min(1.0, max(0.0, value / longest))

    height = ROW_PX * len(chart.rows) + 22
    one = percent(x(1.0))
    parts = [
        element("line", x1=one, x2=one, y1=0, y2=height - 18, class_="reference"),
        element("text", "1", x=one, y=height - 4, class_="tick middle"),
        element("text", f"{longest:.2g}", x="98%", y=height - 4, class_="tick end"),
        element("text", "0", x=percent(NAMES), y=height - 4, class_="tick middle"),
    ]
    for number, row in enumerate(chart.rows):
        parts += _interval_row(row, number * ROW_PX, x)
    label = f"{chart.title}, {len(chart.rows)} layers. The layer table has their figures."
    return element("svg", *parts, width="100%", height=height, role="img", class_="chart", aria_label=label)


def _interval_row(row: IntervalRow, top: float, x: Place) -> list[Markup]:
    middle = top + ROW_PX / 2
    line = element("line", x1=percent(NAMES), x2="98%", y1=middle, y2=middle, class_="grid")
    parts = [element("text", short(row.name, LONGEST_NAME), x=0, y=middle + 4, class_="tick"), line]
    for number, each in enumerate(row.intervals):
        height = middle + 3 * (number - (len(row.intervals) - 1) / 2)
        tip = f"{row.name}, {each.series.name}: {ratio(each.value, each.half_width)}"
        if each.half_width and isfinite(each.half_width):
            ends = [percent(x(each.value + sign * each.half_width)) for sign in (-1, 1)]
            parts.append(
                element("line", x1=ends[0], x2=ends[1], y1=height, y2=height, stroke=each.series.color, class_="span")
            )
        shape = _shape(each.series, 3.5, element("title", tip))
        parts.append(element("svg", shape, x=percent(x(each.value)), y=height, class_="at"))
    return parts


def series_of(chart: Roofline | Intervals | Scatter) -> list[Series]:
    """Those that a chart shows, for its legend."""
    found = (
        [each.series for row in chart.rows for each in row.intervals]
        if isinstance(chart, Intervals)
        else [dot.series for dot in chart.dots]
    )
    return sorted(set(found), key=lambda series: series.name)
