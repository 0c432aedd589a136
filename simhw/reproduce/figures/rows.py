"""FPRaker's speed-up in tiles with 2 to 16 rows of PEs, as many PEs in all."""

from simhw.reproduce.bench import Bench
from simhw.reproduce.figures.variants import Variant, Variants, figure
from simhw.reproduce.readings import load_readings

ROWS = (2, 4, 8, 16)


def _variants() -> list[Variant]:
    return [Variant(rows, load_readings().of_chosen.with_rows({}, rows)) for rows in ROWS]


def _says(bench: Bench) -> list[str]:
    fact = bench.facts["rows"]
    return [
        "Speed-up over the bit-parallel baseline, tiles alone. The PEs are as many in all cases; the baseline stays.",
        f"Published: {fact.says}, {fact.low:.0%} (confidence {fact.confidence:.0%}).",
    ]


FIGURE = figure("rows", "Rows per tile", Variants("rows", _says, _variants))
