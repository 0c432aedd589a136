"""The page of limits: what `model.LimitsPage` holds, of an explanation that was just simulated."""

from collections.abc import Sequence
from math import isfinite, nan

from simhw.quantities import ratio
from simhw.report.limit_tables import (
    MEASURED,
    column_meanings,
    duration,
    factor,
    largest_limits,
    limit_meanings,
    limit_sheet,
    limits_sheet,
)
from simhw.report.page.charts import Rung, Waterfall
from simhw.report.page.model import LimitsPage, LimitsPart
from simhw.report.page.origins import constants_of, names_of, origin_of, subtitle_of, title_of
from simhw.report.result_reasons import sampling_error
from simhw.results.attribution import TOTAL, Attribution, Explanation

# Okabe and Ito's palette: told apart by colour-blind readers too.
WHOLE, COSTS, SAVES = "#777777", "#0072B2", "#009E73"
AXIS = "times the ideal time"
CAPTION = "From the ideal time to the measured one, limit by limit: blue costs time, green saves it."
ROOM = 0.7
"""Where the axis begins, over the shortest time: the bar of the shortest is to be seen."""


def limits_page(explanation: Explanation, layer: str | None = None, commands: Sequence[str] = ()) -> LimitsPage:
    """What a page on the limits of machines shows.

    Parameters
    ----------
    explanation : Explanation
        Of at least one machine.
    layer : str, optional
        The one that is explained.
    commands : sequence of str
        That made it.
    """
    found = explanation.attributions
    results = [each.results for each in found]
    names = names_of(results)
    named = list(zip(names, results, strict=True))
    # One scale, so that machines compare at a glance.
    over = [_over_ideal(each) for each in found]
    low, high = ROOM * min(map(min, over)), max(map(max, over))
    of = f"layer {layer} of " if layer is not None else ""
    return LimitsPage(
        title=f"Limits: {of}{title_of(results, names)}",
        subtitle=subtitle_of(results),
        machines=tuple(
            LimitsPart(
                anchor=f"machine-{number}",
                label=name,
                description=each.results.machine.values.description,
                waterfall=Waterfall(name, CAPTION, AXIS, _rungs(each), low, high),
                sheet=limit_sheet(each),
                reasons=(*largest_limits(each), sampling_error(each.results)),
                cautions=tuple(each.results.cautions),
            )
            for number, (name, each) in enumerate(zip(names, found, strict=True), 1)
        ),
        together=limits_sheet(explanation, names) if len(found) > 1 else None,
        columns=tuple(column_meanings(explanation)),
        limits=tuple(limit_meanings(explanation)),
        constants=tuple(constants_of(named)),
        origins=tuple((name, origin_of(each, name)) for name, each in named),
        commands=tuple(command for command in commands if command),
    )


def _over_ideal(attribution: Attribution) -> list[float]:
    """Times of the whole step over the ideal one; ones where nothing takes time."""
    times = attribution.times_s[TOTAL].tolist()
    return [time / times[0] if times[0] > 0 else 1.0 for time in times]


def _rungs(attribution: Attribution) -> tuple[Rung, ...]:
    over, factors, shares = _over_ideal(attribution), attribution.factors(), attribution.shares()
    times, speedups = attribution.times_s[TOTAL].tolist(), attribution.speedups()
    rungs = []
    for number, (step, time, speedup) in enumerate(zip(attribution.steps, times, speedups, strict=True)):
        against = f", {ratio(speedup)} times as fast as the baseline" if isfinite(speedup) else ""
        told = f"{duration(time)}{against}. {step.meaning[:1].upper()}{step.meaning[1:]}."
        if number == 0:
            tip = f"{step.limit}: {told}"
            rungs.append(Rung(step.limit, nan, over[0], WHOLE, duration(time), tip))
        else:
            color = COSTS if over[number] >= over[number - 1] else SAVES
            tip = f"{step.limit}: {factor(factors[number])}, adds {shares[number]:+.1%}; with it {told}"
            rungs.append(Rung(step.limit, over[number - 1], over[number], color, factor(factors[number]), tip))
    against = f", {ratio(speedups[-1])} times as fast as the baseline" if isfinite(speedups[-1]) else ""
    tip = f"{MEASURED}: {duration(times[-1])}{against}"
    return (*rungs, Rung(MEASURED, nan, over[-1], WHOLE, duration(times[-1]), tip))
