"""Transformers and language models of the workloads: sizes, grouping, skipped tokens, chosen samples."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw.roofline.compression.published import GROUPS
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import RecurrentLayer
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.networks.transformers import grouped_attention, skipping_tokens
from simhw_workloads.data.text import language_model
from simhw_workloads.models.attention import Attention, head_groups
from simhw_workloads.models.bert import bert_base, bert_small
from simhw_workloads.models.lstm import LstmModel, lstm_ptb_medium
from simhw_workloads.models.vit import Skip, VisionTransformer, vit_small, vit_tiny
from simhw_workloads.record import Phase, Record
from simhw_workloads.schedule import Schedule
from simhw_workloads.selection import Selection
from simhw_workloads.table import WORKLOADS
from simhw_workloads.task import Task, accuracy, cross_entropy
from simhw_workloads.techniques.text import work
from simhw_workloads.train import Run
from tests.captured_steps import captured
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# Sizes


def test_the_published_sizes():
    with torch.device("meta"):
        assert size(vit_tiny()) == 5_717_416
        assert size(vit_small()) == 22_050_664
        assert size(bert_base()) == 109_482_240
        # Embedding 10,000 x 650, two cells of 4 x 650 x (650 + 650 + 2), and the head.
        assert size(lstm_ptb_medium()) == 10_000 * 650 + 2 * 4 * 650 * 1302 + 651 * 10_000


# arXiv 2311.03426: million parameters of ViT-S, cut (not rounded) to two places.
GROUPED_MILLIONS = {
    "MHA": 22.05,
    "GKVA-3": 21.16,
    "GKVA-2": 20.86,
    "MKVA": 20.57,
    "GQA-3": 20.27,
    "GQA-2": 19.68,
    "MQA": 19.09,
    "GQKVA-2.3": 19.09,
    "GQKVA-3.2": 18.79,
}


@pytest.mark.parametrize("name", GROUPS)
def test_grouped_attention_has_the_published_parameters_and_the_layer_list_s_arithmetic(name: str):
    with torch.device("meta"):
        model = vit_small(1000, *GROUPS[name])
    assert size(model) // 10_000 / 100 == GROUPED_MILLIONS[name]
    network = network_of(model, torch.zeros(1, 3, 224, 224))
    assert network.macs == grouped_attention(load_network("vit-s"), *GROUPS[name]).macs
    assert set(GROUPED_MILLIONS) == set(GROUPS)


def test_bert_and_lstm_have_the_arithmetic_of_their_layer_lists():
    with torch.device("meta"):
        bert, lstm = bert_base(), lstm_ptb_medium()
    tokens = torch.ones(1, 128, dtype=torch.int64)
    assert network_of(bert, tokens).macs == load_network("bert-base", sequence=128).macs
    network = network_of(lstm, tokens[:, :35])
    assert sum(isinstance(layer, RecurrentLayer) for layer in network.layers) == 2
    assert network.macs == 35 * (2 * 4 * 650 * 1300 + 650 * 10_000)


# Attention


def reference_attention(attention: Attention, x: Tensor) -> Tensor:
    """Head by head: its query group against its group of keys and values."""
    width, queries, keys = attention.head_width, attention.query_groups, attention.key_groups
    groups = attention.qkv(x).split(width, dim=2)
    heads = []
    for query_of, key_of in zip(*head_groups(attention.heads, queries, keys), strict=True):
        query, key, value = groups[query_of], groups[queries + key_of], groups[queries + keys + key_of]
        heads.append(torch.softmax(query @ key.transpose(1, 2) / width**0.5, dim=2) @ value)
    result: Tensor = attention.proj(torch.cat(heads, dim=2))
    return result


@pytest.mark.parametrize("groups", GROUPS.values())
def test_grouped_attention_is_attention_of_every_head_s_groups(groups: tuple[int, int]):
    attention, x = Attention(24, 6, *groups), torch.randn(2, 5, 24)
    torch.testing.assert_close(attention(x), reference_attention(attention, x), rtol=1e-4, atol=1e-5)
    assert attention.weights is not None
    torch.testing.assert_close(attention.weights.sum(3), torch.ones(2, 6, 5))


def test_every_pair_of_a_query_and_a_key_value_group_is_one_head():
    queries, keys = head_groups(6, 2, 3)
    assert sorted(zip(queries, keys, strict=True)) == [(q, k) for q in range(2) for k in range(3)]
    assert head_groups(6, 6, 2) == ([0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1])
    assert head_groups(6, 1, 6) == ([0] * 6, [0, 1, 2, 3, 4, 5])
    with pytest.raises(WorkloadError, match="cannot serve 6 heads"):
        head_groups(6, 4, 2)


def test_full_attention_is_pytorch_s():
    attention, reference, x = Attention(24, 4), nn.MultiheadAttention(24, 4, batch_first=True), torch.randn(3, 7, 24)
    reference.load_state_dict(
        {
            "in_proj_weight": attention.qkv.weight,
            "in_proj_bias": attention.qkv.bias,
            "out_proj.weight": attention.proj.weight,
            "out_proj.bias": attention.proj.bias,
        }
    )
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[:, 5:] = False
    expected = reference(x, x, x, key_padding_mask=~mask, need_weights=False)[0]
    torch.testing.assert_close(attention(x, mask), expected, rtol=1e-4, atol=1e-5)


def test_padding_tells_bert_nothing():
    model = bert_small(50, 12, 3, width=64, depth=2).eval()
    tokens = torch.randint(3, 50, (2, 12))
    tokens[:, 8:] = 0
    torch.testing.assert_close(model(tokens), model(tokens[:, :8]), rtol=1e-4, atol=1e-5)


def test_an_lstm_model_is_pytorch_s_lstm():
    model, reference = LstmModel(11, 6, 8, 2), nn.LSTM(6, 8, 2, batch_first=True)
    reference.load_state_dict(
        {
            f"{name}_l{layer}": getattr(cell, name)
            for layer, cell in enumerate(model.cells)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
    )
    tokens = torch.randint(11, (3, 5))
    torch.testing.assert_close(model(tokens), model.head(reference(model.embedding(tokens))[0]))


# Skipped tokens


def small(skip: Skip | None) -> VisionTransformer:
    torch.manual_seed(1)
    return VisionTransformer(20, 4, 24, 5, 2, 10, 1, skip=skip)


def test_tokens_that_skip_blocks_come_back_as_they_left_and_the_others_do_not():
    model, seen = small(Skip(1, 3, 0.55)), {}
    for index in (0, 1, 3, 4):
        block = model.blocks[index]
        block.register_forward_hook(
            lambda _m, inputs, output, index=index: seen.update({index: (inputs[0].detach(), output.detach())})
        )
    model(torch.randn(3, 1, 20, 20))
    before, behind = seen[0][1], seen[4][0]
    # 25 patches: 11 stay (25 * 0.45 = 11.25), with the class token 12 tokens.
    assert seen[1][0].shape == seen[3][1].shape == (3, 12, 24)
    order = model.ranking(0)
    for sample in range(3):
        leaving = (1 + order[sample, 11:]).tolist()
        staying = [0, *(1 + order[sample, :11]).tolist()]
        assert torch.equal(behind[sample, leaving], before[sample, leaving])
        assert torch.equal(behind[sample, staying], seen[3][1][sample])
        assert not torch.equal(behind[sample, staying], before[sample, staying])


def test_the_patches_that_leave_are_those_that_the_class_token_looks_at_least():
    model = small(Skip(1, 3))
    model(torch.randn(2, 1, 20, 20))
    weights = model.blocks[0].attn.weights
    for sample, order in enumerate(model.ranking(0)):
        looks = [sum(float(weights[sample, head, 0, 1 + patch]) for head in range(2)) for patch in order]
        assert looks == sorted(looks, reverse=True)
        assert sorted(order.tolist()) == list(range(25))


def test_nothing_changes_where_no_token_is_dropped():
    plain, skipping = small(None), small(Skip(1, 3, 0.0))
    skipping.load_state_dict(plain.state_dict())
    x = torch.randn(2, 1, 20, 20)
    torch.testing.assert_close(skipping(x), plain(x), rtol=1e-4, atol=1e-5)


def test_skipped_blocks_multiply_fewer_tokens_in_all_three_operations(tmp_path: Path):
    model = small(Skip(1, 3, 0.55))
    trace = captured(model, lambda: model(torch.randn(3, 1, 20, 20)).sum().backward(), tmp_path)
    tokens = {layer.name: layer.shapes["a"][1] for layer in trace.layers if layer.name.endswith("mlp.fc1")}
    assert tokens == {f"blocks.{index}.mlp.fc1": 12 if 1 <= index <= 3 else 26 for index in range(5)}
    assert all(len(layer.operations) == 3 for layer in trace.layers if layer.name.startswith("blocks."))
    with pytest.raises(WorkloadError, match="one behind, for all"):
        small(Skip(1, 4))


@pytest.mark.parametrize("skip", [Skip(7, 10), Skip(1, 3)])
def test_skipping_has_the_layer_list_s_arithmetic_per_sample(skip: Skip):
    with torch.device("meta"):
        model = vit_small(skip=skip)
    # `network_of` runs it with two and with three samples and refuses products that do not grow in proportion.
    network = network_of(model, torch.zeros(1, 3, 224, 224))
    assert network.macs == skipping_tokens(load_network("vit-s"), skip.dropped, skip.first, skip.last).macs
    assert network.parameters == size(model)


def test_gradients_reach_tokens_that_skip_and_go_round_the_blocks():
    model, entering, inside = small(Skip(1, 3, 0.55)), [], []
    model.blocks[0].register_forward_hook(
        lambda _m, _inputs, output: (output.retain_grad(), entering.append(output))[0]
    )
    model.blocks[1].register_forward_hook(lambda _m, inputs, _output: inside.append(inputs[0].shape[1]))
    model(torch.randn(3, 1, 20, 20)).square().sum().backward()
    leaving = 1 + model.ranking(0)[:, 11:]
    assert inside == [12]
    assert entering[0].grad is not None
    # They rejoin in front of the last block, whose attention the class token reads.
    assert (entering[0].grad.gather(1, leaving[:, :, None].expand(-1, -1, 24)).abs().sum(2) > 0).all()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


# Chosen samples


def points(samples: int) -> Task:
    x = torch.randn(samples, 4)
    y = (x[:, 0] > 0).long()
    return Task("points", (x, y), (x, y), lambda columns: (columns[0], columns[1]), cross_entropy, accuracy)


def test_the_samples_that_are_kept_are_the_fraction_whose_logits_moved_most():
    hook = Selection(0.25, rescore_every=10, batch=4, seed=0)
    before, now = torch.randn(20, 3), torch.randn(20, 3)
    hook.choose(before, now)
    moved = [sum((float(a) - float(b)) ** 2 for a, b in zip(now[row], before[row], strict=True)) for row in range(20)]
    assert hook.chosen is not None
    assert hook.chosen.tolist() == sorted(sorted(range(20), key=lambda row: -moved[row])[:5])


def test_selection_compares_the_last_two_looks_and_then_trains_on_kept_samples_only():
    task, model, run = points(40), nn.Linear(4, 2), Run(seed=3)
    hook, rows, looks = Selection(0.2, rescore_every=4, batch=4, seed=3), [], {}

    class Watch(Selection):
        """Sees what the hook before it let through; keeps each sample's logits of both epochs."""

        def __init__(self) -> None:
            pass

        def start(self, model: nn.Module, task: Task) -> None:
            pass

        def indices(self, step: int, indices: Tensor) -> Tensor:
            rows.append(indices)
            return indices

        def loss(self, model: nn.Module, output: Tensor, batch: object) -> None:
            for row, logits in zip(batch.indices.tolist(), output.detach(), strict=True):  # type: ignore[attr-defined]  # a Batch
                looks.setdefault(row, []).append(logits.clone())

    run.fit("warm-up", model, task, Schedule(20, 0.1), batch=4, hooks=[hook, Watch()])
    assert sorted(torch.cat(rows[:10]).tolist()) == list(range(40))
    moved = {row: float((second - first).square().sum()) for row, (first, second) in looks.items()}
    rows.clear()
    run.fit("selected", model, task, Schedule(9, 0.1), batch=4, hooks=[hook, Watch()])
    best = sorted(sorted(moved, key=lambda row: -moved[row])[:8])
    # Two epochs of the eight kept samples, then all are looked at again, and again after four more steps.
    assert sorted(torch.cat(rows[:2]).tolist()) == sorted(torch.cat(rows[2:4]).tolist()) == best
    assert hook.looked_at == 2 * 32
    for step in (4, 5, 6, 7):
        assert len(rows[step]) == 4
    assert len(set(torch.cat(rows[4:8]).tolist())) == 8


def test_the_work_of_selection_is_what_was_trained_on_and_a_third_of_what_was_looked_at():
    record = Record(
        [Phase("warm-up", 1, 1, 1, 1, samples=200), Phase("selected", 1, 1, 1, 1, samples=60)],
        notes={"samples_without_selection": 800, "looked_at_again": 180},
    )
    assert work(record) == pytest.approx((200 + 60 + 60) / 800)
    smoke = smoke_run("swiftlearn").record
    # 8 steps of 8 in each of two epochs, 2 of 8 in each of two more on the kept quarter; a look at the others between
    # them.
    assert [phase.samples for phase in smoke.phases] == [128, 32]
    assert smoke.notes["looked_at_again"] == 48
    assert work(smoke) == pytest.approx((128 + 32 + 16) / 256)


def test_all_nine_groupings_are_workloads():
    assert {name for name in WORKLOADS if name.startswith("gqkva-")} == {
        f"gqkva-{name}" for name in ("gkva-3", "gkva-2", "mkva", "gqa-3", "gqa-2", "mqa", "2-3", "3-2")
    }
    assert smoke_run("gqkva-3-2").record.notes["parameters"] < size(smoke_run("vit-dense").model)


def test_a_language_model_predicts_the_next_token_and_scores_bits():
    task = language_model("letters", list(range(10)) * 5, 4, "bits")
    batch = task.rows(torch.tensor([0, 3]))
    assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    assert torch.equal(batch.targets[0], torch.tensor([1, 2, 3, 4]))
    # Equal logits of eight tokens are three bits each.
    assert task.score(torch.zeros(2, 4, 8), torch.zeros(2, 4, dtype=torch.int64)) == pytest.approx(3)
    with pytest.raises(WorkloadError, match="a window takes 65"):
        language_model("letters", list(range(50)), 64, "bits")
