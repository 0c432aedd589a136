"""What stages of a pipeline send each other: which values arrive, how many bits it takes, what feedback remembers."""

import pytest
import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.count import zero_product_share
from simhw_workloads.record import Record
from simhw_workloads.table import workload
from simhw_workloads.train import Run
from simhw_workloads.wire import (
    Cut,
    Direct,
    ErrorFeedback,
    ExampleDifferences,
    Link,
    Quantised,
    TopK,
    Whole,
)
from tests.captured_steps import values
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


ROWS = torch.arange(2)


def test_top_k_sends_the_largest_of_each_sample() -> None:
    x = torch.tensor([[[1.0, -5.0], [2.0, 0.5]], [[0.0, 3.0], [-4.0, 9.0]]])
    assert TopK(0.5)(x).tolist() == [[[0, -5], [2, 0]], [[0, 0], [-4, 9]]]
    assert torch.equal(TopK(1.0)(x), x)


def test_a_message_of_top_k_says_where_its_values_stand_in_the_shorter_way() -> None:
    # 10 of 100 values: 160 bits, and 70 for ten numbers below 128; of 50 a bit for each of the hundred is shorter.
    assert TopK(0.1).bits(100) == 160 + 70
    assert TopK(0.5).bits(100) == 800 + 100
    assert Whole().bits(100) == 1600


def test_quantised_values_are_the_nearest_of_levels_between_the_ends_of_their_sample() -> None:
    x = torch.tensor([[0.0, 0.4, 1.1, 3.0], [-6.0, 0.0, 2.0, 3.0], [2.0, 2.0, 2.0, 2.0]])
    # Two bits: levels 0, 1, 2, 3 and -6, -3, 0, 3; a sample of one value alone arrives as it is.
    assert Quantised(2)(x).tolist() == [[0, 0, 1, 3], [-6, 0, 3, 3], [2, 2, 2, 2]]
    assert Quantised(4).bits(100) == 400 + 32


def test_a_link_counts_what_it_carries() -> None:
    link = Link(TopK(0.1))
    assert link.carry(torch.ones(3, 10, 10)).count_nonzero() == 30
    link.carry(torch.ones(0, 10, 10))
    link.carry(torch.ones(1, 100), whole=True)
    assert (link.sent_bits, link.whole_bits) == (3 * 230 + 1600, 4 * 1600)


def test_error_feedback_sends_later_what_it_did_not_send_of_an_example() -> None:
    rule, x = ErrorFeedback(Link(TopK(0.25)), 3), torch.tensor([[4.0, 3.0, 2.0, 0.0]])
    # Errors: after the first message 0, 3, 2, 0; then 6 of the second stands first, and so on.
    sent = [rule.send(x, torch.tensor([1])).tolist()[0] for _ in range(3)]
    assert sent == [[4, 0, 0, 0], [0, 6, 0, 0], [8, 0, 0, 0]]
    assert rule.send(x, torch.tensor([2])).tolist() == [[4, 0, 0, 0]]


def test_what_error_feedback_sent_is_all_but_the_last_error() -> None:
    rule, random = ErrorFeedback(Link(TopK(0.1)), 2), torch.Generator().manual_seed(0)
    given = [torch.randn(2, 50, generator=random) for _ in range(20)]
    sent = [rule.send(x, ROWS) for x in given]
    assert rule._lost is not None
    torch.testing.assert_close(sum(sent) + rule._lost, sum(given))


def test_each_example_is_sent_whole_once_and_then_by_its_changes() -> None:
    link = Link(TopK(0.25))
    rule = ExampleDifferences(link, 5)
    first = torch.tensor([[4.0, 3.0, 2.0, 1.0], [0.0, 0.0, 0.0, 8.0]])
    assert torch.equal(rule.send(first, torch.tensor([3, 0])), first)
    assert link.sent_bits == link.whole_bits
    # Row 3 comes again with two changes, of which the larger arrives; row 4 is new.
    second = torch.tensor([[4.0, 5.0, 2.5, 1.0], [1.0, 1.0, 1.0, 1.0]])
    assert rule.send(second, torch.tensor([3, 4])).tolist() == [[4, 5, 2, 1], [1, 1, 1, 1]]
    assert rule.send(second[:1], torch.tensor([3])).tolist() == [[4, 5, 2.5, 1]]
    # Four values whole take 64 bits; one value 16, and 2 to say which.
    assert link.sent_bits == 3 * 64 + 2 * 18


def test_a_cut_compresses_both_ways_and_remembers_nothing_in_evaluation() -> None:
    cut = Cut(ErrorFeedback(Link(TopK(0.5)), 2), Direct(Link(TopK(0.25))))
    cut.rows = ROWS[:1]
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]], requires_grad=True)
    y = cut(x)
    assert y.tolist() == [[0, 0, 3, 4]]
    (y * torch.tensor([[1.0, -9.0, 2.0, 3.0]])).sum().backward()
    assert x.grad.tolist() == [[0, -9, 0, 0]]
    cut.eval()
    assert cut(x).tolist() == [[0, 0, 3, 4]]
    cut.at_inference = False
    assert torch.equal(cut(x), x)
    # The 1 and the 2 that were lost in training, and all again: 2, 4, 3, 4.
    assert cut.train()(x).tolist() == [[0, 4, 0, 4]]


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(WorkloadError, match="give 0 < share <= 1"):
        TopK(share)
    with pytest.raises(WorkloadError, match="give 1 to 16"):
        Quantised(0)


def scores(record: Record) -> dict[str, float]:
    return {score.phase: score.value for score in record.scores}


def test_the_next_stage_reads_a_tenth_of_the_values_and_batch_norm_hides_the_gradients_zeros() -> None:
    smoke, dense = smoke_run("wire-topk"), smoke_run("digit-cnn-scratch")
    layers, whole = ({layer.name: layer for layer in each.trace.layers} for each in (smoke, dense))
    for name in ("conv2", "conv3", "fc1"):
        assert share_of_zeros(layers[f"{name}.1"].a) == pytest.approx(0.9, abs=0.01)
        assert share_of_zeros(whole[name].a) < 0.5
    assert share_of_zeros(layers["conv1"].g) < 0.01


def share_of_zeros(bits: object) -> float:
    tensor: Tensor = values(bits)  # type: ignore[arg-type]
    return float((tensor == 0).float().mean())


def test_a_network_that_learnt_with_top_k_needs_it_at_inference() -> None:
    for seed in (0, 1):
        run = Run(seed=seed, scale="smoke")
        workload("wire-topk").train(run)
        told = scores(run.record)
        assert told["train, compressed at inference"] >= told["train, whole at inference"] + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_at_full_scale_top_k_loses_ten_points_where_inference_goes_without_it(seed: int) -> None:
    run = Run(seed=seed)
    workload("wire-topk").train(run)
    told = scores(run.record)
    assert told["train, compressed at inference"] >= 0.94
    assert told["train, compressed at inference"] >= told["train, whole at inference"] + 0.1


def test_the_wire_and_the_products_save_by_different_techniques() -> None:
    """Top-k saves bits and products, bits of values bits alone; per-example changes save bits and make no zeros."""
    notes = {name: smoke_run(name).record.notes for name in ("wire-topk", "wire-bits", "digit-cnn-scratch")}
    # A tenth of 256, 128 and 64 values: 26, 13 and 6, with numbers of 8, 7 and 6 bits.
    sent = 26 * (16 + 8) + 13 * (16 + 7) + 6 * (16 + 6)
    assert notes["wire-topk"]["wire_forward"] == pytest.approx(sent / (16 * (256 + 128 + 64)))
    assert notes["wire-topk"]["zero_products"] > 0.7
    # Four and eight bits of 16, and two ends of 16 bits for each of three messages.
    assert notes["wire-bits"]["wire_forward"] == pytest.approx(4 / 16 + 3 * 2 / (256 + 128 + 64))
    assert notes["wire-bits"]["wire_backward"] == pytest.approx(8 / 16 + 3 * 2 / (256 + 128 + 64))
    assert notes["wire-bits"]["zero_products"] < notes["digit-cnn-scratch"]["zero_products"] + 0.1


def test_products_with_a_zero_are_counted_by_layer() -> None:
    model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.ReLU(), nn.Linear(2, 3, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]))
    # One of four inputs is zero: 2 of 8 products; one of two hidden units is: 3 of 6.
    assert zero_product_share(model, torch.tensor([[1.0, 2.0, 0.0, 3.0]])) == 5 / 14
