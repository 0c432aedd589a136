"""Low-rank decomposition on a device, as tables: the staircase of a layer, ranks of a network, and its variants."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from simhw.errors import listed
from simhw.quantities import short
from simhw.report.roofline_tables import LONGEST_LAYER
from simhw.report.sheet import Sheet
from simhw.roofline.compression.choice import Choice, choice_frame
from simhw.roofline.device import Device
from simhw.roofline.estimate import estimate
from simhw.roofline.layers.network import Network
from simhw.roofline.step.run import Run

if TYPE_CHECKING:
    import pandas as pd

LARGEST_STEPS = 12


def staircase_sheet(frame: "pd.DataFrame") -> Sheet:
    """The largest steps of a layer's latency: the rank on the cheap side, and what the next rank costs more."""
    later = frame["seconds"].shift(-1)
    steps = frame.assign(next_seconds=later, rise=later / frame["seconds"] - 1).dropna(subset=["rise"])
    largest = steps.nlargest(LARGEST_STEPS, "rise").sort_values("rank")
    columns = [
        ("rank", True),
        ("ms", True),
        ("next rank, ms", True),
        ("step", True),
        ("of whole layer", True),
        ("fewer weights", True),
    ]
    rows = [
        [
            f"{int(row['rank'])}",
            f"{row['seconds'] * 1e3:,.4g}",
            f"{row['next_seconds'] * 1e3:,.4g}",
            f"{row['rise']:+.1%}",
            f"{row['seconds'] / row['original_seconds']:.1%}",
            f"{row['compression']:.2f}x",
        ]
        for _, row in largest.iterrows()
    ]
    return Sheet(columns, rows, name="staircase")


def rank_sheet(frame: "pd.DataFrame") -> Sheet:
    """A row per layer: vanilla and optimised rank, and the time of each beside the whole layer's."""
    import pandas as pd

    columns = [
        ("layer", False),
        ("whole, ms", True),
        ("vanilla rank", True),
        ("ms", True),
        ("optimised rank", True),
        ("ms", True),
    ]
    rows = []
    for row in frame.to_dict("records"):
        cells = [short(str(row["layer"]), LONGEST_LAYER), f"{row['original_seconds'] * 1e3:,.4g}"]
        kept = "whole" if row["kept_whole"] else f"{row['rank']}"
        vanilla = (
            [f"{row['vanilla_rank']}", f"{row['vanilla_seconds'] * 1e3:,.4g}"]
            if pd.notna(row["vanilla_rank"])
            else ["none", "-"]
        )
        rows.append([*cells, *vanilla, kept, f"{row['seconds'] * 1e3:,.4g}"])
    return Sheet(columns, rows, name="ranks")


def whole_line(frame: "pd.DataFrame", compression: float) -> str:
    """The layers of `optimised_ranks` that no rank compresses as much."""
    names = [str(name) for name in frame.loc[frame["vanilla_rank"].isna(), "layer"]]
    told = listed([short(name, LONGEST_LAYER) for name in names])
    return f"No rank has {compression:g} times fewer weights for {told}: too few channels, so that it stays whole."


def choice_sheet(choice: Choice) -> Sheet:
    """A row per layer of a targeted choice."""
    columns = [("chosen layer", False), ("rank", True), ("parameters", True), ("left", True), ("fewer", True)]
    rows = [
        [
            short(str(row["layer"]), LONGEST_LAYER),
            f"{row['rank']}",
            f"{row['parameters']:,}",
            f"{row['parameters_left']:,}",
            f"{row['compression']:.2f}x",
        ]
        for row in choice_frame(choice).to_dict("records")
    ]
    return Sheet(columns, rows, name="choice")


def variant_sheet(variants: Mapping[str, Network], device: Device, run: Run) -> Sheet:
    """A row per variant of a network: size, time and gain over the first."""
    columns = [
        ("network", False),
        ("M parameters", True),
        ("GMACs", True),
        ("ms a step", True),
        ("samples/s", True),
        ("throughput", True),
    ]
    found = {name: estimate(network, device, run) for name, network in variants.items()}
    first = next(iter(found.values())).seconds
    rows = [
        [
            name,
            f"{each.network.parameters / 1e6:,.2f}",
            f"{each.network.macs / 1e9:,.3f}",
            f"{each.seconds * 1e3:,.4g}",
            f"{each.samples_per_s:,.4g}",
            f"{first / each.seconds - 1:+.2%}",
        ]
        for name, each in found.items()
    ]
    return Sheet(columns, rows, name="variants")
