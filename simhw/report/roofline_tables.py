"""What a predicted step is made of, as tables: time by kind of operator, by phase, by layer, and two predictions side
by side.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from simhw.quantities import count, percent, short
from simhw.report.sheet import Sheet
from simhw.roofline.estimate import StepEstimate
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import Phase
from simhw.version import __version__

if TYPE_CHECKING:
    import pandas as pd

PHASES: tuple[Phase, ...] = ("forward", "recompute", "input_grad", "weight_grad", "update")
LIMIT_NAMES = {
    "matrix": "matrix unit",
    "vector": "vector unit",
    "dram": "DRAM",
    "l2": "L2",
    "buffer": "buffers",
    "launch": "launch",
}
"""Limits as tables and pictures say them."""
LONGEST_LAYER = 48
LONGEST_MAPPING = 60


def run_words(run: Run) -> str:
    """How a network is run, in words."""
    how = f"{run.mode}, {run.precision}, batch {run.batch}, {run.fusion} elementwise"
    if run.layout != "nchw":
        how += f", {run.layout}"
    if run.launch == "graph":
        how += ", one graph"
    if run.mode == "training":
        how += f", {run.optimizer}"
        if run.accumulate > 1:
            how += f", {run.accumulate} passes of {run.batch} before an update"
        if run.checkpoint:
            how += ", blocks run forward again"
        if run.shards > 1:
            how += f", {run.shards} devices share what ZeRO {run.zero} shares"
    return how


def estimate_facts(estimate: StepEstimate) -> list[tuple[str, str]]:
    """Inputs and the total of a prediction."""
    network, device, run = estimate.network, estimate.device, estimate.run
    energy, seconds = estimate.energy_j, estimate.seconds
    facts = [
        (
            "network",
            f"{network.name}: {count(network.parameters)} parameters, {count(network.macs)} MACs a sample; "
            f"{network.source}",
        ),
        ("device", f"{device.label}, hash {device.content_hash}: {device.values.description}"),
        ("run", run_words(run)),
        ("step", f"{seconds * 1e3:,.4g} ms, {estimate.samples_per_s:,.4g} samples/s"),
        *_issuing(estimate),
        (
            "energy",
            f"{energy.mid:,.4g} J a step ({energy.low:,.3g} to {energy.high:,.3g}), {estimate.power_w:,.3g} W",
        ),
    ]
    needs, has = estimate.memory, device.values.hardware.memory_bytes
    facts.append(("memory", f"{needs.total / 1e9:,.3g} GB{f' of {has / 1e9:,.4g}' if has else ''}"))
    return [*facts, ("version", f"simhw {__version__}")]


def _issuing(estimate: StepEstimate) -> list[tuple[str, str]]:
    """Whether the framework or the device holds a step up, and what the other way to launch kernels would give; nothing
    of a device that runs compiled graphs alone.
    """
    host, graph = f"{estimate.host_s * 1e3:,.4g} ms", f"{estimate.device_s * 1e3:,.4g} ms"
    streamed_s = estimate.device_s + estimate.gaps_s
    if not estimate.host_s:
        return []
    if estimate.run.launch == "graph":
        eager = f"{max(streamed_s, estimate.host_s) * 1e3:,.4g} ms"
        return [("launch", f"one graph of all kernels; issued one by one a step would take {eager}")]
    if estimate.host_s <= streamed_s:
        return [("launch", f"kernel by kernel; the device decides, as the framework needs only {host} to issue them")]
    return [
        (
            "launch",
            f"kernel by kernel, and the framework cannot issue them fast enough: it needs {host}, and the device is "
            f"busy {percent(estimate.device_s / estimate.seconds)} of the time; as one graph (--launch graph) a step "
            f"would take {graph}",
        )
    ]


def caution_lines(cautions: Iterable[str]) -> list[str]:
    """What a prediction has to be read with, a line each."""
    return [f"Caution: {caution}." for caution in cautions]


def kind_sheet(estimate: StepEstimate) -> Sheet:
    """Time by kind of operator."""
    return _grouped(estimate.frame, "operator", estimate.frame["operator"].unique().tolist(), most_first=True)


def phase_sheet(estimate: StepEstimate) -> Sheet:
    """Time by phase of the step."""
    present = set(estimate.frame["phase"])
    return _grouped(estimate.frame, "phase", [phase for phase in PHASES if phase in present])


def limit_line(estimate: StepEstimate) -> str:
    """What the device's time is bound by."""
    shares = estimate.frame.groupby("limit")["seconds"].sum().sort_values(ascending=False) / estimate.device_s
    return "bound by  " + ", ".join(f"{LIMIT_NAMES[str(name)]} {percent(share)}" for name, share in shares.items())


def _grouped(frame: "pd.DataFrame", by: str, names: list[str], most_first: bool = False) -> Sheet:
    """A row per group of operators, and their total."""
    columns = [(by, False), ("kernels", True), ("ms", True), ("share", True), ("GFLOP", True), ("GB", True)]
    columns += [("TFLOP/s", True), ("of peak", True), ("GB/s", True), ("bound by", False)]
    whole = float(frame["seconds"].sum())
    groups = {name: frame[frame[by] == name] for name in names}
    if most_first:
        groups = dict(sorted(groups.items(), key=lambda item: -float(item[1]["seconds"].sum())))
    rows = [_group_row(name, group, whole) for name, group in groups.items()]
    return Sheet(columns, [*rows, _group_row("total", frame, whole)], total_last=True, name=f"time by {by}")


def _group_row(name: str, group: "pd.DataFrame", whole: float) -> list[str]:
    seconds, flops, moved = (float(group[column].sum()) for column in ("seconds", "flops", "dram_bytes"))
    ideal = float((group["flops"] / group["peak_flops_per_s"]).sum())
    limits = group.groupby("limit")["seconds"].sum()
    rates = [f"{flops / seconds / 1e12:.3g}", percent(ideal / seconds), f"{moved / seconds / 1e9:,.0f}"]
    return [
        name,
        f"{int(group['kernels'].sum()):,}",
        f"{seconds * 1e3:,.4g}",
        percent(seconds / whole),
        f"{flops / 1e9:,.4g}",
        f"{moved / 1e9:,.4g}",
        *rates,
        LIMIT_NAMES[str(limits.idxmax())],
    ]


def by_layer(estimate: StepEstimate) -> "pd.DataFrame":
    """A row per layer, in order: seconds in all and per phase, flops, bytes, and the limit and mapping of its longest
    operator.
    """
    frame = estimate.frame
    order = frame["layer"].drop_duplicates()
    summed = frame.groupby("layer")[["seconds", "flops", "dram_bytes"]].sum()
    summed["ideal_s"] = (frame["flops"] / frame["peak_flops_per_s"]).groupby(frame["layer"]).sum()
    longest = frame.loc[frame.groupby("layer")["seconds"].idxmax()].set_index("layer")[["limit", "mapping", "operator"]]
    phases = frame.pivot_table(index="layer", columns="phase", values="seconds", aggfunc="sum", fill_value=0.0)
    phases = phases.reindex(columns=list(PHASES), fill_value=0.0)
    return summed.join(phases).join(longest).loc[order]


def layer_sheet(estimate: StepEstimate, most: int | None = None) -> Sheet:
    """A row per layer, or per those `most` that take longest."""
    layers = by_layer(estimate)
    if most is not None:
        layers = layers.nlargest(most, "seconds")
    phases = [phase for phase in PHASES if estimate.run.mode == "training" or phase == "forward"]
    columns = [
        ("layer", False),
        ("operator", False),
        ("ms", True),
        ("share", True),
        *((f"{phase} ms", True) for phase in phases),
    ]
    columns += [("GFLOP", True), ("FLOP/B", True), ("of peak", True), ("bound by", False), ("longest kernel", False)]
    rows = []
    for name, layer in layers.iterrows():
        cells = [short(str(name), LONGEST_LAYER), str(layer["operator"]), f"{layer['seconds'] * 1e3:,.4g}"]
        cells += [percent(layer["seconds"] / estimate.device_s), *(f"{layer[phase] * 1e3:,.3g}" for phase in phases)]
        cells += [
            f"{layer['flops'] / 1e9:,.4g}",
            f"{_intensity(layer):,.3g}",
            percent(layer["ideal_s"] / layer["seconds"]),
        ]
        rows.append([*cells, LIMIT_NAMES[str(layer["limit"])], _cut(str(layer["mapping"]))])
    return Sheet(columns, rows, name="layers")


def _cut(mapping: str) -> str:
    """A mapping short enough for a table; it says what matters first."""
    return mapping if len(mapping) <= LONGEST_MAPPING else f"{mapping[: LONGEST_MAPPING - 1]}…"


def _intensity(layer: "pd.Series[float]") -> float:
    return float(layer["flops"] / layer["dram_bytes"]) if layer["dram_bytes"] else float("nan")


def comparison_sheet(first: StepEstimate, second: StepEstimate) -> Sheet:
    """Two predictions side by side: totals, phases and kinds, with the second's speed-up over the first."""
    columns = [("", False), ("first", True), ("second", True), ("first / second", True)]
    rows = [
        _compared("step, ms", first.seconds * 1e3, second.seconds * 1e3),
        _compared("ms a sample", first.seconds / first.run.samples * 1e3, second.seconds / second.run.samples * 1e3),
        _compared("energy, J", first.energy_j.mid, second.energy_j.mid),
        _compared("parameters, M", first.network.parameters / 1e6, second.network.parameters / 1e6),
        _compared("GMACs a sample", first.network.macs / 1e9, second.network.macs / 1e9),
    ]
    for column in ("phase", "operator"):
        sums = [each.frame.groupby(column)["seconds"].sum() * 1e3 for each in (first, second)]
        names = (
            [*PHASES]
            if column == "phase"
            else sorted({*sums[0].index, *sums[1].index}, key=lambda name: -sums[0].get(name, 0.0))
        )
        rows += [
            _compared(f"{name}, ms", *(float(each.get(name, 0.0)) for each in sums))
            for name in names
            if any(name in each for each in sums)
        ]
    return Sheet(columns, rows, name="comparison")


def _compared(name: str, first: float, second: float) -> list[str]:
    return [name, f"{first:,.4g}", f"{second:,.4g}", f"{first / second:.3f}x" if first and second else "-"]


def layer_comparison_sheet(first: StepEstimate, second: StepEstimate, most: int | None = None) -> Sheet:
    """Layers that two predictions share, those whose time differs most first; None: all in order."""
    both = by_layer(first)[["seconds"]].join(by_layer(second)["seconds"].rename("seconds_second"), how="inner")
    if most is not None:
        both = both.loc[(both["seconds"] - both["seconds_second"]).abs().sort_values(ascending=False).index[:most]]
    rows = [
        _compared(short(str(name), LONGEST_LAYER), *(float(value) * 1e3 for value in row))
        for name, row in both.iterrows()
    ]
    return Sheet(
        [("layer, ms", False), ("first", True), ("second", True), ("first / second", True)],
        rows,
        name="comparison of layers",
    )
