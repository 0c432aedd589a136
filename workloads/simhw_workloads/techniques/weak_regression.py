"""Weakly supervised regression with low-rank manifold regularisation: exact and uncertain labels spread over a graph.

A step has no backward pass: it solves one draw of labels.  Its tall products are captured as forward ones of kind
`matmul`.  Source: arXiv 2104.06548; spec page techniques.md, 2.19.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from simhw_workloads.data.cars import NAME, cars
from simhw_workloads.models.cluster_graph import co_association, solve_macs, spread
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.train import Run
from simhw_workloads.weak_labels import Answers, Draw, Draws, draw, draws_rmse
from simhw_workloads.workload import Bounds, Signature, Workload

CLUSTERS = (8,) * 10
"""Of each clustering; 80 columns together."""
SMOOTHNESS, LITTLE = 0.1, 0.001
"""Ours.  The first is the rows'; at the second, uncertain labels do harm, and the record says so."""
NOISE, LOW_NOISE = 2.0, 0.5
"""Of uncertain labels, in deviations of the target."""


def train(run: Run, uncertain: bool) -> nn.Module:
    """Answers for draws of labels, with or without the uncertain ones."""
    features, miles = cars()
    task = Task(
        NAME,
        (torch.arange(len(miles)), miles),
        (torch.arange(len(miles)), miles),
        prepare=lambda columns: (columns[0], columns[1]),
        loss=lambda answers, targets: torch.nanmean((answers - targets[:, None]).square()),
        score=draws_rmse,
        metric="RMSE in deviations of the target",
        higher_is_better=False,
    )
    factor = co_association(features, CLUSTERS, run.seed)
    draws = _draws(run, miles, NOISE)
    model = Answers(factor, len(draws))
    hook = Draws(draws, uncertain, SMOOTHNESS)
    run.fit("draws", model, task, Schedule(len(draws), 1), batch=len(miles), hooks=[hook], gradient=hook.gradient)
    run.note(columns=factor.shape[1], solve_macs=solve_macs(factor.shape[1]))
    if uncertain:
        run.note(predicted_deviation=float(torch.nanmean(model.answers[:, :, 1].detach())))
        _compare(run, factor)
    run.score("draws", model, task)
    return model


def _draws(run: Run, miles: Tensor, noise: float) -> list[Draw]:
    return [draw(miles, noise, 1000 * run.seed + place) for place in range(run.pick(3, 10))]


def _compare(run: Run, factor: Tensor) -> None:
    """Note the errors at low noise, with little smoothness, and of supervised regression on the same labels."""
    features, miles = cars()
    noisy, low = _draws(run, miles, NOISE), _draws(run, miles, LOW_NOISE)
    run.note(
        low_noise=draws_rmse(by_graph(factor, low), miles),
        low_noise_little_smoothness=draws_rmse(by_graph(factor, low, True, LITTLE), miles),
        little_smoothness=draws_rmse(by_graph(factor, noisy, True, LITTLE), miles),
        little_smoothness_exact=draws_rmse(by_graph(factor, noisy, False, LITTLE), miles),
        kernel_ridge=draws_rmse(by_kernel(features, noisy, True), miles),
        kernel_ridge_low_noise=draws_rmse(by_kernel(features, low, True), miles),
        kernel_ridge_exact=draws_rmse(by_kernel(features, noisy, False), miles),
    )


def by_graph(factor: Tensor, draws: list[Draw], uncertain: bool = True, smoothness: float = SMOOTHNESS) -> Tensor:
    """Answers (N, draws) of the graph, NaN for points with a label."""
    return _asked(draws, [spread(factor, each.known(uncertain), smoothness)[:, 0] for each in draws])


def by_kernel(features: Tensor, draws: list[Draw], uncertain: bool) -> Tensor:
    """Answers (N, draws) of kernel ridge regression of the labels, with scikit-learn's settings; NaN as above."""
    from sklearn.kernel_ridge import KernelRidge

    found = []
    for each in draws:
        shown = torch.cat([each.exact, each.uncertain]) if uncertain else each.exact
        fitted = KernelRidge(kernel="rbf").fit(features[shown].numpy(), each.labels[shown].numpy())
        found.append(torch.from_numpy(fitted.predict(features.numpy())))
    return _asked(draws, found)


def _asked(draws: list[Draw], answers: list[Tensor]) -> Tensor:
    kept = torch.full((len(answers[0]), len(draws)), torch.nan, dtype=answers[0].dtype)
    for place, each in enumerate(draws):
        kept[each.unlabelled, place] = answers[place][each.unlabelled]
    return kept


# A point is in one of the eight clusters of each clustering: seven eighths of the graph's factor are zeros.  A is that
# factor in all four products, its rows scaled in two.  W is the scaled factor once, and narrow otherwise: sums of
# columns, labels, and shares of clusters.
EXACT_ALONE = Workload(
    name="graph-regression",
    summary="a tenth of the points have a label, and a graph of low rank spreads it; no back-propagation",
    model="co-association of 10 clusterings in 8",
    dataset=NAME,
    train=partial(train, uncertain=False),
    budget_s=30,
    seeds=3,
    phases=("draws",),
    signature=Signature(
        zeros_a=Bounds(0.875, 0.875),
        zeros_w=Bounds(0.87, 0.875),
        terms_a=Bounds(0.35, 0.45),
        terms_w=Bounds(0.4, 0.5),
        input_grad=Bounds(0, 0),
        weight_grad=Bounds(0, 0),
        kinds=frozenset({"matmul"}),
        absent=frozenset({"linear", "conv2d"}),
    ),
)

WORKLOADS = (
    EXACT_ALONE,
    replace(
        EXACT_ALONE,
        name="weak-regression",
        summary="uncertain labels of another fifth of the points as well; they help where the graph is very smooth",
        family="others",
        technique="weakly supervised regression",
        train=partial(train, uncertain=True),
        baseline=EXACT_ALONE.name,
        paper="arXiv 2104.06548",
        headline="no figure in the abstract: faster, less storage, better quality and stability",
        # More labels stand on the right sides, and nothing else differs.
        signature=replace(EXACT_ALONE.signature, zeros_w=Bounds(0.86, 0.869), macs=Bounds(1, 1)),
    ),
)
