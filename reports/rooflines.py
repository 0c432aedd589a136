"""Predictions of V100, Ascend 910 and Ascend 310 beside what others measured and published, as a page of tables and two
pictures.

python reports/rooflines.py reports/rooflines [FOLDER OF MEASUREMENTS]
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import pandas as pd

import simhw
from simhw.report.markdown import frame_markdown
from simhw.report.rank_plots import plot_staircase
from simhw.report.roofline_plots import plot_estimates
from simhw.roofline.calibration.devices import calibrate
from simhw.roofline.compression import effects
from simhw.roofline.compression.decompose import full_rank
from simhw.roofline.compression.ranks import LayerTimer, optimised_rank, rank_latency
from simhw.roofline.device import load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.step.run import Run

# Network, tokens, device, run, and published samples/s, low to high (reports of MLPerf, NVIDIA's and Huawei's model
# zoos).
PUBLISHED: list[tuple[str, int | None, str, Run, float, float]] = [
    ("resnet50", None, "v100", Run(96, precision="fp32"), 356, 432),
    ("resnet50", None, "v100", Run(128, precision="fp32"), 356, 432),
    ("resnet50", None, "v100", Run(128, precision="amp"), 803, 1492),
    ("resnet50", None, "v100", Run(256, precision="amp"), 803, 1492),
    ("bert-base", 128, "v100", Run(32, precision="fp32", optimizer="adam"), 107, 157),
    ("bert-base", 128, "v100", Run(32, precision="amp", optimizer="adam"), 183, 605),
    ("bert-large", 128, "v100", Run(8, precision="fp32", optimizer="adam"), 50, 50),
    ("bert-large", 128, "v100", Run(32, precision="amp", optimizer="adam"), 224, 224),
    ("bert-large", 512, "v100", Run(4, precision="fp32", optimizer="adam"), 19, 19),
    ("bert-large", 512, "v100", Run(8, precision="amp", optimizer="adam"), 75, 75),
    ("resnet50", None, "ascend910", Run(32, precision="amp", fusion="fused"), 1787, 1787),
    ("resnet50", None, "ascend910", Run(256, precision="amp", fusion="fused"), 2115, 2115),
    ("resnet101", None, "ascend910", Run(32, precision="amp", fusion="fused"), 1056, 1056),
    ("bert-nezha-large", 128, "ascend910", Run(96, precision="amp", fusion="fused", optimizer="lamb"), 269, 269),
    ("bert-large", 384, "ascend910", Run(32, precision="amp", fusion="fused", optimizer="adam"), 121, 121),
    ("bert-base", 384, "ascend910", Run(96, precision="amp", fusion="fused", optimizer="adam"), 333, 333),
]
STAIRCASE = "layer4.1.conv2"


def end_to_end() -> pd.DataFrame:
    """A row per published training run: predicted throughput, eager and fused, and where no update counts."""
    rows = []
    for name, tokens, device_name, run, low, high in PUBLISHED:
        network, device = load_network(name, sequence=tokens), load_device(device_name)
        made = estimate(network, device, run)
        fused = estimate(network, device, Run(run.batch, run.mode, run.precision, "fused", run.optimizer))
        update_s = sum(prediction.seconds for work, prediction in fused.work if work.phase == "update")
        energy = made.energy_j.times(1 / run.batch)
        rows.append(
            {
                "network": f"{name}, {tokens} tokens" if tokens else name,
                "device": device_name,
                "run": f"{run.precision}, batch {run.batch}, {run.fusion}, {run.optimizer}",
                "samples/s": made.samples_per_s,
                "fused": fused.samples_per_s,
                "fused, no update": run.batch / (fused.seconds - update_s),
                "published": f"{low:g}" if low == high else f"{low:g} to {high:g}",
                "energy, J a sample": f"{energy.mid:.3g} ({energy.low:.3g} to {energy.high:.3g})",
            }
        )
    return pd.DataFrame(rows)


def low_rank(table: pd.DataFrame) -> pd.DataFrame:
    """The published layout: a row per network and mode, a column per variant, predicted with the published figure in
    brackets.
    """
    cells = table.assign(
        cell=[f"{each.predicted_percent:+.1f} ({each.published_percent:+.2f})" for each in table.itertuples()]
    )
    wide = cells.pivot(index=["model", "mode"], columns="variant", values="cell")
    return wide.reindex(columns=["vanilla", "optimised", "freezing", "merging"]).fillna("").reset_index()


def _agreement(table: pd.DataFrame) -> str:
    speeds = table[table["mode"] != "macs"]
    wrong = int((speeds["predicted_percent"] * speeds["published_percent"] <= 0).sum())
    return (
        f"mean absolute deviation of {len(speeds)} gains {effects.mean_deviation(speeds):.1f} points, {wrong} of "
        "them of the wrong sign"
    )


def scores(folder: Path) -> pd.DataFrame:
    """A row per kind of kernel: errors of the models on rows that no fit saw, beside the textbook roofline's."""
    found = [score for name in ("v100", "ascend310") for score in calibrate(load_device(name), folder)[1]]
    frame = pd.DataFrame([vars(score) for score in found])
    return frame.rename(columns={"mape": "MAPE %", "median_ape": "median %", "textbook_mape": "textbook MAPE %"})


def main(stem: str, folder: str | None = None) -> None:
    v100, ascend910 = load_device("v100"), load_device("ascend910")
    plot_estimates([estimate(load_network("resnet50"), v100, Run(128, precision="amp"))], f"{stem}_resnet50_v100.png")
    layer = next(layer for layer in load_network("resnet50").layers if layer.name == STAIRCASE)
    timer = LayerTimer(v100, Run(128, precision="amp"))
    frame = rank_latency(layer, range(1, full_rank(layer) + 1), v100, timer.run)
    plot_staircase(frame, optimised_rank(layer, timer), timer, f"{stem}_staircase.png")

    sections = [("Training, end to end", end_to_end())]
    for device, precision, fusion in ((v100, "fp32", "eager"), (v100, "amp", "eager"), (ascend910, "amp", "fused")):
        table = effects.lrd_table(
            device, training=precision, inference="fp32" if precision == "fp32" else "fp16", fusion=fusion
        )
        sections.append(
            (f"Low-rank decomposition, {device.name}, {precision}, batch 64: {_agreement(table)}", low_rank(table))
        )
    steps = [
        effects.rank_step(device, Run(128, mode, number, fusion))
        for device, numbers, fusion in ((v100, ("fp32", "amp"), "eager"), (ascend910, ("amp",), "fused"))
        for mode in ("training", "inference")
        for number in (numbers if mode == "training" else ["fp16" if each == "amp" else each for each in numbers])
    ]
    sections.append(("One rank up: Tucker-2 of 512 x 512 x 3 x 3, rank 256 to 257", pd.concat(steps)))
    sections.append(("Targeted decomposition of ResNet-50", effects.targeted_table()))
    for precision in ("amp", "fp32"):
        attention = effects.grouped_attention_table(v100, Run(288, precision=precision))
        order = attention["predicted_ms"].corr(attention["published_ms"], method="spearman")
        sections.append((f"Grouped attention, ViT-S, V100, {precision}: Spearman {order:.3f}", attention))
    sections.append(
        (
            "Skipped tokens, ViT-S, Ascend 910",
            effects.token_skipping_table(ascend910, Run(256, precision="amp", fusion="fused")),
        )
    )
    sections.append(("Selected samples, BERT-base, V100", effects.sample_selection_table(v100)))
    sections.append(("3D convolution, V100", effects.video_table(v100)))
    if folder is not None:
        sections.insert(0, ("Errors on kernels that no fit saw", scores(Path(folder))))
    devices = ", ".join(
        f"{name} {load_device(name).content_hash}" for name in ("v100", "v100-pcie", "ascend910", "ascend310")
    )
    head = (
        f"# Rooflines beside what was measured and published\n\nsimhw {simhw.__version__}; devices and their "
        f"hashes: {devices}.\n"
    )
    Path(f"{stem}.md").write_text(
        head + "".join(f"\n## {title}\n\n{frame_markdown(table)}\n" for title, table in sections), encoding="utf-8"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
