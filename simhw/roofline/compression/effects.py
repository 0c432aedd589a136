"""What compression papers measured, predicted: a table per effect, with a predicted and a published column.

No constant of a device was fitted to any of these numbers.  Where a paper does not name a device, a batch or a setting,
the caller gives one, and the defaults say which was taken.  Source: spec page roofline.md, section 6.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from simhw.roofline.compression import published
from simhw.roofline.compression.choice import choose
from simhw.roofline.compression.decompose import decomposable
from simhw.roofline.compression.ranks import LayerTimer, optimised, rank_latency
from simhw.roofline.compression.variants import frozen, merged, vanilla
from simhw.roofline.device import Device, load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.layers.network import Conv, Network
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.networks.transformers import grouped_attention, selection_speedup, skipping_tokens
from simhw.roofline.networks.video import VARIANTS, eco_lite, three_dimensional_macs
from simhw.roofline.numbers import Precision
from simhw.roofline.step.run import Fusion, Mode, Run

if TYPE_CHECKING:
    import pandas as pd

MODES: tuple[Mode, ...] = ("training", "inference")
MODELS = ("resnet50", "resnet101", "resnet152")


def gain_percent(network: Network, changed: Network, device: Device, run: Run) -> float:
    """Throughput that a changed network gains over the original [%]."""
    return 100 * (estimate(network, device, run).seconds / estimate(changed, device, run).seconds - 1)


def lrd_table(
    device: Device,
    batch: int = 64,
    training: Precision = "fp32",
    inference: Precision = "fp32",
    fusion: Fusion = "eager",
    models: Sequence[str] = MODELS,
) -> "pd.DataFrame":
    """Low-rank decomposition of ResNets: every cell of the published table beside its prediction.

    Frozen networks are vanilla ones with the outer factors frozen, for they are what the paper's table builds on.

    Parameters
    ----------
    device : Device
        The paper names none.  A V100 in fp32 is the one of the three devices that explains it best.
    batch, training, inference, fusion
        Of the runs; precisions of training and of inference.
    models : sequence of str

    Returns
    -------
    DataFrame
        A row per model, variant and mode (macs: products): model, variant, mode, predicted_percent, published_percent.
    """
    import pandas as pd

    table = {(row.model, row.variant): row for row in published.LOW_RANK}
    rows: list[tuple[str, str, str, float, float | None]] = []
    for model in models:
        network = load_network(model)
        plain = vanilla(network)
        still, thin = frozen(plain), merged(network)
        for mode in MODES:
            run = Run(batch, mode, training if mode == "training" else inference, fusion)
            variants = {
                "vanilla": plain,
                "optimised": optimised(network, device, run),
                "freezing": still,
                "merging": thin,
            }
            for variant, changed in variants.items():
                row = table[model, variant]
                told = row.training_percent if mode == "training" else row.inference_percent
                rows.append((model, variant, mode, gain_percent(network, changed, device, run), told))
                if mode == "training":
                    rows.append((model, variant, "macs", 100 * (changed.macs / network.macs - 1), row.macs_percent))
    return pd.DataFrame(rows, columns=["model", "variant", "mode", "predicted_percent", "published_percent"])


def mean_deviation(frame: "pd.DataFrame") -> float:
    """Mean absolute difference of predicted and published, in points, where both are known."""
    return float((frame["predicted_percent"] - frame["published_percent"]).abs().mean())


def rank_step(device: Device, run: Run, low: int = 256, size: int = 7) -> "pd.DataFrame":
    """A Tucker-2 layer of 512 x 512 x 3 x 3, one rank up: factors and core.

    Returns
    -------
    DataFrame
        One row: device, precision, mode, rank, seconds, next_seconds, predicted_percent, published_percent.
    """
    import pandas as pd

    layer = Conv("conv", 512, 512, (size, size), (3, 3), (1, 1), (1, 1), (1, 1))
    here, above = rank_latency(layer, (low, low + 1), device, run)["seconds"]
    row = (
        device.name,
        run.precision,
        run.mode,
        run.batch,
        low,
        here,
        above,
        100 * (above / here - 1),
        published.RANK_STEP_PERCENT,
    )
    names = [
        "device",
        "precision",
        "mode",
        "batch",
        "rank",
        "seconds",
        "next_seconds",
        "predicted_percent",
        "published_percent",
    ]
    return pd.DataFrame([row], columns=names)


def targeted_table(
    training_batch: int = 128, inference_batch: int = 8, budgets: Sequence[float] = (0.05, 0.1, 0.15, 0.2, float("inf"))
) -> "pd.DataFrame":
    """Targeted decomposition of ResNet-50: Ascend 910 training and Ascend 310 inference, for shares of parameters
    removed.

    Returns
    -------
    DataFrame
        A row per device and budget, and one for the untargeted decomposition by 2 (budget missing): device, mode,
        batch, budget, layers, removed_share, predicted_percent, published_percent (of the targeted choice).
    """
    import pandas as pd

    network = load_network("resnet50")
    rows: list[tuple[object, ...]] = []
    for name, run, told in (
        ("ascend910", Run(training_batch, "training", "amp", "fused"), published.TARGETED_TRAINING_PERCENT),
        ("ascend310", Run(inference_batch, "inference", "fp16", "fused"), published.TARGETED_INFERENCE_PERCENT),
    ):
        device = load_device(name)
        timer = LayerTimer(device, run)
        whole = vanilla(network)
        removed = 1 - whole.parameters / network.parameters
        rows.append(
            (
                name,
                run.mode,
                run.batch,
                None,
                len(decomposable(network)),
                removed,
                gain_percent(network, whole, device, run),
                None,
            )
        )
        for budget in budgets:
            found = choose(network, timer, budget=budget)
            share = 1 - found.network.parameters / network.parameters
            rows.append((name, run.mode, run.batch, budget, len(found.ranks), share, found.gain_percent, told))
    names = ["device", "mode", "batch", "budget", "layers", "removed_share", "predicted_percent", "published_percent"]
    return pd.DataFrame(rows, columns=names)


def sequential_freezing(
    device: Device,
    batch: int = 64,
    precision: Precision = "fp32",
    fusion: Fusion = "eager",
    models: Sequence[str] = MODELS,
) -> "pd.DataFrame":
    """Rank quantisation with factors that are frozen in turns: the published figure is the most that any network
    gained.

    An epoch in which the outer factors are frozen and one in which the cores are follow each other, so a step takes the
    mean.

    Returns
    -------
    DataFrame
        A row per model and mode: model, mode, predicted_percent, published_most_percent.
    """
    import pandas as pd

    rows = []
    for model in models:
        network = load_network(model)
        run = Run(batch, "training", precision, fusion)
        before = estimate(network, device, run).seconds
        quantised = optimised(network, device, run)
        # On a device that gains from no factors everything stays whole, and there is nothing to freeze.
        whole = quantised.layers == network.layers
        halves = [
            before if whole else estimate(frozen(quantised, part), device, run).seconds for part in ("outer", "core")
        ]
        rows.append((model, "training", 100 * (2 * before / sum(halves) - 1), published.SEQUENTIAL_TRAINING_PERCENT))
        run = replace(run, mode="inference")
        gained = gain_percent(network, optimised(network, device, run), device, run)
        rows.append((model, "inference", gained, published.SEQUENTIAL_INFERENCE_PERCENT))
    return pd.DataFrame(rows, columns=["model", "mode", "predicted_percent", "published_most_percent"])


def grouped_attention_table(device: Device, run: Run) -> "pd.DataFrame":
    """ViT-S with grouped queries, keys and values.

    Returns
    -------
    DataFrame
        A row per variant, in the paper's order: variant, parameters, predicted_ms, published_ms.
    """
    import pandas as pd

    network = load_network("vit-s")
    rows = []
    for variant, told in published.GROUPED_MS.items():
        changed = grouped_attention(network, *published.GROUPS[variant])
        rows.append((variant, changed.parameters, 1e3 * estimate(changed, device, run).seconds, told))
    return pd.DataFrame(rows, columns=["variant", "parameters", "predicted_ms", "published_ms"])


def token_skipping_table(device: Device, run: Run) -> "pd.DataFrame":
    """ViT-S with 55% of the tokens skipping the last but one to the last but eleven of its 12 blocks.

    The class token's attention in the first block scores, and the last block sees all tokens again.

    Returns
    -------
    DataFrame
        A row per number of blocks skipped: blocks, first, last, predicted_percent, published_percent.
    """
    import pandas as pd

    network = load_network("vit-s")
    rows = []
    for blocks in range(1, 11):
        first = 11 - blocks
        changed = skipping_tokens(network, published.SKIPPING_DROPPED, first, 10)
        rows.append(
            (blocks, first, 10, gain_percent(network, changed, device, run), published.SKIPPING_TRAINING_PERCENT)
        )
    return pd.DataFrame(rows, columns=["blocks", "first", "last", "predicted_percent", "published_percent"])


def sample_selection_table(
    device: Device, batch: int = 32, precision: Precision = "fp32", sequence: int = 128
) -> "pd.DataFrame":
    """BERT-base fine-tuned on a tenth of its samples, for some lengths of the training and of the time between
    scorings.

    Returns
    -------
    DataFrame
        A row per setting: epochs, rescore_every (missing: never), predicted_speedup, published_low, published_mean,
        published_high.
    """
    import pandas as pd

    network = load_network("bert-base", sequence=sequence)
    training = estimate(network, device, Run(batch, "training", precision, optimizer="adam")).seconds
    inference = estimate(network, device, Run(batch, "inference", precision)).seconds
    rows = []
    for epochs in (8, 10, 12):
        for every in (None, 5, 3):
            speedup = selection_speedup(
                epochs,
                published.SELECTION_WARMUP_EPOCHS,
                published.SELECTION_KEPT,
                training,
                inference,
                rescore_every=every,
            )
            low, high = published.SELECTION_SPEEDUPS
            rows.append((epochs, every, speedup, low, published.SELECTION_MEAN, high))
    names = ["epochs", "rescore_every", "predicted_speedup", "published_low", "published_mean", "published_high"]
    return pd.DataFrame(rows, columns=names).astype({"rescore_every": "Int64"})


def video_table(
    device: Device, batch: int = 16, precision: Precision = "fp32", fusion: Fusion = "eager", frames: int = 16
) -> "pd.DataFrame":
    """ECO-Lite's 3D variants: parameters, products of the 3D part, and frames per second in inference.

    Returns
    -------
    DataFrame
        A row per variant: variant, and predicted and published parameters_m, gmacs, frames_per_s.
    """
    import pandas as pd

    told = {row.variant: row for row in published.VIDEO}
    rows = []
    for variant in VARIANTS:
        network = eco_lite(variant, frames)
        rate = frames * estimate(network, device, Run(batch, "inference", precision, fusion)).samples_per_s
        row = told[variant]
        macs = three_dimensional_macs(network) / 1e9
        rows.append((variant, network.parameters / 1e6, row.parameters_m, macs, row.gmacs, rate, row.frames_per_s))
    names = [
        f"{said}_{what}" for what in ("parameters_m", "gmacs", "frames_per_s") for said in ("predicted", "published")
    ]
    return pd.DataFrame(rows, columns=["variant", *names])
