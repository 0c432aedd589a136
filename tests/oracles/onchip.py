"""What passes between buffers, scratchpads and tiles, one slice, tile pass and set after another; and bank numbers one
by one.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import product


@dataclass
class Accesses:
    """Accesses of a set's lanes of one row each; `sums` counts partial sums that go into the scratchpads, and as many
    come out.
    """

    fetched_x: int = 0
    fetched_y: int = 0
    pad_writes: int = 0
    pad_reads: int = 0
    sums: int = 0


def tile_passes(clusters, x_tiles, y_tiles, sets, rows_x, rows_y, grid, reuse, slice_sets) -> Accesses:
    """All passes of so many clusters of `x_tiles` by `y_tiles` tiles, each of whole sets.

    `grid` is the grid of tiles: its rows take X together, its columns Y.  `reuse` is how many tiles of X, and of Y, a
    tile holds slices of together; a slice has `slice_sets` sets.
    """
    total = Accesses()
    (grid_x, grid_y), (reuse_x, reuse_y) = grid, reuse
    xs = [range(x_tiles)[start : start + grid_x * reuse_x] for start in range(0, x_tiles, grid_x * reuse_x)]
    ys = [range(y_tiles)[start : start + grid_y * reuse_y] for start in range(0, y_tiles, grid_y * reuse_y)]
    for _, here_x, here_y in product(range(clusters), xs, ys):
        grid_rows = [tiles for r in range(grid_x) if (tiles := here_x[r::grid_x])]
        grid_columns = [tiles for c in range(grid_y) if (tiles := here_y[c::grid_y])]
        for first in range(0, sets, slice_sets):
            in_slice = len(range(first, min(first + slice_sets, sets)))
            for tiles in grid_rows:
                for _ in product(tiles, range(in_slice), range(rows_x)):
                    total.fetched_x += 1
                    total.pad_writes += len(grid_columns)
            for tiles in grid_columns:
                for _ in product(tiles, range(in_slice), range(rows_y)):
                    total.fetched_y += 1
                    total.pad_writes += len(grid_rows)
            for row, column in product(grid_rows, grid_columns):
                for _ in product(row, column):  # one tile pass, one slice of it
                    total.pad_reads += in_slice * (rows_x + rows_y)
                    total.sums += rows_x * rows_y  # to the next slice or, from the last one, out
    return total


def cycles_of_meetings(positions, rows, container_columns_apart, banks) -> float:
    """Mean over groups of `rows` positions, given as columns counted through the image, of the most in one bank."""
    groups = [positions[start : start + rows] for start in range(0, len(positions), rows)]
    worst = [max(Counter(column * container_columns_apart % banks for column in group).values()) for group in groups]
    return sum(worst) / len(worst)


def places_read(out, stride, columns) -> list[int]:
    """Columns, counted through the rows, at which the output positions of an image read, x fastest."""
    return [y * stride[0] * columns + x * stride[1] for y, x in product(range(out[0]), range(out[1]))]
