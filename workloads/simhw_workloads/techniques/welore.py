"""WeLore on the pretrained MiniLM: layers whose weights are low-rank learn on in factors, all others stand still.

Source: arXiv 2407.11239; spec page techniques.md, 2.13.
"""

import re
from dataclasses import replace

from torch import nn

from simhw.roofline.compression.decompose import FIRST, LAST, decomposed, full_rank
from simhw.roofline.compression.variants import frozen_but
from simhw.roofline.layers.network import Linear, Network
from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.lowrank.noted import full_ranks, note_ranks, noted_ranks
from simhw_workloads.lowrank.spectrum import split_model
from simhw_workloads.models.bert import Bert
from simhw_workloads.record import Record
from simhw_workloads.techniques import minilm
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

REMOVED = 0.5
"""Of the ranks of all matrices, as in the published tables."""
_PARTS = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.output",
    "intermediate.dense": "intermediate",
    "output.dense": "output",
}
"""Of a layer of the encoder: names in the published network, and in ours."""
_NOTED = re.compile(r"rank\.layers\.([0-9]{1,4})\.")
_NAMED = re.compile(r"encoder\.layer\.([0-9]+)\.(.+)")


def encoder_layers(model: nn.Module) -> list[str]:
    """The linear layers of the encoder: neither embeddings nor pooler and classifier."""
    return [path for path, each in model.named_modules() if isinstance(each, nn.Linear) and path.startswith("layers.")]


def welore(run: Run) -> nn.Module:
    """The pretrained model at half of its ranks, one threshold for all layers, fine-tuned where it is low-rank."""
    model, task = minilm.pretrained_task(run)
    assert isinstance(model, Bert)
    full = full_ranks(model, encoder_layers(model))
    low, whole = split_model(model, list(full), REMOVED)
    # The classifier is new, and nothing that was pretrained: it has to learn.
    model.classifier.requires_grad_(True)
    run.note(low_rank_layers=len(low), frozen_layers=len(whole))
    note_ranks(run, low, full)
    run.note_size(model)
    return minilm.finetuned(run, model, task)


def by_depth(network: Network, record: Record) -> dict[str, str]:
    """For each linear layer of a BERT's encoder the noted one that does its work at the same share of the depth."""
    depth = 1 + max((int(found[1]) for note in record.notes if (found := _NOTED.match(note))), default=0)
    names = [found for layer in network.layers if (found := _NAMED.fullmatch(layer.name)) and found[2] in _PARTS]
    layers = 1 + max(int(found[1]) for found in names)
    return {found[0]: f"layers.{int(found[1]) * depth // layers}.{_PARTS[found[2]]}" for found in names}


def split_network(network: Network, record: Record) -> Network:
    """A BERT with the shares of full ranks that a run noted; nothing but the pairs learns."""
    roles = by_depth(network, record)
    layers = [layer for layer in network.layers if isinstance(layer, Linear) and layer.name in roles]
    ranks = noted_ranks(record, {layer.name: full_rank(layer) for layer in layers}, roles)
    apart = decomposed(network, ranks, f"{network.name}-welore")
    pairs = {f"{name}{part}" for name in ranks for part in (FIRST, LAST)}
    return frozen_but(apart, pairs)


WORKLOADS = (
    replace(
        minilm.FINETUNE,
        name="welore",
        summary="half of the pretrained ranks go by one threshold; low-rank layers are fine-tuned, the others frozen",
        family="low rank",
        technique="WeLore",
        train=welore,
        baseline=minilm.FINETUNE.name,
        paper="arXiv 2407.11239",
        headline="LLaMA-2-7B at half its ranks: tuning low-rank layers alone beats full fine-tuning, at 3 times the "
        "throughput and 0.6 of the memory",
        # Frozen layers have no weight gradient.
        signature=replace(
            minilm.FINETUNE.signature, macs=Bounds(0.4, 0.95), weight_grad=Bounds(0.05, 0.9), input_grad=Bounds(0.8, 1)
        ),
        shapes=lambda run: split_network(load_network("bert-base", sequence=128), run.record),
    ),
)
