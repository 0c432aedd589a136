"""What of a traced step ran a second time: activation checkpointing repeats forward products within the backward pass.

They are work of the step like any other, and are counted as forward work; this says how much of it they are.
"""

from collections.abc import Mapping

from simhw.trace.trace import Trace

RECORD = "recomputed"
"""Key of a trace's `extra` under which the names of such layers stand."""


def recomputed_share(trace: Trace, macs: Mapping[tuple[str, str], int]) -> str:
    """How many forward products were run again, and their share of the step's multiply-accumulates; empty where none
    was.

    Parameters
    ----------
    trace : Trace
    macs : mapping of (layer's name, operation's) to int
        Multiply-accumulates of every operation that counts.
    """
    named = trace.metadata.extra.get(RECORD)
    names = {name for name in named if isinstance(name, str)} if isinstance(named, list) else set()
    again = {key: number for key, number in macs.items() if key[0] in names and key[1] == "forward"}
    if not again:
        return ""
    share = sum(again.values()) / sum(macs.values())
    products = f"{len(again)} forward product{'s' if len(again) > 1 else ''}"
    return f"{products}, {share:.1%} of the multiply-accumulates, run again within the backward pass"
