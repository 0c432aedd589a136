"""WeLore on the pretrained MiniLM: layers whose weights are low-rank learn on in factors, all others stand still.

Source: arXiv 2407.11239; spec page techniques.md, 2.13.
"""

from dataclasses import replace

from torch import nn

from simhw_workloads.lowrank.ranks import full_ranks, note_ranks
from simhw_workloads.lowrank.spectrum import split_model
from simhw_workloads.models.bert import Bert
from simhw_workloads.techniques import minilm
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

REMOVED = 0.5
"""Of the ranks of all matrices, as in the published tables."""


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
        # Its ranks are those of trained weights: there is no network by shape.
        shapes=None,
    ),
)
