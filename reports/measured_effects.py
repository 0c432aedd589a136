"""What compression gains in training on a device that was measured, beside what is predicted, as a page.

python reports/measured_effects.py reports/measured_effects.md FOLDER_OF_MEASUREMENTS [DEVICE]
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

import simhw
from simhw.files.writing import replacing
from simhw.report.markdown import frame_markdown
from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.compression.choice import choose
from simhw.roofline.compression.ranks import LayerTimer
from simhw.roofline.device import load_device
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.scoring.gains import Gain, gain_errors, gains
from simhw.roofline.scoring.steps import PredictedStep, predicted_steps
from simhw.roofline.step.run import Run

HELD = 2.0
"""Percent that a run must gain at least for a claim to hold in it."""


@dataclass(frozen=True)
class Claim:
    """What a paper says, and where it was measured here.

    Attributes
    ----------
    says, source : str
    variants : tuple of str
        Variants that it is about.
    mode : str
    percent : str
        Gain that was published.
    """

    says: str
    source: str
    variants: tuple[str, ...]
    mode: str
    percent: str


CLAIMS = (
    Claim(
        "Plain decomposition at half the weights trains a little faster",
        "arXiv 2407.20266",
        ("resnet50 vanilla",),
        "training",
        "+6.1",
    ),
    Claim("... and infers a little faster", "arXiv 2407.20266", ("resnet50 vanilla",), "inference", "+6.8"),
    Claim(
        "Ranks that suit the device train faster",
        "arXiv 2407.20266, 2309.03824",
        ("resnet50 quantised64", "resnet50 optimised_v100"),
        "training",
        "+14.2",
    ),
    Claim("Frozen outer factors train faster", "arXiv 2407.20266", ("resnet50 freezing",), "training", "+24.6"),
    Claim(
        "Frozen factors and ranks in multiples train much faster",
        "arXiv 2309.03824",
        ("resnet50 freezing_quantised64",),
        "training",
        "up to +60",
    ),
    Claim("Merged factors train much faster", "arXiv 2407.20266", ("resnet50 merging",), "training", "+43.6"),
    Claim("... and infer much faster", "arXiv 2407.20266", ("resnet50 merging",), "inference", "+40.6"),
    Claim(
        "Attention with fewer queries, keys and values trains a little faster",
        "arXiv 2311.03426",
        ("vit-s MQA", "vit-s GQKVA-2.3"),
        "training",
        "+1.8 to +2.9 (V100)",
    ),
    Claim(
        "Tokens that skip blocks make training faster",
        "arXiv 2401.15293",
        ("vit-s skipvit-7-10",),
        "training",
        "+13.2 (Ascend 910)",
    ),
)


def verdict(measured: Sequence[float]) -> str:
    """Whether a claim of a gain holds in so many measurements."""
    held = sum(each >= HELD for each in measured)
    lost = sum(each <= -HELD for each in measured)
    if held == len(measured):
        return "holds in all"
    if not held:
        return "does not hold"
    return f"holds in {held} of {len(measured)}" + (f", a loss in {lost}" if lost else "")


def claims_table(found: Sequence[Gain]) -> pd.DataFrame:
    """A row per claim: what was published, measured (range) and predicted (range), and whether it holds."""
    rows = []
    for claim in CLAIMS:
        own = [each for each in found if each.name in claim.variants and each.variant.measured.run.mode == claim.mode]
        if not own:
            continue
        measured, predicted = [each.measured for each in own], [each.predicted for each in own]
        rows.append(
            {
                "claim": claim.says,
                "source": claim.source,
                "published %": claim.percent,
                "measured %": f"{min(measured):+.0f} to {max(measured):+.0f}",
                "predicted %": f"{min(predicted):+.0f} to {max(predicted):+.0f}",
                "runs": len(own),
                "verdict": verdict(measured),
            }
        )
    return pd.DataFrame(rows)


def gains_table(found: Iterable[Gain], mode: str) -> pd.DataFrame:
    """A row per variant, a column per precision, layout and way of launching: measured, with the prediction in
    brackets; a star where a clear gain is predicted as a loss, or the other way round.
    """
    rows = [
        {
            "variant": each.name,
            "run": f"{run.precision}{', nhwc' if run.layout == 'nhwc' else ''}, {each.launch}",
            "cell": f"{each.measured:+.1f} ({each.predicted:+.1f}){' *' if each.wrong_sign else ''}",
        }
        for each in found
        if (run := each.variant.measured.run).mode == mode
    ]
    frame = pd.DataFrame(rows)
    runs, variants = frame["run"].unique(), frame["variant"].unique()
    wide = frame.pivot(index="variant", columns="run", values="cell").reindex(index=variants, columns=runs)
    return wide.fillna("").reset_index()


def energy_table(steps: Sequence[PredictedStep]) -> pd.DataFrame:
    """A row per variant and precision in training: energy of the plain step over the variant's, eager."""
    plain: dict[tuple[object, ...], PredictedStep] = {}
    rows = []
    for step in steps:
        run = step.measured.run
        key = step.measured.model, run.batch, run.mode, run.precision, run.layout
        if step.measured.energy_j is None or run.mode != "training":
            continue
        if step.measured.variant in ("dense", "MHA"):
            plain[key] = step
        elif key in plain and (base := plain[key]).measured.energy_j is not None:
            rows.append(
                {
                    "variant": f"{step.measured.model} {step.measured.variant}",
                    "run": f"{run.precision}{', nhwc' if run.layout == 'nhwc' else ''}",
                    "cell": f"{base.measured.energy_j / step.measured.energy_j:.2f} "
                    f"({base.eager.energy_j.mid / step.eager.energy_j.mid:.2f})",
                }
            )
    frame = pd.DataFrame(rows)
    runs, variants = frame["run"].unique(), frame["variant"].unique()
    wide = frame.pivot(index="variant", columns="run", values="cell").reindex(index=variants, columns=runs)
    return wide.fillna("").reset_index()


def why_table(steps: Sequence[PredictedStep], model: str, variants: Sequence[str], run: Run) -> pd.DataFrame:
    """Predicted ms of a training step by kind of operator, and kernels, a column per variant."""
    columns = {}
    for step in steps:
        measured = step.measured
        here = measured.run
        same = (here.batch, here.mode, here.precision, here.layout) == (run.batch, run.mode, run.precision, run.layout)
        if measured.model != model or measured.variant not in variants or not same:
            continue
        frame = step.graph.frame
        sums = frame.groupby("operator")["seconds"].sum() * 1e3
        columns[measured.variant] = pd.concat(
            [
                sums,
                pd.Series(
                    {
                        "sum": step.graph.seconds * 1e3,
                        "measured, graph": (measured.graph_s or float("nan")) * 1e3,
                        "host, predicted": step.eager.host_s * 1e3,
                        "measured, eager": measured.eager_s * 1e3,
                        "kernels": float(frame["kernels"].sum()),
                        "GFLOP": float(frame["flops"].sum()) / 1e9,
                        "GB": float(frame["dram_bytes"].sum()) / 1e9,
                    }
                ),
            ]
        )
    table = pd.DataFrame({name: columns[name] for name in variants if name in columns}).fillna(0.0)
    return table.rename_axis("ms").reset_index()


def ranks_table(device_name: str, run: Run) -> tuple[pd.DataFrame, float]:
    """The layers and ranks that are chosen for ResNet-50 on the device, and their predicted gain [percent]."""
    device = load_device(device_name)
    choice = choose(load_network("resnet50"), LayerTimer(device, replace(run, launch="graph")))
    gain = 100.0 * (choice.original_seconds / choice.seconds - 1.0)
    return pd.DataFrame({"layer": list(choice.ranks), "rank": list(choice.ranks.values())}), gain


WHY = """A graph shows what the device does; an eager step also shows what the framework does.

- **More kernels.** A decomposed layer is three layers. The framework issues more kernels, and each takes about as long
  to issue as before. Where the device is faster than the framework (mixed precision, `nhwc`, small batches), an eager
  step takes the framework's time, so that decomposition makes training slower however few multiplications are left.
- **Ranks that no kernel likes.** Plain ranks are any numbers. In bf16 and tf32 rows that are no multiple of 16 bytes
  leave the tensor cores' fast kernels. Multiples of 64 mend that: the convolutions then cost what they save.
- **What is not multiplied.** Batch norms, activations and sums take about as long as the convolutions in mixed
  precision, and decomposition leaves them as they are. Merging removes none of them either, but adds no layer.
- **fp32.** Products take most of the time there, so that fewer multiplications pay, and frozen factors save the
  gradients of two factors in three.
- **Attention.** Grouped queries, keys and values shrink one projection; heads still meet as many keys. Tokens that skip
  blocks shrink everything in these blocks.
"""
TRAINING = Run(64, precision="bf16-amp", layout="nhwc")
FP32 = Run(64)


def page(folder: Path, device_name: str) -> str:
    """The page."""
    device = load_device(device_name)
    steps, left = predicted_steps(folder, device_name, device)
    found = list(gains(steps))
    errors = gain_errors(found)
    scored = {step.shape for step in halves(steps)[1]}
    unseen = gain_errors([each for each in found if each.variant.shape in scored])
    parts = [
        f"# What compression gains in training, measured on an {device_name.upper()}",
        f"{len(steps)} whole steps that were measured, beside what `simhw roofline --device {device_name}` predicts "
        f"(simhw {simhw.__version__}, device hash {device.content_hash}). Constants come from half of the measured "
        "kernels and half of the steps (docs/calibration.md); no gain was fitted. A gain is more throughput than the "
        "plain network has, in percent, in the same batch, precision, layout and way of launching. "
        f"`python reports/measured_effects.py reports/measured_effects.md FOLDER` makes this page.",
        f"**{errors.gains} gains: mean deviation {errors.deviation:.1f} points; {errors.wrong_signs} of {errors.clear} "
        "clear ones (beyond 5%) have the wrong sign.** Eager steps that wait for the framework repeat to 10 to 25% "
        f"alone. Of variants whose steps no fit saw: {unseen.gains} gains, {unseen.deviation:.1f} points, "
        f"{unseen.wrong_signs} of {unseen.clear} signs wrong.",
        "## Which claims hold here",
        "A claim holds in a run that gains at least 2%. Runs are precisions, layouts, and eager or as a graph. The "
        "papers measured other devices, or name none.",
        frame_markdown(claims_table(found)),
        "## Why",
        WHY.strip(),
        "## Training",
        "Measured gain, with the prediction in brackets [%]. A star: a clear gain with the wrong sign.",
        frame_markdown(gains_table(found, "training")),
        "## Inference",
        frame_markdown(gains_table(found, "inference")),
        "## Energy of a training step",
        "The plain network's energy over the variant's, measured and predicted, eager: above 1 the variant takes less.",
        frame_markdown(energy_table(steps)),
    ]
    variants = ("dense", "vanilla", "freezing", "quantised64", "freezing_quantised64", "merging")
    for run in (TRAINING, FP32):
        parts += [
            f"## Where the time goes: ResNet-50, batch {run.batch}, {run.precision}, {run.layout}",
            "Predicted ms by kind of operator, beside the sums that were measured.",
            frame_markdown(why_table(steps, "resnet50", variants, run)),
        ]
    parts += ["## Ranks for this device", RANKS]
    for run in (TRAINING, FP32):
        table, gain = ranks_table(device_name, run)
        parts += [
            f"**Training, {run.precision}, {run.layout}, batch {run.batch}: {len(table)} layers, predicted gain "
            f"{gain:+.1f}% as a graph.**",
            frame_markdown(table),
        ]
    if left:
        parts += ["## Left out", "\n".join(f"- {each.place}: {each.why}" for each in left)]
    return "\n\n".join(parts) + "\n"


RANKS = (
    "`simhw roofline ranks --model resnet50 --device h200 --launch graph` chooses layers and ranks by predicted time "
    "alone. This choice was not measured yet: it is a prediction to be checked."
)


def main(path: str, folder: str, device_name: str = "h200") -> None:
    with replacing(path) as temporary:
        temporary.write_text(page(Path(folder), device_name), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
