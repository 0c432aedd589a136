"""Dropout in the cells of an LSTM: what is dropped when, and that leaving it out is the same training to the bit."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from simhw_workloads.models.dropped_lstm import DroppedLstm, compacted, masked
from simhw_workloads.models.lstm import LstmModel
from simhw_workloads.table import workload
from simhw_workloads.techniques.structured_dropout import KEPT
from simhw_workloads.train import Run
from tests.captured_steps import values
from tests.workloads.smoke_runs import smoke_run

MASKED, COMPACTED, RANDOM = "lstm-structured-dropout", "lstm-structured-dropout-compacted", "lstm-dropout"
SAMPLES, WINDOW, EMBEDDING, HIDDEN, VOCABULARY = 4, 5, 8, 12, 9


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class InOrder(TorchDispatchMode):
    """Adds the terms of every matrix product one after the other, so that a term of zero changes no bit.

    A library splits sums into parts by their length: the same terms without the zeros may be added in another order.
    """

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.addmm.default:
            return args[0] + self._product(*args[1:3])
        if func is torch.ops.aten.mm.default:
            return self._product(*args)
        assert "bmm" not in str(func)
        return func(*args, **(kwargs or {}))

    def _product(self, a: Tensor, b: Tensor) -> Tensor:
        total = a.new_zeros(len(a), b.shape[1])
        for place in range(len(b)):
            total = total + a[:, place, None] * b[place]
        return total


def model(narrow: bool = False, seed: int = 0) -> DroppedLstm:
    torch.manual_seed(0)
    return DroppedLstm(VOCABULARY, EMBEDDING, HIDDEN, 0.5, True, narrow, seed)


def tokens() -> Tensor:
    return torch.randint(VOCABULARY, (SAMPLES, WINDOW), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_compacted_view_is_the_masked_training_to_the_bit(seed: int) -> None:
    trained = []
    for name in (MASKED, COMPACTED):
        run = Run(seed=seed, scale="smoke")
        with InOrder():
            found = workload(name).train(run)
        trained.append((run.record.phases[0].losses, list(found.parameters()), run.record.result.value))
    wide, narrow = trained
    assert wide[0] == narrow[0]
    assert len(set(wide[0])) == 4
    assert all(torch.equal(one, other) for one, other in zip(wide[1], narrow[1], strict=True))
    assert wide[2] == narrow[2]


def test_with_the_librarys_own_sums_the_two_views_agree_but_for_rounding() -> None:
    wide, narrow, random = (smoke_run(name).record.phases[0].losses for name in (MASKED, COMPACTED, RANDOM))
    assert wide == pytest.approx(narrow, rel=1e-6)
    assert wide != pytest.approx(random, rel=1e-6)


def test_the_batch_keeps_the_same_units_in_a_step_and_others_in_the_next() -> None:
    layers = {layer.name: layer for layer in smoke_run(MASKED).trace.layers}
    # Of the second cell, the steps behind the first, whose state is zeros.
    for name in ("cells.1.weight_ih", "cells.1.weight_hh#2"):
        dropped = values(layers[name].a) == 0
        assert dropped.dim() == 3
        assert bool((dropped.all(1) == dropped.any(1)).all())
        assert dropped.all(1).sum(1).tolist() == [round(KEPT * dropped.shape[2])] * len(dropped)
        assert len({tuple(step) for step in dropped.all(1).tolist()}) > 1


def test_dropout_as_usual_drops_as_many_units_but_others_for_each_sample() -> None:
    layers = {layer.name: layer for layer in smoke_run(RANDOM).trace.layers}
    dropped = values(layers["cells.1.weight_ih"].a) == 0
    assert bool((dropped.sum(2) == round(KEPT * dropped.shape[2])).all())
    assert not bool((dropped.all(1) == dropped.any(1)).all())


def test_all_three_products_of_the_compacted_view_shrink() -> None:
    smoke = smoke_run(COMPACTED)
    cells = [layer for layer in smoke.trace.layers if layer.name.startswith("cells")]
    embedding, hidden = (smoke.model.cells[0].input_size, smoke.model.cells[0].hidden_size)
    # Eight time steps of two layers with two products each.
    assert len(cells) == 8 * 2 * 2
    assert {layer.shapes["w"] for layer in cells} == {(4 * hidden, embedding // 2), (4 * hidden, hidden // 2)}
    # A state of zeros has no gradient; all else has all three.
    assert sum(layer.operations == ("forward", "weight_grad") for layer in cells) == 2
    assert sum(layer.operations == ("forward", "input_grad", "weight_grad") for layer in cells) == len(cells) - 2


def test_what_stays_is_scaled_so_that_the_mean_is_what_it_was() -> None:
    x, units = torch.ones(2, 6), torch.tensor([0, 2, 5])
    assert masked(x, units).tolist() == [[2, 0, 2, 0, 0, 2]] * 2
    assert compacted(x, units).tolist() == [[2, 2, 2]] * 2
    each = torch.tensor([[0, 1, 2], [3, 4, 5]])
    assert masked(x, each).tolist() == [[2, 2, 2, 0, 0, 0], [0, 0, 0, 2, 2, 2]]


def test_weights_of_dropped_units_have_no_gradient() -> None:
    """One time step alone: the columns of the input's weights that were dropped stay zero, in both views."""
    for narrow in (False, True):
        dropped = model(narrow)
        dropped(tokens()[:, :1]).sum().backward()
        columns = (dropped.cells[0].weight_ih.grad != 0).any(0)
        assert int(columns.sum()) == EMBEDDING // 2


def test_it_starts_as_the_model_without_dropout_and_is_that_model_in_evaluation() -> None:
    dropped = model()
    torch.manual_seed(0)
    plain = LstmModel(VOCABULARY, EMBEDDING, HIDDEN)
    assert torch.equal(dropped.eval()(tokens()), plain.eval()(tokens()))
    assert not torch.equal(dropped.train()(tokens()), plain.train()(tokens()))


def test_the_seed_says_which_units() -> None:
    first, again, other = (model(seed=seed)(tokens()) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_at_full_scale_structured_dropout_scores_as_dropout_as_usual_does(seed: int) -> None:
    """Neither gains over no dropout in so short a training: only the two are compared."""
    found = []
    for name in (RANDOM, COMPACTED):
        run = Run(seed=seed)
        workload(name).train(run)
        found.append(run.record.result.value)
    assert found[1] == pytest.approx(found[0], abs=0.05)
