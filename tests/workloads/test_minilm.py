"""Techniques on the pretrained MiniLM: what each keeps of the model, and what it changes."""

import copy

import pytest
import torch
from torch import nn

from simhw.errors import WorkloadError
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.step.run import Run as DeviceRun
from simhw.roofline.step.step import step
from simhw_workloads.distillation import StateDistillation
from simhw_workloads.lowrank.blocks import block_products, expand
from simhw_workloads.matrix import full_network
from simhw_workloads.models.bert import Bert, SelfAttention
from simhw_workloads.record import Record
from simhw_workloads.table import WORKLOADS
from simhw_workloads.task import Batch
from simhw_workloads.techniques.minilm_antman import in_blocks
from simhw_workloads.techniques.minilm_gqa import GROUPS
from simhw_workloads.train import Run
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small() -> Bert:
    model = Bert(30, 24, 2, 6, 48, 8, 3).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


TOKENS = torch.randint(1, 30, (4, 8))


# Grouped attention


def test_pooling_to_as_many_groups_as_heads_changes_nothing():
    model, whole = small(), small()
    whole.load_state_dict(model.state_dict())
    model.pool_heads(6)
    assert torch.equal(model(TOKENS), whole(TOKENS))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_heads_that_are_alike_in_each_group_compute_the_same_when_pooled(groups: int):
    model = small()
    for layer in model.layers:
        for projection in (layer.attention.key, layer.attention.value):
            for parameter in projection.parameters():
                heads = parameter.data.reshape(groups, 6 // groups, 4, -1)
                heads[:] = heads[:, :1].clone()
    before = model(TOKENS)
    model.pool_heads(groups)
    torch.testing.assert_close(model(TOKENS), before, rtol=1e-4, atol=1e-5)


def test_a_group_s_projection_is_the_mean_of_its_neighbouring_heads():
    attention = SelfAttention(12, 6)
    weight, bias = attention.value.weight.detach().clone(), attention.value.bias.detach().clone()
    attention.pool(2)
    # Heads of two rows: group 1 holds heads 3 to 5, rows 6 to 11; its first row is the mean of rows 6, 8 and 10.
    torch.testing.assert_close(attention.value.weight[2], weight[[6, 8, 10]].mean(0))
    torch.testing.assert_close(attention.value.bias[3], bias[[7, 9, 11]].mean())
    assert attention.key.out_features == attention.value.out_features == 4
    assert attention.query.out_features == 12
    with pytest.raises(WorkloadError, match="6 groups of queries and 4 of keys and values cannot serve 6 heads"):
        SelfAttention(12, 6).pool(4)


def test_only_keys_and_values_shrink():
    def shapes(name: str) -> dict[str, tuple[int, ...]]:
        return {name: tuple(each.shape) for name, each in smoke_run(name).model.named_parameters()}

    whole, grouped = shapes("bert-finetune"), shapes("minilm-gqa")
    changed = {name for name in whole if whole[name] != grouped[name]}
    assert changed == {name for name in whole if ".key." in name or ".value." in name}
    assert all(2 * grouped[name][0] == whole[name][0] for name in changed)


def test_the_network_by_shape_lacks_the_keys_and_values_that_heads_share():
    row = WORKLOADS["minilm-gqa"]
    assert row.shapes is not None
    # 12 layers, 128 tokens: two projections of 768 x 768 lose 8 groups in 12.
    lost = 12 * 128 * 2 * 768 * 768 * (12 - GROUPS) // 12
    assert row.shapes(Run()).macs == load_network("bert-base", sequence=128).macs - lost


# AntMan


def test_a_student_computes_what_the_dense_form_of_its_products_computes():
    student = in_blocks(small())
    assert len(block_products(student)) == 2 * 6
    whole = expand(copy.deepcopy(student))
    torch.testing.assert_close(student(TOKENS), whole(TOKENS), rtol=1e-4, atol=1e-5)
    # Every layer is one: expanding and projecting it again keeps it.
    torch.testing.assert_close(in_blocks(whole)(TOKENS), student(TOKENS), rtol=1e-3, atol=1e-4)


def test_the_teacher_s_states_are_what_each_layer_gave():
    model = small()
    seen: list[torch.Tensor] = []
    for layer in model.layers:
        layer.register_forward_hook(lambda _, __, output: seen.append(output))
    model(TOKENS)
    assert [id(each) for each in model.states] == [id(each) for each in seen]


def test_the_student_is_taught_all_layers_and_the_answers():
    teacher, student = small(), small()
    batch = Batch(TOKENS, torch.randint(3, (4,)), torch.arange(4))
    hook = StateDistillation(teacher, 2.0, 3.0)
    batch = hook.batch(student, batch)
    output, wanted = student(TOKENS), teacher(TOKENS)
    apart = sum((a - b).square().mean() for a, b in zip(student.states, teacher.states, strict=True)) / 2
    right = wanted.softmax(1)
    answers = (right * (right.log() - output.log_softmax(1))).sum(1).mean()
    penalty = hook.loss(student, output, batch)
    assert penalty.item() == pytest.approx((2 * apart + 3 * answers).item(), rel=1e-4)
    penalty.backward()
    assert all(parameter.grad is None for parameter in (*teacher.parameters(), *hook.teacher.parameters()))
    assert all(each.grad is not None for each in student.layers.parameters())


def test_the_trace_has_block_products_that_learn_and_a_teacher_that_only_runs_forward():
    smoke = smoke_run("minilm-antman")
    products = block_products(smoke.model)
    assert {path for path, each in smoke.model.named_modules() if isinstance(each, nn.Linear)} == {
        "pooler",
        "classifier",
    }
    learning = [layer for layer in smoke.trace.layers if layer.kind == "conv1d"]
    assert len(learning) == 2 * len(products) == 2 * 2 * 6
    assert all({"forward", "weight_grad"} <= set(layer.operations) for layer in learning)
    linear = [layer for layer in smoke.trace.layers if layer.kind == "linear"]
    # Of the teacher's 2 x 6 layers, its pooler and its classifier nothing is asked but answers.
    assert sum(layer.operations == ("forward",) for layer in linear) == 2 * 6 + 2
    assert sum("weight_grad" in layer.operations for layer in linear) == 2


def test_the_network_by_shape_has_the_weights_of_the_block_products():
    row = WORKLOADS["minilm-antman"]
    assert row.shapes is not None
    # Of each layer of 768: four products keep a half, two keep (768 + 3072) x 192 of 768 x 3072.
    lost = 12 * 128 * (4 * 768 * 768 // 2 + 2 * (768 * 3072 - 192 * (768 + 3072)))
    # Two blocks of ranks of 96: 2 x 96 x (inputs + outputs) weights.
    assert row.shapes(Run()).macs == load_network("bert-base", sequence=128).macs - lost


def test_the_full_size_teacher_runs_forward_before_the_student_and_only_in_training():
    row = WORKLOADS["minilm-antman"]
    assert row.shapes is not None
    student, base = row.shapes(Run()), load_network("bert-base", sequence=128)
    network = full_network(row, "v100", Record())
    assert network.macs == student.macs + base.macs
    operators = step(network, DeviceRun(1))
    assert {each.phase for each in operators if each.layer.startswith("teacher.")} == {"forward"}
    assert [each for each in operators if each.layer == "optimizer"] == [
        each for each in step(student, DeviceRun(1)) if each.layer == "optimizer"
    ]
    assert full_network(row, "ascend310", Record(), training=False) == student
