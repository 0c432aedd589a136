"""The cross table as a page: what each technique gains on each machine, and what it costs in accuracy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simhw.report.markdown import markdown_table
from simhw.report.scores import score_beside, shown_scores

if TYPE_CHECKING:
    import pandas as pd

SIZES = (
    (
        "full",
        "Steps of full-size networks",
        "The published network with the same technique, at the published batch, on every machine.",
    ),
    (
        "narrow",
        "Captured steps of the networks that were trained",
        "Exact, but of small models on few images, which move many bytes for each product: memories bind most of them.",
    ),
)
"""Sizes of the networks whose steps are compared, what their tables are called, and what they hold."""


@dataclass(frozen=True)
class Headings:
    """What the page and the picture are called, and what each machine is."""

    title: str
    machines: dict[str, str]

    def line(self, machine: str) -> str:
        """What a machine is called, in one line."""
        return self.machines.get(machine, machine).replace("\n", " ")


def matrix_page(
    frame: "pd.DataFrame", headings: Headings, facts: list[str], picture: str, told: dict[str, tuple[str, str]]
) -> str:
    """The cross table in Markdown.

    Parameters
    ----------
    frame : DataFrame
        As `simhw_workloads.matrix.table` gives it.
    headings : Headings
    facts : list of str
        Command, date, versions and sampling, a line each.
    picture : str
        Its file's name; empty for none.
    told : dict of workload to (str, str)
        What was published of each, and what was trained here.
    """
    lines = [f"# {headings.title}", "", *(f"- {fact}" for fact in facts), ""]
    if picture:
        lines += [f"![Heat map of the table]({picture})", ""]
    for size, title, about in SIZES:
        part = frame[frame["size"] == size]
        if len(part):
            lines += [f"## {title}", "", about, "", *_steps(part, headings)]
    lines += ["## Published, and seen here", ""]
    lines += [
        "Scores here are of small models trained for minutes on a CPU; published ones of the models named.",
        "",
    ]
    lines += markdown_table(
        ["technique", "published", "trained here", "seen"],
        [[name, *told[name], _seen(frame, name, headings)] for name in _names(frame)],
    )
    return "\n".join(lines) + "\n"


def _steps(frame: "pd.DataFrame", headings: Headings) -> list[str]:
    """The tables of the steps of one size."""
    machines = list(dict.fromkeys(frame["machine"]))
    lines = ["### Speed-up / energy saving of a training step against the uncompressed model on the same machine", ""]
    lines += [
        "The whole training counts: where a technique takes fewer steps, the step's gain is divided by their share.",
        "",
    ]
    lines += markdown_table(
        ["technique", "score (uncompressed)", *(headings.line(machine) for machine in machines)],
        [_gain_row(frame, name, machines) for name in _names(frame)],
    )
    own = [machine for machine in machines if frame.loc[frame["machine"] == machine, "over_bf16"].notna().any()]
    lines += ["", "### Against the machine's own bit-parallel bfloat16 baseline", ""]
    lines += [
        "The same step on both machines / the uncompressed step on the baseline against the compressed one on the "
        "machine.",
        "",
    ]
    headers = [f"{headings.line(machine)}: {what}" for machine in own for what in ("time", "energy")]
    lines += markdown_table(["technique", *headers], [_bf16_row(frame, name, own) for name in _names(frame)])
    lines += ["", "### With ideal memories", "", "What compute alone gains:", ""]
    simulated = list(dict.fromkeys(frame.loc[frame["compute_speedup"].notna(), "machine"]))
    headers = [headings.line(machine) for machine in simulated]
    lines += markdown_table(["technique", *headers], [_compute_row(frame, name, simulated) for name in _names(frame)])
    return [*lines, ""]


def leading(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The lines that stand for each technique: its full-size steps, or its narrow ones where it has no others."""
    import pandas as pd

    parts = [frame[frame["workload"] == name] for name in _names(frame)]
    return pd.concat([full if len(full := part[part["size"] == "full"]) else part for part in parts])


def _names(frame: "pd.DataFrame") -> list[str]:
    return list(dict.fromkeys(frame["workload"]))


def _gain_row(frame: "pd.DataFrame", name: str, machines: list[str]) -> list[str]:
    mine = frame[frame["workload"] == name].set_index("machine")
    cells = [name, shown_scores(mine.iloc[0])]
    for machine in machines:
        if machine not in mine.index:
            cells.append("–")
            continue
        cell = mine.loc[machine]
        width = f" ± {cell['speedup_ci95'] / cell['work']:.3f}" if cell["speedup_ci95"] > 0 else ""
        cells.append(f"{cell['run_speedup']:.2f}{width} / {cell['run_energy_saving']:.2f}")
    return cells


def _bf16_row(frame: "pd.DataFrame", name: str, machines: list[str]) -> list[str]:
    mine = frame[frame["workload"] == name].set_index("machine")
    cells = [name]
    for machine in machines:
        if machine not in mine.index:
            cells += ["–", "–"]
            continue
        cell = mine.loc[machine]
        cells.append(f"{cell['over_bf16']:.2f} / {cell['both']:.2f}")
        cells.append(f"{cell['energy_over_bf16']:.2f} / {cell['energy_both']:.2f}")
    return cells


def _compute_row(frame: "pd.DataFrame", name: str, machines: list[str]) -> list[str]:
    mine = frame[frame["workload"] == name].set_index("machine")
    gains = mine["compute_speedup"]
    return [name, *(f"{float(gains[machine]):.2f}" if machine in gains else "–" for machine in machines)]


def _seen(frame: "pd.DataFrame", name: str, headings: Headings) -> str:
    """Speed of the whole training on every machine in percent, and what it costs in score."""
    mine = leading(frame[frame["workload"] == name])
    first = mine.iloc[0]
    pairs = zip(mine["machine"], mine["run_speedup"], strict=True)
    gains = [f"{headings.line(machine)} {100 * (speedup - 1):+.1f}%" for machine, speedup in pairs]
    score, plain = score_beside(first)
    return f"{', '.join(gains)}; {first['metric']} {score} for {plain} uncompressed"
