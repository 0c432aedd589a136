"""All figures, by paper and in the order of their page.  A new one is a module in `figures` and a word here."""

from simhw.reproduce.facts import Paper
from simhw.reproduce.figure import Figure
from simhw.reproduce.figures import (
    footprint,
    formats,
    lanes,
    moments,
    pragmatic,
    random,
    readings,
    rows,
    speedup,
    tensordash,
    terms,
    widths,
)

FIGURES: dict[Paper, tuple[Figure, ...]] = {
    "fpraker": (
        speedup.figure("fpraker"),
        readings.FIGURE,
        lanes.figure("fpraker"),
        terms.FIGURE,
        rows.FIGURE,
        moments.figure("fpraker"),
        widths.FIGURE,
        pragmatic.FIGURE,
        footprint.FIGURE,
    ),
    "tensordash": (
        speedup.figure("tensordash"),
        lanes.figure("tensordash"),
        tensordash.ROWS_FIGURE,
        tensordash.COLUMNS_FIGURE,
        tensordash.DEPTH_FIGURE,
        moments.figure("tensordash"),
        random.FIGURE,
        formats.FIGURE,
    ),
}
