"""A trace with and without its memories: speed-up and energy efficiency beside the papers', as a table, a CSV file and
a plot.

python reports/memory_hierarchy.py traces/resnet50.npz reports/resnet50_memory
"""

import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import simhw
from simhw.report.markdown import markdown_table

MACHINES = ("fpraker", "tensordash", "tensordash-fp32")
BATCHES = (None, 32, 256)
# Speed-up, energy efficiency of the tiles and with memories: MICRO 2021, and MICRO 2020 / arXiv 2009.00748 in FP32 and
# bfloat16 (recalled).
PUBLISHED = {"fpraker": (1.5, 1.4, 1.36), "tensordash": (1.95, 1.84, 1.43), "tensordash-fp32": (1.95, 1.89, 1.6)}
COLORS = {"compute only": "#999999", "with memories": "#0072B2", "with memories, uncompressed": "#56B4E9"}


def rows_of(trace: simhw.Trace) -> pd.DataFrame:
    """A row per machine, batch and compression, which is that of both machines."""
    captured = trace.layers[0].shapes["a"][0]
    rows = []
    for name in MACHINES:
        for batch in BATCHES:
            for compression in (None, "none"):
                machine = simhw.load_machine(
                    name, **({} if compression is None else {"memory.compression": compression})
                )
                total = simhw.simulate(trace, machine, batch=batch, baseline_compression="same").total
                overall, base = total.overall, total.baseline_overall
                rows.append(
                    {
                        "machine": name,
                        "images": batch or captured,
                        "compression": machine.values.memory.compression,
                        "speedup": total.speedup,
                        "overall_speedup": total.overall_speedup,
                        "energy_efficiency": total.energy_efficiency,
                        "overall_energy_efficiency": total.overall_energy_efficiency,
                        "waiting": 1 - overall.shares["compute"] / overall.cycles,
                        "off_chip_mb": overall.off_chip_bytes / 1e6,
                        "time_ms": overall.time_s * 1e3,
                        "energy_mj": overall.energy_j.mid * 1e3,
                        "energy_low_mj": overall.energy_j.low * 1e3,
                        "energy_high_mj": overall.energy_j.high * 1e3,
                        "memory_share_of_baseline_energy": 1 - base.groups["core"].mid / base.energy_j.mid,
                    }
                )
    return pd.DataFrame(rows)


def markdown(frame: pd.DataFrame) -> str:
    """The table, each machine's published figures below its rows."""
    headings = [
        "machine",
        "images",
        "compression",
        "speed-up: tiles",
        "with memories",
        "energy eff.: tiles",
        "with memories",
    ]
    headings += ["tiles wait", "off-chip MB", "energy mJ (low to high)", "memories' share of the baseline's energy"]
    table = []
    for name, rows in frame.groupby("machine", sort=False):
        for row in rows.itertuples():
            energy = f"{row.energy_mj:.3g} ({row.energy_low_mj:.3g} to {row.energy_high_mj:.3g})"
            ratios = (row.speedup, row.overall_speedup, row.energy_efficiency, row.overall_energy_efficiency)
            cells = [f"`{name}`", str(row.images), row.compression, *(f"{value:.3f}" for value in ratios)]
            cells += [
                f"{row.waiting:.0%}",
                f"{row.off_chip_mb:.0f}",
                energy,
                f"{row.memory_share_of_baseline_energy:.0%}",
            ]
            table.append(cells)
        speed, tiles, memories = PUBLISHED[name]
        table.append(["*published*", "", "", f"*{speed}*", "", f"*{tiles}*", f"*{memories}*", "", "", "", ""])
    return "\n".join(markdown_table(headings, table)) + "\n"


def plot(frame: pd.DataFrame, path: str) -> None:
    """Bars of both ratios for every batch, the published ones as lines."""
    figure, axes = plt.subplots(2, len(MACHINES), figsize=(12, 6.5), sharey="row", layout="constrained")
    for column, name in enumerate(MACHINES):
        mine = frame[frame["machine"] == name]
        plain, compressed = mine[mine["compression"] == "none"], mine[mine["compression"] != "none"]
        for row, (ratio, label) in enumerate(
            (("speedup", "speed-up over the baseline"), ("energy_efficiency", "energy efficiency over the baseline"))
        ):
            axis = axes[row, column]
            bars = (compressed[ratio], compressed[f"overall_{ratio}"], plain[f"overall_{ratio}"])
            places = np.arange(len(compressed))
            for number, (values, (text, color)) in enumerate(zip(bars, COLORS.items(), strict=True)):
                drawn = axis.bar(places + 0.27 * (number - 1), values, 0.26, color=color, label=text)
                axis.bar_label(drawn, fmt="%.2f", fontsize=8, padding=2)
            published = PUBLISHED[name][:1] if row == 0 else PUBLISHED[name][1:]
            for value, style in zip(published, ("-", "--"), strict=False):
                text = "published, " + ("tiles" if style == "-" else "with memories")
                axis.axhline(value, color="#D55E00", linestyle=style, linewidth=1.2, label=text)
            axis.axhline(1, color="black", linewidth=0.6)
            axis.set_xticks(places, [f"{images} images" for images in compressed["images"]])
            axis.set_title(name if row == 0 else "", fontsize=11)
            axis.spines[["top", "right"]].set_visible(False)
            if column == 0:
                axis.set_ylabel(label)
    axes[0, 0].set_ylim(0, 2.15)
    axes[1, 0].set_ylim(0, 2.15)
    handles, texts = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle("ResNet-50 training step, with and without memories")
    figure.savefig(path, dpi=110)


def main(trace: str, stem: str) -> None:
    """Write the three files."""
    frame = rows_of(simhw.load_trace(trace))
    frame.to_csv(f"{stem}.csv", index=False)
    with open(f"{stem}.md", "w") as file:
        file.write(markdown(frame))
    plot(frame, f"{stem}.png")


main(*sys.argv[1:])
