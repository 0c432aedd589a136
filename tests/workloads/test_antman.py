"""AntMan: cells of block products that learn from a whole LSTM, at every time step and at its answers."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from simhw_workloads.distillation import StateDistillation
from simhw_workloads.lowrank.blocks import block_products
from simhw_workloads.models.block_lstm import BlockLstmCell, in_blocks
from simhw_workloads.models.lstm import LstmModel
from simhw_workloads.task import Batch
from simhw_workloads.techniques.antman import learnt, whole
from simhw_workloads.train import Run
from tests.workloads.smoke_runs import smoke_run

BATCH = Batch(torch.randint(11, (3, 5)), torch.randint(11, (3, 5)), torch.arange(3))


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_a_block_cell_is_an_lstm_cell_with_the_dense_weights_of_its_products():
    cell = BlockLstmCell(nn.LSTMCell(8, 12), 2, 2)
    whole = nn.LSTMCell(8, 12)
    with torch.no_grad():
        for name, product in (("ih", cell.input), ("hh", cell.state)):
            layer = product.to_linear()
            getattr(whole, f"weight_{name}").copy_(layer.weight)
            getattr(whole, f"bias_{name}").copy_(layer.bias)
    x, state = torch.randn(4, 8), (torch.randn(4, 12), torch.randn(4, 12))
    for given in (state, None):
        for ours, theirs in zip(cell(x, given), whole(x, given), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_penalty_is_nothing_for_the_teacher_itself_and_the_published_sum_for_others():
    teacher, student = LstmModel(11, 8, 12), LstmModel(11, 8, 12)
    hook = StateDistillation(teacher, 2.0, 3.0)
    hook.batch(student, BATCH)
    assert float(hook.loss(teacher, teacher(BATCH.inputs), BATCH).detach()) == pytest.approx(0, abs=1e-6)
    output = student(BATCH.inputs)
    wanted = teacher(BATCH.inputs)
    apart = (
        sum(float((a - b).square().mean().detach()) for a, b in zip(student.states, teacher.states, strict=True)) / 2
    )
    right = functional.softmax(wanted, -1)
    answers = float((right * (right.log() - functional.log_softmax(output, -1))).sum(-1).mean().detach())
    assert float(hook.loss(student, output, BATCH).detach()) == pytest.approx(2 * apart + 3 * answers, rel=1e-4)


def test_only_the_student_learns():
    teacher, student = LstmModel(11, 8, 12), in_blocks(LstmModel(11, 8, 12), 2, 2)
    hook = StateDistillation(teacher, 1.0, 1.0)
    hook.batch(student, BATCH)
    hook.loss(student, student(BATCH.inputs), BATCH).backward()
    assert all(parameter.grad is None for parameter in (*teacher.parameters(), *hook.teacher.parameters()))
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_the_trace_has_blocks_that_learn_and_a_teacher_that_only_runs_forward():
    smoke = smoke_run("antman")
    kinds: dict[str, set[tuple[str, ...]]] = {}
    for layer in smoke.trace.layers:
        kinds.setdefault(layer.kind, set()).add(layer.operations)
    assert kinds["lstm"] == {("forward",)}
    assert ("forward", "input_grad", "weight_grad") in kinds["conv1d"]
    assert not any(isinstance(each, nn.LSTMCell) for each in smoke.model.modules())
    blocks, whole = block_products(smoke.model), smoke_run("lstm-dense").model
    # Each block of inputs sends `rank` values to each block of outputs.
    for product in blocks.values():
        inputs, outputs = product.first.in_channels, product.last.out_channels
        weights = product.first.weight.numel() + product.last.weight.numel()
        assert weights == product.blocks * product.rank * (inputs + outputs)
    assert sum(each.numel() for each in smoke.model.parameters()) < sum(each.numel() for each in whole.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_taught_student_answers_as_its_teacher_does(seed: int):
    """At full scale, on held-out text.  In bits per character it gains a hundredth or two, less than seeds differ."""
    apart, bits = [], []
    teacher = whole(Run(seed=seed))
    for taught in (True, False):
        run = Run(seed=seed)
        learnt(run, teacher, taught)
        apart.append(run.record.notes["answers_from_teacher"])
        bits.append(run.record.result.value)
    assert apart[0] < 0.95 * apart[1]
    assert bits[0] < bits[1] + 0.05
