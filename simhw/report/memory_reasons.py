"""Why memories make of a run what they make of it, in sentences that hold its own figures."""

from simhw.quantities import percent
from simhw.report.memory_tables import megabytes, share
from simhw.report.result_tables import BOUND_NAMES
from simhw.results.step import Results
from simhw.results.totals import Overall


def memory_explanation(results: Results) -> list[str]:
    """What bounds the run, and what becomes of the speed-up and energy efficiency of the tiles alone."""
    total, overall = results.total, results.total.overall
    bound = ", ".join(
        f"{BOUND_NAMES[name]} {part:.0%}" for name, part in sorted(overall.bound.items(), key=lambda item: -item[1])
    )
    waits = percent(share(_waiting(overall), overall.cycles))
    lines = [
        f"With memories the run is bound by {BOUND_NAMES[overall.bound_by]}: the tiles wait {waits} of the time. "
        f"Share of the time in operations bound by each: {bound}."
    ]
    base = total.baseline_overall
    if base is None or results.baseline is None:
        return lines
    lines.append(
        f"Why {total.overall_speedup:.3f}x with memories and {total.speedup:.3f}x without: {_times(base)} on "
        f"{results.baseline.name} "
        f"against {_times(overall)} on {results.machine.name}; {_bytes_of_both(overall, base)}."
    )
    lines.append(
        f"Energy efficiency {total.overall_energy_efficiency:.3f}x with memories and {total.energy_efficiency:.3f}x "
        "without: memories take "
        f"{percent(_memory_share(overall))} of the machine's energy and {percent(_memory_share(base))} of the "
        "baseline's; tiles that wait "
        "draw power too."
    )
    return lines


def memory_reason(results: Results) -> str:
    """What memories make of it, in one sentence."""
    total, overall = results.total, results.total.overall
    base = total.baseline_overall
    waits = f"tiles wait {percent(share(_waiting(overall), overall.cycles))}"
    moved = f"{megabytes(overall.off_chip_bytes)} MB off chip"
    if base is None:
        return f"With memories: {BOUND_NAMES[overall.bound_by]} binds, {waits} of the time; {moved}."
    return (
        f"Overall {total.overall_speedup:.3f}: {BOUND_NAMES[overall.bound_by]} binds, {waits} (baseline "
        f"{percent(share(_waiting(base), base.cycles))}); {moved} (baseline {megabytes(base.off_chip_bytes)})."
    )


def _waiting(overall: Overall) -> float:
    """Cycles in which the tiles have to wait."""
    return overall.cycles - overall.shares["compute"]


def _times(overall: Overall) -> str:
    to_ms = share(overall.time_s, overall.cycles) * 1e3
    return f"{overall.shares['compute'] * to_ms:.3f} ms of computing and {_waiting(overall) * to_ms:.3f} ms of waiting"


def _bytes_of_both(overall: Overall, base: Overall) -> str:
    if overall.off_chip_bytes == base.off_chip_bytes:
        return f"both move the same {megabytes(overall.off_chip_bytes)} MB"
    return f"{megabytes(base.off_chip_bytes)} MB off chip against {megabytes(overall.off_chip_bytes)} MB"


def _memory_share(overall: Overall) -> float:
    return share(overall.energy_j.mid - overall.groups["core"].mid, overall.energy_j.mid)


def memory_legend() -> list[str]:
    """What the words of these tables mean."""
    return [
        "overall: with memories, against the baseline with its memories.  compute: what the tiles need, memories "
        "aside.  DRAM: tiles wait "
        "for blocks or for room.  buffers, transposers: they cannot feed the tiles.",
        "fill, drain: the first blocks in, the last outputs out.  bound by: the largest of these, fill and drain "
        "counted as DRAM.",
        "compressed: bytes off chip over those before compression.  low to high: all costs at the ends of their "
        "uncertainty together.",
    ]
