"""The signals of a tile pass: what every scheduler sees and chooses, and what the lanes do in each cycle."""

from collections.abc import Iterator

import numpy as np

from simhw.bfloat16 import BF16Array
from simhw.machine.values import TileParameters
from simhw.pe.passes import ParallelRows
from simhw.pe.signals import BUSY_STATES, NOTHING, Signals, lane_paths
from simhw.pe.tensordash.parameters import TensorDashPE
from simhw.pe.tensordash.record import tensordash_record
from simhw.pe.tensordash.replay import TensorDashReplay


def pass_signals(
    pe: TensorDashPE, tile: TileParameters, x: BF16Array, parallel: ParallelRows, cycles: int
) -> Iterator[Signals]:
    """A scheduler's signals, and its lanes in every PE that does as it says."""
    rows, columns, lanes = tile.rows, tile.cols, pe.lanes
    real = np.flatnonzero(parallel.real).tolist()
    two_sided = pe.sides == "two"
    record = tensordash_record(len(x) * columns if two_sided else len(x), lanes, cycles)
    TensorDashReplay(pe, tile).tile_pass(x, parallel.rows, parallel.real, record)
    steps = x.shape[1] // lanes
    yield Signals([[("tile", "position")]], record.position[:, None], max(1, (steps - 1).bit_length()))
    yield Signals([[("tile", "advance")]], record.advance[:, None], 2)
    if two_sided:
        owners = {row * columns + column: [(row, column)] for row in range(len(x)) for column in real}
    else:
        owners = {row: [(row, column) for column in real] for row in range(len(x))}
    for scheduler, pes in owners.items():
        place = ("tile", f"pe_{pes[0][0]}_{pes[0][1]}" if two_sided else f"row_{pes[0][0]}")
        yield Signals([[(*place, "z")]], record.window[:, scheduler, None].astype(np.int64), pe.depth * lanes)
        yield Signals([[(*place, "drained")]], record.drained[:, scheduler, None], 2)
        choice = record.choice[:, scheduler].astype(np.int64)
        taken = choice >= 0
        chosen = {
            "state": (np.where(taken, 0, 1), 1, BUSY_STATES),
            "step": (np.where(taken, choice // lanes, NOTHING), 2, ()),
            "source": (np.where(taken, choice % lanes, NOTHING), 4, ()),
        }
        for name, (values, bits, texts) in chosen.items():
            # The same choice in the PEs of the row, and once where the row's scheduler stands.
            paths = [
                [path for row, column in pes for path in lane_paths(row, column, lanes, name)[lane]]
                for lane in range(lanes)
            ]
            if not two_sided:
                paths = [[(*place, f"lane_{lane}", name), *shown] for lane, shown in enumerate(paths)]
            yield Signals(paths, values, bits, texts)
    used = {pe for pes in owners.values() for pe in pes}
    absent = [(row, column) for row in range(rows) for column in range(columns) if (row, column) not in used]
    if absent:
        places = [path for row, column in absent for (path,) in lane_paths(row, column, lanes, "state")]
        yield Signals([places], np.ones((cycles, 1), np.int8), texts=BUSY_STATES)
