"""The page of results: what `model.Page` holds, of runs that were just simulated or read from files."""

from collections.abc import Iterable, Sequence
from math import isfinite, nan

from simhw.quantities import count, percent, ratio
from simhw.report.memory_reasons import memory_explanation
from simhw.report.memory_tables import energy_sheet, time_sheet
from simhw.report.page import charts_of
from simhw.report.page.area import area_part
from simhw.report.page.layers import anchors, layer_table
from simhw.report.page.model import Answer, Headline, MachinePart, Page
from simhw.report.page.origins import constants_of, names_of, origin_of, subtitle_of, title_of, trace_name
from simhw.report.page.values import ValuesPart, values_part
from simhw.report.result_reasons import explanation, sampling_error
from simhw.report.result_tables import BOUND_NAMES, has_memories, performance_sheet
from simhw.report.sheet import Sheet
from simhw.results.step import Results


def page_of(results: Sequence[Results], commands: Sequence[str] = (), traces: Sequence[str] = ()) -> Page:
    """What a page on results shows.

    Parameters
    ----------
    results : sequence of Results
        At least one; of one trace or of several.
    commands : sequence of str
        That made them.
    traces : sequence of str
        What the trace of each result is called; by default as its file is.
    """
    names = names_of(results, traces)
    named = list(zip(names, results, strict=True))
    numbered = [(f"machine-{number}", name, each) for number, (name, each) in enumerate(named, 1)]
    return Page(
        title=title_of(results, names),
        subtitle=subtitle_of(results),
        headlines=tuple(_headline(anchor, name, each) for anchor, name, each in numbered),
        overview=charts_of.overview(named),
        machines=tuple(_machine_part(anchor, name, each) for anchor, name, each in numbered),
        values=tuple(_values(results, traces or [trace_name(each) for each in results])),
        constants=tuple(constants_of(named)),
        origins=tuple((name, origin_of(each, name)) for name, each in named),
        commands=tuple(dict.fromkeys(command for command in commands if command)),
    )


def _headline(anchor: str, name: str, results: Results) -> Headline:
    total, modelled = results.total, has_memories(results)
    answers = [
        Answer(ratio(total.speedup, total.speedup_half_width), "times as fast, tiles alone"),
        Answer(ratio(total.energy_efficiency), "times less energy, tiles alone"),
    ]
    if modelled:
        overall = ratio(total.overall_speedup, total.overall_speedup_half_width)
        answers += [
            Answer(overall, "times as fast, with memories"),
            Answer(ratio(total.overall_energy_efficiency), "times less energy, with memories"),
        ]
    bound = f"Bound by {BOUND_NAMES[total.overall.bound_by]}." if modelled else "Memories are ideal."
    against = f"against {results.baseline.label}" if results.baseline else "no baseline to compare with"
    return Headline(anchor, name, against, tuple(answers), bound)


def _machine_part(anchor: str, name: str, results: Results) -> MachinePart:
    modelled = has_memories(results)
    table = layer_table(results, anchor)
    reasons = explanation(results) + (memory_explanation(results) if modelled else [])
    area, area_sheet, area_text = area_part(results)
    return MachinePart(
        anchor=anchor,
        label=name,
        description=results.machine.values.description,
        # The first sentence tells the sampling error, which has a section of its own.
        reasons=tuple(reasons[1:]),
        cautions=tuple(results.cautions),
        meanings=tuple((lane.name, lane.meaning) for lane in results.machine.pe.lane_classes),
        performance=performance_sheet(results),
        speedups=charts_of.speedups(results),
        lanes=charts_of.lanes(results),
        time=charts_of.time(results) if modelled else None,
        time_sheet=time_sheet(results) if modelled else None,
        energy=charts_of.energies(results),
        energy_sheet=energy_sheet(results),
        roofline=charts_of.roofline(results, anchors(table)) if modelled else None,
        layers=table,
        sampling=sampling_error(results),
        sampling_sheet=_sampling_sheet(results),
        intervals=charts_of.intervals(results),
        area=area,
        area_sheet=area_sheet,
        area_text=area_text,
    )


def _sampling_sheet(results: Results) -> Sheet:
    """Per operation and total: passes, the share of them that was simulated, and how wide the intervals are."""
    columns = [("operation", False), ("tile passes", True), ("simulated", True), ("cycles", True), ("±", True)]
    columns += [("speed-up", True)]
    groups = {name: [item for item in results.operations if item.operation == name] for name in results.by_operation()}
    rows = []
    for name, totals in {**results.by_operation(), "total": results.total}.items():
        items = groups.get(name, results.operations)
        passes = sum(item.passes for item in items)
        simulated = sum(item.passes * item.simulated for item in items)
        error = totals.cycles.relative_half_width
        rows.append(
            [
                name,
                f"{passes:,}",
                percent(simulated / passes if passes else nan),
                count(totals.cycles.value),
                "none" if not error else f"{error:.2%}" if isfinite(error) else "unknown",
                ratio(totals.speedup, totals.speedup_half_width),
            ]
        )
    return Sheet(columns, rows, total_last=True)


def _values(results: Sequence[Results], traces: Sequence[str]) -> Iterable[ValuesPart]:
    """The parts of all traces, each once."""
    named = reversed(list(zip(traces, results, strict=True)))
    each_once = {(name, each.provenance["trace_hash"]): (name, each.values) for name, each in named}
    found = (values_part(name, values) for name, values in reversed(each_once.values()))
    return (part for part in found if part is not None)
