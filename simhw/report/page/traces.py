"""The page of training steps beside each other: what one gains over the first on the same machines comes first, then
the page of all results.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from simhw.quantities import ratio
from simhw.report.memory_tables import share
from simhw.report.page import charts_of
from simhw.report.page.matched_layers import matched_table
from simhw.report.page.model import Answer, DifferencePart, Headline, Page, TracesPart
from simhw.report.page.origins import names_of, trace_name
from simhw.report.page.results import page_of
from simhw.report.result_tables import BOUND_NAMES
from simhw.report.trace_screen import difference_sheet, reason, step_facts, step_sheet, trace_cautions
from simhw.results.saved import SavedResults
from simhw.results.traces import Gain, TraceComparison, traces_of

MOST_LAYERS = 8
"""Layers of the table of differences; all stand in the layer table."""


def traces_page(comparison: TraceComparison, commands: Sequence[str] = ()) -> Page:
    """What a page on several traces shows.

    Parameters
    ----------
    comparison : TraceComparison
    commands : sequence of str
        That made it.
    """
    results, traces = comparison.results, comparison.names
    page = page_of(results, commands, traces)
    first, *others = comparison.comparisons
    machines = comparison.machines
    on = machines[0] if len(machines) == 1 else f"{len(machines)} machines"
    return replace(
        page,
        title=f"{', '.join(others)} against {first} on {on}",
        subtitle="What one training step gains over another on the same hardware.",
        # Time and energy of every step stand in the first part already.
        overview=charts_of.ratios(list(zip(names_of(results, traces), results, strict=True))),
        traces=_part(comparison),
    )


def saved_page(saved: Sequence[SavedResults]) -> Page:
    """What a page on saved results shows: that of several traces where they are on the same machines."""
    results = [each for one in saved for each in one.results]
    commands = [one.command for one in saved]
    names = [name for one in saved for name in one.traces or [Path(trace_name(each)).stem for each in one.results]]
    comparison = traces_of(names, results)
    return traces_page(comparison, commands) if comparison else page_of(results, commands)


def _part(comparison: TraceComparison) -> TracesPart:
    _, *others = comparison.comparisons
    gains = [gain for gain in comparison.gains if gain.other.hardware in comparison.machines]
    differences = tuple(
        _difference(f"difference-{number}", [gain for gain in gains if gain.other.trace == other])
        for number, other in enumerate(others, 1)
    )
    anchors = {part.trace: part.anchor for part in differences}
    return TracesPart(
        sentences=tuple(map(_sentence, gains)),
        headlines=tuple(_headline(anchors[gain.other.trace], gain) for gain in gains),
        facts=tuple(step_facts(comparison)),
        cautions=tuple(_shown(line) for line in trace_cautions(comparison)),
        charts=charts_of.steps(comparison),
        steps=step_sheet(comparison, repeated=True),
        differences=differences,
    )


def _sentence(gain: Gain) -> str:
    first, other = (step.totals.overall for step in (gain.first, gain.other))
    saving = gain.times_less_energy
    energy = f"{saving:.2f} times less energy" if saving >= 1 else f"{share(1, saving):.2f} times more energy"
    return (
        f"On {gain.other.hardware}, {gain.other.trace} is {gain.times_as_fast:.2f} times as fast as {gain.first.trace} "
        f"and takes {energy}: {other.time_s * 1e3:.4g} ms instead of {first.time_s * 1e3:.4g} ms, "
        f"{other.energy_j.mid * 1e3:.4g} mJ instead of {first.energy_j.mid * 1e3:.4g} mJ."
    )


def _headline(anchor: str, gain: Gain) -> Headline:
    fast = ratio(gain.times_as_fast, gain.times_as_fast_half_width)
    less = ratio(gain.times_less_energy, gain.times_less_energy_half_width)
    memories = ", with memories" if gain.with_memories else ""
    answers = [Answer(fast, f"times as fast{memories}"), Answer(less, f"times less energy{memories}")]
    if gain.with_memories:
        answers.append(Answer(ratio(gain.tiles_times_as_fast), "times as fast, tiles alone"))
    answers.append(Answer(ratio(share(gain.first.macs, gain.other.macs)), "times fewer products"))
    against = f"{gain.other.trace} against {gain.first.trace}"
    return Headline(anchor, gain.other.hardware, against, tuple(answers), _bound_by(gain))


def _bound_by(gain: Gain) -> str:
    if not gain.with_memories:
        return "Memories are ideal."
    first, other = (BOUND_NAMES[step.totals.overall.bound_by] for step in (gain.first, gain.other))
    return f"Both bound by {first}." if first == other else f"Bound by {other}; {gain.first.trace} by {first}."


def _difference(anchor: str, gains: Sequence[Gain]) -> DifferencePart:
    return DifferencePart(
        anchor=anchor,
        trace=gains[0].other.trace,
        reasons=tuple(map(reason, gains)),
        sheet=difference_sheet(gains, MOST_LAYERS),
        layers=tuple(
            (gain.other.hardware, matched_table(gain, f"{anchor}-{number}")) for number, gain in enumerate(gains, 1)
        ),
    )


def _shown(caution: str) -> str:
    """A caution below a heading that says that it is one."""
    told = caution.removeprefix("Caution: ").removeprefix("Caution, ")
    return f"{told[:1].upper()}{told[1:]}" if caution.startswith("Caution: ") else told
