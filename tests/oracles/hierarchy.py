"""The schedule of double buffering as sums and maxima, without processes: what ours under SimPy must equal to the bit.

Before the blocks of step i come in, step i - 2 has ended, whose place they take; its outputs go out behind them, or
ahead of them where partial sums come back.  Step i runs when its blocks are there and, since its outputs need a place,
those of step i - 2 are out.
"""

import numpy as np


def recurrence(steps, ratios, tile_ns, dram):
    """(first step's blocks there, tiles done, all done) [ns], with every tile followed by itself."""

    def transfer(jobs):
        ends = [
            dram.transfer(job.first, job.runs, job.run, job.stride, job.payload_bytes(ratios), job.write, handed)
            for job in jobs
        ]
        return max([handed, *ends])

    loaded, computed, stored = [], [], []
    handed = begun = shared = 0.0
    free = np.zeros(len(tile_ns))
    for index in range(len(steps) + 2):
        if index >= 2:
            handed = max(handed, computed[index - 2])
        back = index < len(steps) and any(job.partial for job in steps[index].loads)
        if index >= 2 and back:
            stored.append(transfer(steps[index - 2].stores))
        if index < len(steps):
            loaded.append(transfer(steps[index].loads))
        if index >= 2 and not back:
            stored.append(transfer(steps[index - 2].stores))
        if index < len(steps):
            begun = max([begun, loaded[index], *stored[-1:]])
            before, shared = shared, shared + steps[index].share
            free = np.maximum(free, begun) + tile_ns * (shared - before)
            computed.append(float(free.max()))
    return loaded[0], computed[-1], max(*stored, computed[-1])
