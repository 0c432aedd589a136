"""NCF, FPRaker's recommender: MLPerf's layers, on words of pages in place of films of users."""

import torch
from torch import nn

from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.data.occurrences import CANDIDATES, occurrences
from simhw_workloads.models.ncf import NeuMf, ncf_movielens
from simhw_workloads.schedule import Schedule
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

FACTORS, LAYERS = 64, (256, 256, 128, 64)


def train(run: Run) -> nn.Module:
    """The fused model, from scratch."""
    task = occurrences(run.pick(8, None))
    run.seeded()
    users, items = (1 + int(torch.cat([task.train[0], task.test[0]])[:, side].max()) for side in (0, 1))
    model = NeuMf(users, items, run.pick(8, FACTORS), run.pick((32, 32, 16, 8), LAYERS))
    run.note(pages=users, words=items)
    schedule = Schedule(run.pick(6, 2000), 1e-3, warmup=run.pick(1, 50), kind="adamw", weight_decay=0.0)
    run.fit("dense", model, task, schedule, batch=run.pick(64, 512))
    run.score("dense", model, task, limit=run.pick(20, 300) * CANDIDATES)
    return model


def _full() -> Network:
    with torch.device("meta"):
        model = ncf_movielens()
    return network_of(model, torch.zeros(1, 2, dtype=torch.int64), "ncf-movielens")


WORKLOADS = (
    Workload(
        name="ncf",
        summary="neural collaborative filtering: which words occur in which pages of documentation",
        model="NeuMF (layers of 256, 256, 128, 64)",
        dataset="words in pages of documentation",
        train=train,
        budget_s=150,
        family="papers",
        paper="He et al., WWW 2017",
        headline="FPRaker's NCF is on MovieLens",
        # ReLU makes zeros in A and in G; embeddings have none.
        signature=Signature(
            zeros_a=Bounds(0.05, 0.6),
            zeros_w=Bounds(0, 0.001),
            zeros_g=Bounds(0.2, 0.9),
            weight_grad=Bounds(1, 1),
            input_grad=Bounds(1, 1),
            kinds=frozenset({"linear"}),
        ),
        shapes=lambda _: _full(),
        roofline_batch=2048,
    ),
)
