"""The first screen of a result: what was asked, the answer with its intervals, what binds it, and why.

About twenty lines, from which a reader can tell whether the details are worth a look.
"""

from collections.abc import Sequence

from simhw.errors import listed
from simhw.quantities import ratio
from simhw.report.memory_reasons import memory_reason
from simhw.report.result_reasons import reason
from simhw.report.result_tables import BOUND_NAMES, has_memories, labels, title
from simhw.report.sheet import Item, Sheet, facts
from simhw.report.tile_costs import scaled_costs
from simhw.results.step import Results
from simhw.results.totals import Totals

SCREEN_WIDTH = 100
"""Columns of a first screen, in a pipe too."""
MOST_IN_FULL = 2
"""Machines of which every operation and the reason are shown; of more the totals, and the fastest one's reason."""


def screen(results: Sequence[Results]) -> list[Item]:
    """The lines and the table of one trace on one or more machines.

    Parameters
    ----------
    results : sequence of Results
        At least one, all of one trace.
    """
    names = labels(results)
    shown: list[Item] = [*facts(_facts(results, names)), answer_sheet(results), *_reasons(results, names)]
    return [*shown, *_apart(results), *caution_lines(results, names)]


def amount(results: Results) -> str:
    """How much of the step was simulated, in a few words."""
    told = {"exact": "simulated exactly", "of the trace": "sampled"}
    replayed = ", every pass replayed" if results.provenance["checked"] else ""
    return told.get(results.provenance["sampling"], "simulated by sample") + replayed


def _facts(results: Sequence[Results], names: Sequence[str]) -> list[tuple[str, str]]:
    first = results[0]
    told = [("trace", f"{title(first.provenance)}, {amount(first)}")]
    costs = _tile_costs(results)
    if len(results) == 1:
        return [
            *told,
            ("machine", f"{names[0]}: {first.machine.values.description}"),
            ("baseline", first.baseline.label if first.baseline else "none; --baseline names one"),
            *costs,
        ]
    against: dict[str, list[str]] = {}
    for name, each in zip(names, results, strict=True):
        against.setdefault(each.baseline.label if each.baseline else "nothing", []).append(name)
    machines = [f"{', '.join(compared)} against {baseline}" for baseline, compared in against.items()]
    return [*told, *_under("machines", machines), *costs]


def _tile_costs(results: Sequence[Results]) -> list[tuple[str, str]]:
    """Of whom area and power of a tile follow values that are not the published tile's, and by how much."""
    told = scaled_costs(machine for each in results for machine in (each.machine, each.baseline))
    if len(results) > MOST_IN_FULL and told:
        return [("tile costs", f"of {listed(list(told))} scaled; `simhw machine show` says by how much, how surely")]
    return _under("tile costs", list(told.values()))


def _under(label: str, lines: Sequence[str]) -> list[tuple[str, str]]:
    """Facts of one label, which the first one has."""
    return [("" if number else label, line) for number, line in enumerate(lines)]


def answer_sheet(results: Sequence[Results]) -> Sheet:
    """Speed-up and energy efficiency, of the tiles alone and with memories; and what binds.

    A row per operation and total, of each machine where there are few; else a row per machine.
    """
    modelled = any(map(has_memories, results))
    few = len(results) <= MOST_IN_FULL
    columns = [("machine", False)] if len(results) > 1 else []
    columns += [("operation", False)] if few else []
    columns += [("speed-up", True), ("energy eff.", True)]
    if modelled:
        columns += [("overall speed-up", True), ("overall eff.", True), ("bound by", False)]
    rows = []
    for name, each in zip(labels(results), results, strict=True):
        groups = {**each.by_operation(), "total": each.total} if few else {"total": each.total}
        for number, (operation, totals) in enumerate(groups.items()):
            row = [name if number == 0 else ""] if len(results) > 1 else []
            row += [operation] if few else []
            rows.append([*row, *_cells(totals, modelled)])
    return Sheet(columns, rows, total_last=len(results) == 1, name="answer")


def _cells(totals: Totals, modelled: bool) -> list[str]:
    cells: list[str] = [
        ratio(totals.speedup, totals.speedup_half_width),
        ratio(totals.energy_efficiency, totals.energy_efficiency_half_width),
    ]
    if modelled:
        cells += [
            ratio(totals.overall_speedup, totals.overall_speedup_half_width),
            ratio(totals.overall_energy_efficiency, totals.overall_energy_efficiency_half_width),
            BOUND_NAMES[totals.overall.bound_by],
        ]
    return cells


def _reasons(results: Sequence[Results], names: Sequence[str]) -> list[str]:
    if len(results) == 1:
        (only,) = results
        return [reason(only), *([memory_reason(only)] if has_memories(only) else [])]
    if len(results) <= MOST_IN_FULL:
        return [_of(name, reason(each)) for name, each in zip(names, results, strict=True)]
    fastest = min(range(len(results)), key=lambda index: results[index].total.overall.time_s)
    leanest = min(range(len(results)), key=lambda index: results[index].total.overall.energy_j.mid)
    return [
        f"Shortest time: {names[fastest]}; least energy: {names[leanest]}.",
        _of(names[fastest], reason(results[fastest])),
    ]


def _of(name: str, sentence: str) -> str:
    """A sentence on one of several machines."""
    return f"{name}, {sentence[0].lower()}{sentence[1:]}"


def _apart(results: Sequence[Results]) -> list[str]:
    """A caution where the machines are not compared with the same one."""
    one = len({each.baseline.content_hash if each.baseline else "" for each in results}) == 1
    return [] if one else ["Caution: each machine is against its own baseline; --baseline names one for all."]


def caution_lines(results: Sequence[Results], names: Sequence[str]) -> list[str]:
    """Those that change how the figures are read: sentences where there is one result, else a few words on each."""
    if len(results) == 1:
        return [caution for caution in results[0].cautions if caution.short]
    told: dict[str, list[str]] = {}
    for name, each in zip(names, results, strict=True):
        for short in dict.fromkeys(caution.short for caution in each.cautions if caution.short):
            told.setdefault(short, []).append(name)
    grouped: dict[str, list[str]] = {}
    for short, of in told.items():
        grouped.setdefault("all" if len(of) == len(results) else ", ".join(of), []).append(short)
    return [f"Caution, {of}: {'; '.join(shorts)}." for of, shorts in grouped.items()]
