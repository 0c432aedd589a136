"""The testbench of a TensorDash tile up to its multipliers.

What is expected comes from simhw's replay: in each cycle which pair every lane of a scheduler takes, by which option
(MS), the values that reach the multipliers, and the steps that the tile drops (AS).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simhw.pe.tensordash.record import tensordash_record
from simhw.pe.tensordash.replay import LANES, TensorDashReplay, wired
from simhw.rtl.tensordash import TensorDashTile
from simhw.rtl.testbench.bench import Bench, Pass
from simhw.rtl.testbench.memory import Fields, Memory, halves, word

TEMPLATE, UNIT = "steps.v", "schedules of a cycle"
IDLE = 255
"""In the place of a pair."""
Bytes = npt.NDArray[np.uint8]


def tensordash_bench(twin: TensorDashTile, passes: Sequence[Pass]) -> Bench:
    """The testbench of a tile: outputs follow each other without a bubble."""
    pe, tile = twin.pe, twin.tile
    model = TensorDashReplay(pe, tile)
    behind = 2 * pe.depth  # empty steps that the window sees after the last one of an output
    schedules: list[Fields] = []
    x_steps: list[Fields] = []
    y_steps: list[Fields] = []
    places: list[tuple[int, int]] = []
    first = 0
    for x, y in passes:
        every_column = np.ones(tile.cols, np.bool_)
        steps = x.shape[1] // LANES
        record = tensordash_record(twin.schedulers, LANES, steps)  # a step drains each cycle at least
        cycles, _, _ = model.tile_pass(x, y, every_column, record)
        done = np.arange(cycles) == cycles - 1
        schedules.append(
            word(
                record.advance[:cycles] | done.astype(np.int64) << 8,
                _choices(record.choice[:cycles], wired(pe.order, pe.depth)),
            )
        )
        for side, values in ((x_steps, x), (y_steps, y)):
            words = values.reshape(len(values), steps, LANES).swapaxes(0, 1).reshape(steps, -1)
            side.append(np.pad(words, ((0, behind), (0, 0))))
        places.append((first, steps))
        first += steps + behind
    memories = [
        Memory("x_steps", np.concatenate(x_steps)),
        Memory("y_steps", np.concatenate(y_steps)),
        Memory("outputs", np.concatenate([halves(each) for each in np.array(places).T], axis=1)),
        Memory("schedules", np.concatenate(schedules)),
    ]
    cycles = memories[-1].words
    ms_bits = len(twin.ms[0][0])
    names = ("x_refill", "y_refill", "load", "advance", "done", "busy", "x_values", "y_values")
    ports = {name: name for name in names} | {"steps": "coming[55:32]"} | ({"ms": "ms"} if ms_bits else {})
    if pe.gate == "on":
        ports["bypass"] = "1'b0"
    facts = {
        "outputs": len(places),
        "cycles": cycles,
        "depth": pe.depth,
        "rows": tile.rows,
        "cols": tile.cols,
        "schedulers": twin.schedulers,
        "two_sided": pe.sides == "two",
        "advance_bits": len(twin.advance),
        "ms_bits": ms_bits,
    }
    return Bench(TEMPLATE, memories, ports, facts, cycles * twin.schedulers, UNIT)


def _choices(choice: npt.NDArray[np.int8], options: npt.NDArray[np.int64]) -> Fields:
    """By scheduler, the pairs of its lanes as bytes, then their options as half bytes."""
    cycles = len(choice)
    pairs = np.where(choice < 0, IDLE, choice).astype(np.uint8)
    # The option by which a lane reaches a place of the window.
    option_of = np.zeros((LANES, IDLE + 1), np.uint8)
    for lane in range(LANES):
        for option, (step, offset) in enumerate(options.tolist()):
            option_of[lane, step * LANES + (lane + offset) % LANES] = option
    taken = option_of[np.arange(LANES), pairs]
    halves_of_bytes = taken[..., 0::2] | taken[..., 1::2] << 4
    fields: Fields = np.concatenate([pairs, halves_of_bytes], axis=2).reshape(cycles, -1).view("<u2")
    return fields
