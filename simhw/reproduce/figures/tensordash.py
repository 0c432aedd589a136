"""TensorDash's tiles: rows, columns and depth of the staging buffers, as many PEs in all."""

from simhw.machine.machine import load_machine
from simhw.reproduce.bench import Bench
from simhw.reproduce.figures.variants import Variant, Variants, figure

ROWS = {1: "rows_1", 4: "mean_speedup", 16: "rows_16"}
"""Rows of a tile, and the published mean."""
COLUMNS = (4, 8, 16)
DEPTHS = {2: None, 3: "mean_speedup"}
_SAME_TILES = (
    "Speed-up over the dense machine with the same tiles, which have as many PEs in all cases; the tiles alone."
)


def _tiles(rows: int | None = None, columns: int | None = None) -> str:
    """Overrides for tiles of another shape, with as many PEs in all."""
    values = load_machine("tensordash").values
    pes = values.tiles * values.tile.rows * values.tile.cols
    rows, columns = rows or values.tile.rows, columns or values.tile.cols
    return f"tile.rows={rows},tile.cols={columns},tiles={pes // (rows * columns)}"


def _variant(at: int, tiles: str, fact: str | None = None) -> Variant:
    return Variant(at, f"tensordash:{tiles}", f"tensordash-dense:{tiles}", fact)


def _rows() -> list[Variant]:
    return [_variant(rows, _tiles(rows=rows), fact) for rows, fact in ROWS.items()]


def _columns() -> list[Variant]:
    return [_variant(columns, _tiles(columns=columns)) for columns in COLUMNS]


def _depths() -> list[Variant]:
    return [
        Variant(depth, f"tensordash:pe.depth={depth}", None, "mean_speedup" if depth == 3 else None) for depth in DEPTHS
    ]


def _same_tiles(bench: Bench) -> list[str]:  # noqa: ARG001  # all figures are asked alike
    return [_SAME_TILES]


def _columns_say(bench: Bench) -> list[str]:
    fact = bench.facts["columns"]
    return [_SAME_TILES, f"Published: {fact.says}, within {fact.high:.0%} (confidence {fact.confidence:.0%})."]


def _depths_say(bench: Bench) -> list[str]:  # noqa: ARG001
    return ["Speed-up over the dense machine, the tiles alone. A staging buffer of two steps saves a third of it."]


ROWS_FIGURE = figure("rows", "Rows per tile", Variants("rows", _same_tiles, _rows))
COLUMNS_FIGURE = figure("columns", "Columns per tile", Variants("columns", _columns_say, _columns))
DEPTH_FIGURE = figure("depth", "Depth of the staging buffers", Variants("steps", _depths_say, _depths))
