"""The limits of machines as text: a waterfall of each, machines side by side, and the limits that weigh most."""

from collections.abc import Sequence
from math import isnan

from simhw.quantities import percent, ratio
from simhw.report.sheet import Sheet
from simhw.results.attribution import TOTAL, Attribution, Explanation

MOST_NAMED = 3
"""Limits that a sentence names."""
MEASURED = "measured"
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    factor, unit = next((each for each in UNITS if seconds >= each[0]), (1e-9, "ns"))
    return f"{seconds / factor:.4g} {unit}"


def factor(value: float) -> str:
    """How many times longer; a dash for NaN."""
    return "-" if isnan(value) else f"x {value:.3f}"


def limit_sheet(attribution: Attribution) -> Sheet:
    """A row per limit: what it multiplies the time of each operation by, and the step's time with it."""
    scopes = attribution.scopes
    columns = [("limit", False), *((scope, True) for scope in scopes)]
    columns += [("time", True), ("adds", True), ("speed-up", True)]
    factors = [attribution.factors(scope) for scope in scopes]
    totals = attribution.times_s[TOTAL].tolist()
    shares, speedups = attribution.shares(), attribution.speedups()
    rows = [
        [
            step.limit,
            *(factor(values[number]) for values in factors),
            duration(totals[number]),
            f"{shares[number]:+.1%}" if number else percent(shares[number]),
            ratio(speedups[number]),
        ]
        for number, step in enumerate(attribution.steps)
    ]
    whole = [factor(_overall(attribution, scope)) for scope in scopes]
    rows.append([MEASURED, *whole, duration(totals[-1]), percent(sum(shares)), ratio(speedups[-1])])
    return Sheet(columns, rows, total_last=True)


def limits_sheet(explanation: Explanation, labels: Sequence[str]) -> Sheet:
    """A row per limit and a column per machine: what it multiplies the time of the step by."""
    found = [
        dict(zip((step.limit for step in each.steps), each.factors(), strict=True)) for each in explanation.attributions
    ]
    rows = [[limit, *(factor(each[limit]) if limit in each else "" for each in found)] for limit in explanation.limits]
    rows.append([MEASURED, *(factor(_overall(each, TOTAL)) for each in explanation.attributions)])
    return Sheet([("limit", False), *((label, True) for label in labels)], rows, total_last=True)


def largest_limits(attribution: Attribution) -> list[str]:
    """The limits that weigh most, in a sentence, and those that help in another one."""
    ranked = sorted(
        (value, step.limit)
        for step, value in zip(attribution.steps, attribution.factors(), strict=True)
        if not isnan(value)
    )
    costly = [(limit, value) for value, limit in reversed(ranked) if value > 1][:MOST_NAMED]
    helpful = [(limit, value) for value, limit in ranked if value < 1]
    lines = []
    if costly:
        named = ", ".join(f"{limit} ({factor(value)})" for limit, value in costly)
        lines.append(
            f"The measured time is {_overall(attribution, TOTAL):.3f} times the ideal one.  "
            f"The largest limits: {named}."
        )
    if helpful:
        named = ", ".join(f"{limit} ({factor(value)})" for limit, value in helpful)
        lines.append(f"Below 1 it saves time: {named}.")
    return lines


def meanings(explanation: Explanation) -> list[str]:
    """What the columns are, and what each limit is, a line each."""
    named = [*column_meanings(explanation), *limit_meanings(explanation)]
    return [f"{name}: {meaning}." for name, meaning in named]


def column_meanings(explanation: Explanation) -> list[tuple[str, str]]:
    """What the columns of `limit_sheet` are."""
    factors = (
        "the time with this limit and all above it, over the time with those above it alone.  The product of all is "
        "measured over ideal"
    )
    told = [("x", factors), ("adds", "what the limit adds to the time, as a share of the measured time")]
    if any(each.results.baseline for each in explanation.attributions):
        beside = "over the baseline's tiles; in rows with memories over the baseline with its memories"
        told.append(("speed-up", beside))
    return told


def limit_meanings(explanation: Explanation) -> list[tuple[str, str]]:
    """What each limit of the machines is, each once."""
    meaning = {step.limit: step.meaning for each in explanation.attributions for step in each.steps}
    return [(limit, meaning[limit]) for limit in explanation.limits]


def _overall(attribution: Attribution, scope: str) -> float:
    """Measured over ideal time."""
    times = attribution.times_s[scope]
    return float(times[-1] / times[0]) if times[0] else float("nan")
