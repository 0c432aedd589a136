"""What the page shows: headlines, sections, tables and charts, as plain data without any HTML."""

from dataclasses import dataclass

from simhw.report.page.charts import Bars, Intervals, Roofline, Scatter, Waterfall
from simhw.report.page.layers import LayerTable
from simhw.report.page.values import ValuesPart
from simhw.report.sheet import Sheet

Facts = tuple[tuple[str, str], ...]
"""Names and what is said of each."""


@dataclass(frozen=True)
class Answer:
    """A figure in large print.

    Attributes
    ----------
    figure, meaning : str
        "1.222 ± 0.004" and "times as fast, tiles alone".
    """

    figure: str
    meaning: str


@dataclass(frozen=True)
class Headline:
    """What a machine comes to.

    Attributes
    ----------
    anchor : str
        Of the machine's part of the page.
    machine, against : str
        Label of the machine, and in a few words what it is set against.
    answers : tuple of Answer
    bound_by : str
        What takes most of the time, in a sentence.
    """

    anchor: str
    machine: str
    against: str
    answers: tuple[Answer, ...]
    bound_by: str


@dataclass(frozen=True)
class MachinePart:
    """All about one machine.

    Attributes
    ----------
    anchor, label, description : str
    reasons, cautions : tuple of str
        Sentences.
    meanings : facts
        What its lane-cycle classes mean.
    performance : Sheet
    speedups, lanes : Bars
    time, energy : Bars or None
        With memories; None where they are ideal.
    energy_sheet, time_sheet : Sheet or None
    roofline : Roofline or None
        None where nothing goes off chip.
    layers : LayerTable
    sampling : str
    sampling_sheet : Sheet
    intervals : Intervals or None
        None where everything was simulated, or nothing to compare with.
    area : Bars or None
    area_sheet : Sheet or None
    area_text : str
    """

    anchor: str
    label: str
    description: str
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]
    meanings: Facts
    performance: Sheet
    speedups: Bars
    lanes: Bars
    time: Bars | None
    time_sheet: Sheet | None
    energy: Bars
    energy_sheet: Sheet
    roofline: Roofline | None
    layers: LayerTable
    sampling: str
    sampling_sheet: Sheet
    intervals: Intervals | None
    area: Bars | None
    area_sheet: Sheet | None
    area_text: str


@dataclass(frozen=True)
class ConstantsPart:
    """Every constant of a machine.

    Attributes
    ----------
    anchor, label, description : str
    role : str
        Whose machine or baseline it is.
    sheet : Sheet
    """

    anchor: str
    label: str
    description: str
    role: str
    sheet: Sheet


@dataclass(frozen=True)
class DifferencePart:
    """Where the difference between a training step and the first one comes from.

    Attributes
    ----------
    anchor, trace : str
        Of this part of the page; of the step.
    reasons : tuple of str
        A sentence per machine.
    sheet : Sheet
        What it takes less, by operation and by layer, on all machines.
    layers : tuple of (label, LayerTable)
        Of each machine, layers of both steps side by side.
    """

    anchor: str
    trace: str
    reasons: tuple[str, ...]
    sheet: Sheet
    layers: tuple[tuple[str, LayerTable], ...]


@dataclass(frozen=True)
class TracesPart:
    """Training steps beside each other on the same machines.

    Attributes
    ----------
    sentences : tuple of str
        The answer, for each machine and step but the first.
    headlines : tuple of Headline
        The same figures in large print.
    facts : facts
        What each trace is.
    cautions : tuple of str
    charts : tuple of Bars
    steps : Sheet
        A row per piece of hardware and step.
    differences : tuple of DifferencePart
        One per step but the first.
    """

    sentences: tuple[str, ...]
    headlines: tuple[Headline, ...]
    facts: Facts
    cautions: tuple[str, ...]
    charts: tuple[Bars, ...]
    steps: Sheet
    differences: tuple[DifferencePart, ...]


@dataclass(frozen=True)
class Page:
    """The page.

    Attributes
    ----------
    title, subtitle : str
    headlines : tuple of Headline
        One per machine.
    overview : tuple of Bars
        Machines side by side.
    machines : tuple of MachinePart
    values : tuple of ValuesPart
        Zeros and terms, one per trace.
    constants : tuple of ConstantsPart
        Of every machine and baseline, each once.
    origins : tuple of (label, facts)
        Where each machine's figures come from.
    commands : tuple of str
    traces : TracesPart or None
        Where it answers what one training step gains over another on the same machines; comes first.
    """

    title: str
    subtitle: str
    headlines: tuple[Headline, ...]
    overview: tuple[Bars, ...]
    machines: tuple[MachinePart, ...]
    values: tuple[ValuesPart, ...]
    constants: tuple[ConstantsPart, ...]
    origins: tuple[tuple[str, Facts], ...]
    commands: tuple[str, ...]
    traces: TracesPart | None = None


@dataclass(frozen=True)
class LimitsPart:
    """Why a machine takes as long as it does.

    Attributes
    ----------
    anchor, label, description : str
    waterfall : Waterfall
        From the ideal time down to the measured one.
    sheet : Sheet
        The same by operation.
    reasons, cautions : tuple of str
        Sentences.
    """

    anchor: str
    label: str
    description: str
    waterfall: Waterfall
    sheet: Sheet
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]


@dataclass(frozen=True)
class LimitsPage:
    """The page on the limits of machines.

    Attributes
    ----------
    title, subtitle : str
    machines : tuple of LimitsPart
    together : Sheet or None
        A column per machine; None where there is but one.
    columns, limits : facts
        What the columns of tables and what the limits are.
    constants, origins, commands
        As of `Page`.
    """

    title: str
    subtitle: str
    machines: tuple[LimitsPart, ...]
    together: Sheet | None
    columns: Facts
    limits: Facts
    constants: tuple[ConstantsPart, ...]
    origins: tuple[tuple[str, Facts], ...]
    commands: tuple[str, ...]


@dataclass(frozen=True)
class SweepPage:
    """The page of a sweep.

    Attributes
    ----------
    title, subtitle : str
    charts : tuple of Scatter
        Empty where no point has a speed-up.
    front : Sheet
        The points that no other one beats.
    points : Sheet
        All points that have a result, or the best of them; the first cell is the point's number.
    left_out : int
        Points with a result that `points` does not show.
    failed : Sheet
        Points without a result, and why.
    cautions : tuple of str
    description : str
        The sweep file.
    facts : facts
        Store and versions.
    commands : tuple of str
    """

    title: str
    subtitle: str
    charts: tuple[Scatter, ...]
    front: Sheet
    points: Sheet
    left_out: int
    failed: Sheet
    cautions: tuple[str, ...]
    description: str
    facts: Facts
    commands: tuple[str, ...]
