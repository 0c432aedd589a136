"""TensorDash in plain Python: the scheduler of a tile, a replay of its schedule, and the outputs that the replay gives.

Source: spec page tensordash.md, sections 1-2. Where the page leaves something open, this file decides:

- Only real rows are scheduled and counted: an empty row of a partial tile has always drained the whole window, so it
  never limits AS, and it is neither idle nor out of step with its neighbours.
- A window may reach past the end of the reduction; those steps are empty, so in the last cycles a_r and AS may exceed
  what is left.
- Under order: any a multiplier has wires to every pair of the window; lanes decide one after another.
- An output is the exact sum of its products, rounded once to bfloat16 (read-out as in FPRaker's page: too small is +0).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from tests.oracles.accumulator import decode_rows, to_bfloat16

LANES = 16
LEVELS = ((0, 5, 10), (1, 6, 11), (2, 7, 12), (3, 8, 13), (4, 9, 14), (15,))
Order = Literal["paper", "dnnsim", "any"]
OPTIONS: dict[str, tuple[tuple[int, int], ...]] = {  # (step, lane offset), highest priority first
    "paper": ((0, 0), (1, 0), (2, 0), (1, -1), (1, 1), (2, -2), (2, 2), (1, -3)),
    "dnnsim": ((0, 0), (1, -1), (1, 0), (1, 1), (1, 3), (2, -2), (2, 0), (2, 2)),
    "any": ((0, 0), *((step, lane) for step in (1, 2) for lane in range(LANES))),
}


@dataclass(frozen=True)
class Schedule:
    """`chosen[cycle][row][lane]` is the (step, lane) of the reduction that was multiplied there, None for an idle lane.

    `advanced[cycle]` is AS. `useful + idle == rows * 16 * cycles` over the scheduled rows, one column. `row_sync_steps`
    is the sum over cycles and rows of a_r - AS; `skipped_steps` is T - cycles, the same for every row.
    """

    cycles: int
    useful: int
    idle: int
    row_sync_steps: int
    skipped_steps: int
    advanced: list[int]
    chosen: list[list[list[tuple[int, int] | None]]]


@dataclass(frozen=True)
class TensorDashPass:
    """One tile pass; `outputs` is (rows of a, rows of b) float32."""

    schedule: Schedule
    outputs: npt.NDArray[np.float32]
    overflows: int


def schedule_window(window: list[set[int]], order: Order) -> list[int | None]:
    """One row, one cycle: the option index that each lane takes, or None. `window[step]` is the set of effectual lanes;
    it is left with what was not taken.
    """
    depth = len(window)
    options = [option for option in OPTIONS[order] if option[0] < depth]
    choice: list[int | None] = [None] * LANES
    levels = [(lane,) for lane in range(LANES)] if order == "any" else LEVELS
    for level in levels:
        taken = []
        for lane in level:
            for index, (step, offset) in enumerate(options):
                source = (lane + offset) % LANES
                if source in window[step]:
                    choice[lane] = index
                    taken.append((step, source))
                    break
        assert len(set(taken)) == len(taken), "two lanes of a level chose the same pair"
        for step, source in taken:  # cleared before the next level decides
            window[step].remove(source)
    return choice


def tile_schedule(masks: Sequence[Sequence[int]], depth: Literal[1, 2, 3] = 3, order: Order = "paper") -> Schedule:
    """Schedule rows of T 16-bit masks of effectual pairs (bit i is lane i); all rows advance together."""
    remaining = [[{lane for lane in range(LANES) if int(mask) >> lane & 1} for mask in row] for row in masks]
    steps = len(remaining[0])
    options = [option for option in OPTIONS[order] if option[0] < depth]
    position = useful = row_sync = 0
    advanced: list[int] = []
    chosen: list[list[list[tuple[int, int] | None]]] = []
    while position < steps:
        drained = []
        cycle = []
        for row in remaining:
            row += [set() for _ in range(position + depth - len(row))]
            window = row[position : position + depth]  # the sets themselves: what is taken is gone from the row
            picks: list[tuple[int, int] | None] = []
            for lane, index in enumerate(schedule_window(window, order)):
                if index is None:
                    picks.append(None)
                else:
                    step, offset = options[index]
                    picks.append((position + step, (lane + offset) % LANES))
                    useful += 1
            cycle.append(picks)
            leading = 0
            while leading < depth and not window[leading]:
                leading += 1
            assert leading >= 1, "step 0 always drains"
            drained.append(leading)
        advance = min(drained)
        row_sync += sum(drained) - advance * len(drained)
        position += advance
        advanced.append(advance)
        chosen.append(cycle)
    cycles = len(advanced)
    return Schedule(
        cycles, useful, len(remaining) * LANES * cycles - useful, row_sync, steps - cycles, advanced, chosen
    )


def replay(schedule: Schedule, row: int) -> list[tuple[int, int]]:
    """The (step, lane) pairs that a row multiplied, in the order of the schedule."""
    return [pair for cycle in schedule.chosen for pair in cycle[row] if pair is not None]


def operand_masks(values: BF16Array) -> list[list[int]]:
    """(rows, K) bit patterns as [row][step] 16-bit masks of the non-zeros; value k is lane k % 16 of step k // 16."""
    return [
        [sum(1 << lane for lane, number in enumerate(step) if number is not None) for step in steps]
        for steps in decode_rows(values, LANES)
    ]


def tile_pass(
    a: BF16Array,
    b: BF16Array,
    *,
    depth: Literal[1, 2, 3] = 3,
    order: Order = "paper",
    sides: Literal["one", "two"] = "one",
) -> TensorDashPass:
    """`a` (rows, K) is scheduled, `b` (cols, K) is the other operand; K is padded with zeros to whole steps of 16.

    With sides: two every PE has its own scheduler and all PEs of the tile advance together: the schedule's rows are the
    PEs, row r of `a` with row c of `b` at index r * cols + c.
    """
    a_numbers, b_numbers = decode_rows(a, LANES), decode_rows(b, LANES)
    a_masks, b_masks = operand_masks(a), operand_masks(b)
    cols = len(b_numbers)
    masks = a_masks
    if sides == "two":
        masks = [[x & y for x, y in zip(a_row, b_row, strict=True)] for a_row in a_masks for b_row in b_masks]
    schedule = tile_schedule(masks, depth, order)
    pairs = [replay(schedule, row) for row in range(len(masks))]
    for row, done in enumerate(pairs):
        wanted = {(step, lane) for step, mask in enumerate(masks[row]) for lane in range(LANES) if mask >> lane & 1}
        assert len(done) == len(wanted), f"row {row}: {len(done)} pairs multiplied, {len(wanted)} effectual"
        assert set(done) == wanted, f"row {row}: a pair is missing"
    outputs = np.zeros((len(a_numbers), cols), dtype=np.float32)
    overflows = 0
    for r, a_steps in enumerate(a_numbers):
        for c, b_steps in enumerate(b_numbers):
            total = Fraction(0)
            for step, lane in pairs[r] if sides == "one" else pairs[r * cols + c]:
                x, y = a_steps[step][lane], b_steps[step][lane]
                if x is not None and y is not None:
                    total += x.value * y.value
            result = to_bfloat16(total)
            overflows += math.isinf(result)
            outputs[r, c] = result
    return TensorDashPass(schedule, outputs, overflows)
