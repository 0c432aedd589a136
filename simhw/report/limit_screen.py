"""The limits of machines as lines and tables: what `simhw explain` prints, and what an explanation shows of itself."""

from collections.abc import Sequence

from simhw.report.limit_tables import largest_limits, limit_sheet, limits_sheet
from simhw.report.result_reasons import sampling_error
from simhw.report.result_tables import labels, title
from simhw.report.sheet import Item, facts
from simhw.results.attribution import Attribution, Explanation


def limits_screen(explanation: Explanation) -> list[Item]:
    """The trace, and the limits of each machine and of all of them side by side."""
    results = [each.results for each in explanation.attributions]
    names = labels(results)
    described = [f"{name}: {each.machine.values.description}" for name, each in zip(names, results, strict=True)]
    # Made together, so that they are aligned.
    trace, *machines = facts([("trace", title(results[0].provenance)), *(("machine", text) for text in described)])
    shown: list[Item] = [trace]
    for machine, each in zip(machines, explanation.attributions, strict=True):
        shown += [machine, *machine_limits(each)]
    return [*shown, *side_by_side(explanation, names)]


def machine_limits(attribution: Attribution) -> list[Item]:
    """What each limit of a machine costs, those that weigh most, and the cautions."""
    results = attribution.results
    return [limit_sheet(attribution), *largest_limits(attribution), sampling_error(results), *results.cautions]


def side_by_side(explanation: Explanation, names: Sequence[str]) -> list[Item]:
    """Machines beside each other, where there are several."""
    if len(explanation.attributions) == 1:
        return []
    return ["Side by side: how many times longer each limit makes the step.", limits_sheet(explanation, names)]
