"""Whole steps measured in PyTorch, read from ``DEVICE_steps.csv``: the network of each row, how it was run, and what it
took.

The networks are those of ``workloads/models`` by shape.  They differ from the catalogue's where the code does: their
BERT classifies and has no dropout, and their vision transformer cuts queries, keys and values out of one tensor.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import get_args

from simhw.errors import ShapeError, quoted
from simhw.roofline.calibration.measured_rows import MeasuredRow, measured_rows
from simhw.roofline.compression.decompose import CORE, compression_ranks, decomposable, decomposed
from simhw.roofline.compression.variants import frozen, merged, vanilla
from simhw.roofline.layers.network import SLICE, Conv, Linear, Network, NetworkLayer, Pointwise
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.networks.transformers import grouped_attention, skipping_tokens
from simhw.roofline.numbers import PRECISIONS
from simhw.roofline.operators import Layout
from simhw.roofline.step.run import Launch, Mode, Run

BRANCHES = 2
CLASSES = 1000
SKIPPED = 0.55
"""Share of the patches that skip blocks."""
V100_RANKS = (
    {f"layer2.{block}.conv2": 64 for block in (1, 2, 3)}
    | {"layer3.0.conv1": 64}
    | {f"layer3.{block}.conv1": 96 for block in range(1, 6)}
    | {f"layer3.{block}.conv2": 128 for block in range(6)}
    | {f"layer3.{block}.conv3": 96 for block in range(6)}
    | {"layer4.0.conv1": 128}
    | {f"layer4.{block}.conv1": 192 for block in (1, 2)}
    | {f"layer4.{block}.conv2": 256 for block in range(3)}
    | {f"layer4.{block}.conv3": 192 for block in range(3)}
    | {"fc": 224}
)
"""Ranks that `simhw roofline ranks` chose for the V100 in mixed precision when the steps were measured."""
OPTIMIZERS = {"sgd": "sgd", "adamw": "adam", "": "sgd"}


@dataclass(frozen=True)
class MeasuredStep:
    """A step and what it took.

    Attributes
    ----------
    network : Network
    run : Run
        As the eager row ran; a graph was run too where `graph_s` is known.
    model, variant : str
        As the file calls them.
    eager_s, graph_s, power_w, energy_j : float or None
    place : str
        File and row.
    """

    network: Network
    run: Run
    model: str
    variant: str
    eager_s: float
    graph_s: float | None
    power_w: float | None
    energy_j: float | None
    place: str

    @property
    def shape(self) -> Hashable:
        """All measurements of one network at one batch."""
        return self.model, self.variant, self.run.batch

    def launched(self, launch: Launch) -> Run:
        """The run as a graph, or issued kernel by kernel."""
        return replace(self.run, launch=launch)


def quantised(rank: int) -> int:
    """A rank cut to a multiple of 64, or of 16 below."""
    step = 64 if rank >= 64 else 16
    return max(rank // step * step, 1)


def branched(network: Network) -> Network:
    """ResNet's cores in two branches of twice the rank that a quarter of the weights has, as grouped convolutions."""
    layers = decomposable(network)
    ranks, deeper = compression_ranks(layers), compression_ranks(layers, 2.0 * BRANCHES)
    wide = {layer.name for layer in layers if isinstance(layer, Conv) and prod(layer.kernel) > 1}
    ranks = {name: BRANCHES * deeper[name] if name in wide else rank for name, rank in ranks.items()}
    found = decomposed(network, ranks, f"{network.name}-branched")
    grouped = (
        replace(layer, groups=BRANCHES) if isinstance(layer, Conv) and layer.name.endswith(CORE) else layer
        for layer in found.layers
    )
    return replace(found, layers=tuple(grouped))


def quantised_ranks(network: Network) -> Network:
    """ResNet decomposed at the ranks of plain decomposition, each cut to a multiple."""
    ranks = {name: quantised(rank) for name, rank in compression_ranks(decomposable(network)).items()}
    return decomposed(network, ranks, f"{network.name}-quantised")


FUNCTIONS = {"query_heads": "contiguous", "value_heads": "contiguous", "key_heads": "transposed", "scale": "scale_view"}
"""What slices make of the layers that lay heads out: the product's operands are copied, but their gradients only when
they are written into the whole.
"""


def sliced(network: Network) -> Network:
    """A transformer whose queries, keys and values are slices of the projection's output."""
    layers: list[NetworkLayer] = []
    for layer in network.layers:
        last = layer.name.rpartition(".")[2]
        if isinstance(layer, Pointwise) and last in FUNCTIONS:
            layer = replace(layer, function=FUNCTIONS[last])
        layers.append(layer)
        if isinstance(layer, Linear) and layer.name.endswith(".qkv"):
            elements = layer.rows * layer.out_features
            prefix = layer.name.removesuffix(".qkv")
            layers += [
                Pointwise(f"{prefix}.heads", "permute", elements),
                Pointwise(f"{prefix}.slices", SLICE, elements, inputs=3),
            ]
    return replace(network, layers=tuple(layers))


def classifying(network: Network) -> Network:
    """BERT without dropout, with a classifier; a product by keys wants them transposed."""
    layers = [
        replace(layer, function="transpose")
        if isinstance(layer, Pointwise) and layer.name.endswith(".key_heads")
        else layer
        for layer in network.layers
        if not (isinstance(layer, Pointwise) and layer.function == "dropout")
    ]
    pooler = next(layer for layer in reversed(layers) if isinstance(layer, Linear))
    return replace(network, layers=(*layers, Linear("classifier", pooler.out_features, CLASSES)))


RESNET_VARIANTS: Mapping[str, Callable[[Network], Network]] = {
    "dense": lambda network: network,
    "vanilla": vanilla,
    "quantised64": quantised_ranks,
    "optimised_v100": lambda network: decomposed(network, V100_RANKS, f"{network.name}-optimised"),
    "freezing": lambda network: frozen(vanilla(network)),
    "freezing_quantised64": lambda network: frozen(quantised_ranks(network)),
    "merging": merged,
    "branching": branched,
}
VIT_VARIANTS: Mapping[str, Callable[[Network], Network]] = {
    "MHA": lambda network: network,
    "MQA": lambda network: grouped_attention(network, 6, 1),
    "GQKVA-2.3": lambda network: grouped_attention(network, 2, 3),
    "skipvit-7-10": lambda network: skipping_tokens(network, SKIPPED, 7, 10),
}


@lru_cache(maxsize=64)
def measured_network(model: str, variant: str) -> Network:
    """The network of a model and variant of the file.

    Raises
    ------
    ShapeError
        There is none of that name.
    """
    if model == "bert-base" and variant.endswith(" tokens") and variant.removesuffix(" tokens").isdecimal():
        return classifying(load_network("bert-base", sequence=int(variant.removesuffix(" tokens"))))
    if model == "vit-s" and variant in VIT_VARIANTS:
        return sliced(VIT_VARIANTS[variant](load_network("vit-s")))
    if model.startswith("resnet") and variant in RESNET_VARIANTS:
        return RESNET_VARIANTS[variant](load_network(model))
    raise ShapeError(f"no network {quoted(model)} in a variant {quoted(variant)}")


def _step(row: MeasuredRow) -> MeasuredStep:
    try:
        network = measured_network(row.text("model"), row.text("variant"))
    except ShapeError as error:
        row.fail(str(error))
    parameters = row.text("parameters")
    if parameters and row.count("parameters") != network.parameters:
        row.fail(f"column 'parameters' is {parameters}; {network.name} by shape has {network.parameters:,}")
    return step_of(row, network)


def step_of(row: MeasuredRow, network: Network) -> MeasuredStep:
    """A row whose network is known.

    Raises
    ------
    SimhwError
        The row cannot be read.
    """
    mode = next((each for each in get_args(Mode) if each == row.text("mode")), None)
    if mode is None:
        row.fail(f"column 'mode' is {quoted(row.text('mode'))}; give one of {', '.join(get_args(Mode))}")
    precision = next((each for each in PRECISIONS if each == row.text("precision")), None)
    if precision is None:
        row.fail(f"column 'precision' is {quoted(row.text('precision'))}; give one of {', '.join(PRECISIONS)}")
    layout = next((each for each in get_args(Layout) if each == row.text("layout")), None)
    if layout is None:
        row.fail(f"column 'layout' is {quoted(row.text('layout'))}; give one of {', '.join(get_args(Layout))}")
    optimizer = row.text("optimiser")
    if optimizer not in OPTIMIZERS:
        row.fail(f"column 'optimiser' is {quoted(optimizer)}; give one of {', '.join(OPTIMIZERS)}")
    run = Run(row.count("batch"), mode, precision, optimizer=OPTIMIZERS[optimizer], layout=layout)  # type: ignore[arg-type]  # a literal
    return MeasuredStep(
        network=network,
        run=run,
        model=row.text("model"),
        variant=row.text("variant"),
        eager_s=row.quantity("step_ms") * 1e-3,
        graph_s=_milli(row, "graph_ms"),
        power_w=_known(row, "power_w"),
        energy_j=_known(row, "energy_j"),
        place=row.place,
    )


def _known(row: MeasuredRow, column: str) -> float | None:
    return row.quantity(column) if row.text(column) else None


def _milli(row: MeasuredRow, column: str) -> float | None:
    known = _known(row, column)
    return None if known is None else known * 1e-3


def read_steps(folder: Path, device: str) -> list[MeasuredStep]:
    """The steps of ``DEVICE_steps.csv``.

    Raises
    ------
    SimhwError
        The file is missing, a row of it cannot be read, or a network has other parameters than were measured.
    """
    return [_step(row) for row in measured_rows(folder, f"{device}_steps")]
