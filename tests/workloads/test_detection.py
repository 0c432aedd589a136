"""Detection around the network: overlaps, matching, the loss, what becomes of overlapping boxes, average precision,
scenes.
"""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw.roofline.from_model import network_of
from simhw_workloads.data.scenes import scenes
from simhw_workloads.detection.average_precision import average_precision, mean_average_precision
from simhw_workloads.detection.boxes import decode, encode, match, overlap
from simhw_workloads.detection.default_boxes import FIXED_RATIOS, adaptive_ratios, adaptive_scales, default_boxes
from simhw_workloads.detection.detections import SUPPRESSED, Detections, cluster, detections, suppress
from simhw_workloads.detection.loss import EMPTY, hard_negatives, multibox_loss
from simhw_workloads.models.ssd import MINI_CELLS, Ssd300, SsdMini
from simhw_workloads.techniques.ssd import FIXED_SCALES, all_boxes
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def boxes(count: int) -> Tensor:
    low = torch.rand(count, 2) * 0.6
    return torch.cat([low, low + 0.05 + torch.rand(count, 2) * 0.35], dim=1)


def squares_in_common(a: list[int], b: list[int]) -> float:
    """Overlap of boxes of whole pixels, pixel by pixel."""
    first, second = ({(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (a, b))
    return len(first & second) / len(first | second)


def test_the_overlap_is_that_of_the_pixels():
    random = np.random.default_rng(0)
    low = random.integers(0, 8, (12, 2))
    whole = np.concatenate([low, low + random.integers(1, 6, (12, 2))], axis=1)
    found = overlap(torch.tensor(whole[:6], dtype=torch.float32), torch.tensor(whole[6:], dtype=torch.float32))
    for (i, a), (j, b) in itertools.product(enumerate(whole[:6].tolist()), enumerate(whole[6:].tolist())):
        assert found[i, j].item() == pytest.approx(squares_in_common(a, b))


def test_offsets_lead_back_to_the_boxes():
    wanted, defaults = boxes(20), boxes(20)
    torch.testing.assert_close(decode(encode(wanted, defaults), defaults), wanted, rtol=1e-4, atol=1e-5)
    assert encode(defaults, defaults).abs().max() < 1e-4


def test_a_box_stands_for_what_it_overlaps_most_and_every_object_has_a_box():
    defaults, objects = boxes(60), boxes(4)
    # Nothing overlaps the fifth object by half, so its best box must take it nevertheless.
    objects = torch.cat([objects, torch.tensor([[0.95, 0.95, 0.99, 0.99]])])
    shared, found = overlap(defaults, objects), match(defaults, objects)
    best: dict[int, int] = {}
    for _, row, number in sorted(
        (-float(shared[row, number]), row, number) for row in range(60) for number in range(5)
    ):
        if row not in best and number not in best.values():
            best[row] = number
    for row, number in enumerate(found.tolist()):
        if row in best:
            assert number == best[row]
        else:
            assert number == (int(shared[row].argmax()) if shared[row].max() >= 0.5 else -1)
    assert set(range(5)) <= set(found.tolist())
    assert match(defaults, objects[:0]).tolist() == [-1] * 60


def test_the_hardest_background_counts_three_to_one():
    entropy, positive = torch.rand(30), torch.zeros(30, dtype=torch.bool)
    positive[[3, 17]] = True
    expected = sorted((row for row in range(30) if not positive[row]), key=lambda row: -float(entropy[row]))[:6]
    assert sorted(hard_negatives(entropy, positive).tolist()) == sorted(expected)
    assert len(hard_negatives(entropy, torch.zeros(30, dtype=torch.bool))) == 3
    assert len(hard_negatives(entropy, torch.ones(30, dtype=torch.bool))) == 0


def test_the_loss_is_that_of_matched_boxes_and_hard_background():
    defaults = default_boxes((4, 2), (0.25, 0.5), FIXED_RATIOS)
    targets = torch.tensor([[[0.1, 0.1, 0.4, 0.4, 1.0], [0.5, 0.4, 0.9, 0.95, 0.0], [0, 0, 0, 0, EMPTY]]])
    outputs = torch.randn(1, len(defaults), 4 + 3, requires_grad=True)
    found = match(defaults, targets[0, :2, :4])
    logarithms = torch.log_softmax(outputs[0, :, 4:].detach(), 1)
    where, what, background = 0.0, 0.0, []
    for row, number in enumerate(found.tolist()):
        if number < 0:
            background.append(-float(logarithms[row, 0]))
            continue
        what -= float(logarithms[row, 1 + int(targets[0, number, 4])])
        for difference in (
            outputs[0, row, :4].detach() - encode(targets[0, number, None, :4], defaults[row, None])[0]
        ).tolist():
            where += 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5
    matched = sum(number >= 0 for number in found.tolist())
    expected = (where + what + sum(sorted(background, reverse=True)[: 3 * matched])) / matched
    loss = multibox_loss(outputs, targets, defaults)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    loss.backward()
    counted = int((outputs.grad[0].abs().sum(1) > 0).sum())
    assert counted == min(4 * matched, len(defaults))


def test_suppression_keeps_no_two_boxes_that_overlap_and_drops_none_without_cause():
    found, confidences = boxes(40), torch.rand(40)
    kept = suppress(found, confidences).tolist()
    shared = overlap(found, found)
    assert [float(confidences[row]) for row in kept] == sorted((float(confidences[row]) for row in kept), reverse=True)
    assert all(shared[a, b] < SUPPRESSED for a, b in itertools.combinations(kept, 2))
    for row in set(range(40)) - set(kept):
        assert any(shared[row, other] >= SUPPRESSED and confidences[other] > confidences[row] for other in kept)


def around(box: list[float], count: int, spread: float) -> Tensor:
    return torch.tensor(box) + spread * torch.randn(count, 4)


def test_clusters_have_one_box_for_each_object_where_suppression_leaves_two():
    """Loose boxes around one object overlap too little to suppress each other, and still choose one to
    stand for them.
    """
    apart = torch.cat([around([0.1, 0.1, 0.3, 0.4], 8, 0.01), around([0.6, 0.5, 0.8, 0.9], 8, 0.01)])
    confidences = torch.rand(16) * 0.5 + 0.4
    kept = cluster(apart, confidences)
    assert sorted(int(row) // 8 for row in kept) == [0, 1]
    for group in (0, 1):
        assert int(confidences[8 * group : 8 * group + 8].argmax()) + 8 * group in kept.tolist()
    loose = torch.tensor([[0.20, 0.2, 0.40, 0.6], [0.28, 0.2, 0.48, 0.6], [0.24, 0.2, 0.44, 0.6]])
    assert overlap(loose[:1], loose[1:2]) < SUPPRESSED
    assert len(suppress(loose, torch.tensor([0.9, 0.8, 0.7]))) == 2
    assert cluster(loose, torch.tensor([0.9, 0.8, 0.7])).tolist() == [0]
    assert cluster(loose[:1], torch.tensor([0.9])).tolist() == [0]
    assert cluster(loose[:0], torch.zeros(0)).tolist() == []


def test_detections_are_the_confident_boxes_of_every_class_but_the_background():
    defaults = default_boxes((2,), (0.5,), (1.0,))
    outputs = torch.zeros(4, 4 + 3)
    outputs[:, 4] = 9
    outputs[1, 4:] = torch.tensor([0.0, 9.0, 0.0])
    outputs[2, 4:] = torch.tensor([0.0, 0.0, 9.0])
    found = detections(outputs, defaults, suppress)
    assert found.classes.tolist() == [0, 1]
    torch.testing.assert_close(found.boxes, defaults[1:3])
    assert found.confidences.min() > 0.99


def reference_precision(claims: list[tuple[float, bool]], total: int) -> float:
    """Area under the precision that some threshold reaches at each recall or beyond, recall by recall."""
    claims = sorted(claims, key=lambda claim: -claim[0])
    curve = []
    for count in range(1, len(claims) + 1):
        right = sum(hit for _, hit in claims[:count])
        curve.append((right, right / count))
    return (
        sum(
            max((precision for right, precision in curve if right >= wanted), default=0.0)
            for wanted in range(1, total + 1)
        )
        / total
    )


def test_average_precision_is_that_of_the_claims():
    random = np.random.default_rng(3)
    targets = torch.full((6, 3, 5), float(EMPTY))
    seen, claims = [], []
    for image in range(6):
        objects = boxes(3)
        targets[image, :, :4], targets[image, :, 4] = objects, 0.0
        hits = [
            index
            for index in range(3)
            if random.random() < 0.7 and not (overlap(objects, objects)[index] > 0.4).sum() > 1
        ]
        confidences = random.permutation(100)[: len(hits) + 2] / 100 + image / 10_000
        found = torch.cat([objects[hits], torch.tensor([[0.001, 0.001, 0.002, 0.002]] * 2)])
        claims += [(float(np.float32(value)), index < len(hits)) for index, value in enumerate(confidences)]
        seen.append(
            Detections(
                found, torch.tensor(confidences, dtype=torch.float32), torch.zeros(len(found), dtype=torch.int64)
            )
        )
    assert average_precision(seen, targets, 0) == pytest.approx(reference_precision(claims, 18))
    assert mean_average_precision(seen, targets) == average_precision(seen, targets, 0)


def test_an_object_is_found_once_and_a_second_claim_is_wrong():
    targets = torch.tensor([[[0.1, 0.1, 0.5, 0.5, 2.0], [0.6, 0.6, 0.9, 0.9, 1.0]]])
    twice = Detections(targets[0, [0, 0], :4], torch.tensor([0.9, 0.8]), torch.tensor([2, 2]))
    assert average_precision([twice], targets, 2) == 1.0
    # Class 1 has an object and no detection.
    assert mean_average_precision([twice], targets) == 0.5
    wrong_first = Detections(
        torch.stack([targets[0, 1, :4], targets[0, 0, :4]]), torch.tensor([0.9, 0.8]), torch.tensor([2, 2])
    )
    assert average_precision([wrong_first], targets, 2) == 0.5


def test_adaptive_ratios_follow_the_training_set_and_fit_it_better_than_fixed_ones():
    centre = torch.rand(300, 2) * 0.6 + 0.2
    ratio = torch.cat([torch.full((150,), 0.25), torch.full((150,), 3.0)])
    size = torch.stack([0.2 * ratio.sqrt(), 0.2 / ratio.sqrt()], dim=1)
    objects = torch.cat([centre - size / 2, centre + size / 2], dim=1)
    assert adaptive_ratios(objects, 2) == pytest.approx((3.0, 0.25), rel=1e-3)
    assert adaptive_scales(objects, 1) == pytest.approx((0.2,), rel=1e-3)
    fits = [
        overlap(default_boxes((16,), (0.2,), ratios), objects).amax(0).mean()
        for ratios in (FIXED_RATIOS[1:], adaptive_ratios(objects, 2))
    ]
    assert fits[1] > fits[0] + 0.05


def test_default_boxes_lie_around_their_cells_with_their_area_and_ratio():
    found = default_boxes((2,), (0.4,), (1.0, 4.0))
    assert len(found) == 2 * 2 * 2
    sizes = found[:, 2:] - found[:, :2]
    torch.testing.assert_close(sizes.prod(1), torch.full((8,), 0.16))
    torch.testing.assert_close(sizes[1::2, 0] / sizes[1::2, 1], torch.full((4,), 4.0))
    torch.testing.assert_close((found[4:6, :2] + found[4:6, 2:]) / 2, torch.tensor([[0.25, 0.75]] * 2))


def test_the_scenes_hold_their_objects_where_the_boxes_say_and_are_the_same_again():
    made, again = scenes(48, 12, 4, "digits"), scenes(48, 12, 4, "digits")
    assert torch.equal(made.train_pixels, again.train_pixels)
    assert torch.equal(made.train_objects, again.train_objects)
    assert made.train_pixels.shape == (12, 3, 48, 48)
    # Higher than wide, as the rule of the ratios has it (2 ** -1.1 in the mean).
    sizes = made.train_boxes[:, 2:] - made.train_boxes[:, :2]
    assert float((sizes[:, 0] / sizes[:, 1]).log2().mean()) == pytest.approx(-1.1, abs=0.3)
    assert (made.train_boxes >= 0).all()
    assert (made.train_boxes <= 1).all()
    # Photographs are darkened to 153 at most; objects shine.
    for pixels, objects in zip(made.train_pixels, made.train_objects, strict=True):
        for x1, y1, x2, y2, number in objects.tolist():
            if number != EMPTY:
                inside = pixels[:, round(y1 * 48) : round(y2 * 48), round(x1 * 48) : round(x2 * 48)]
                assert inside.amax() > 153
    with pytest.raises(WorkloadError, match="need 32 pixels"):
        scenes(16, 1, 1)


def test_the_detectors_have_a_value_for_every_default_box_and_the_published_size():
    with torch.device("meta"):
        full = Ssd300()
    assert sum(parameter.numel() for parameter in full.parameters()) == 26_285_486
    assert full(torch.zeros(1, 3, 300, 300, device="meta")).shape == (1, 8732, 25)
    # Model zoos give 31.4 GMAC with 21 classes.
    assert network_of(full, torch.zeros(1, 3, 300, 300)).macs / 1e9 == pytest.approx(31.4, abs=0.1)
    defaults = default_boxes(MINI_CELLS, FIXED_SCALES, FIXED_RATIOS)
    model = SsdMini(10, len(FIXED_RATIOS), 0.25).eval()
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, len(defaults), 15)
    # The last value of the last cell belongs to the last box.
    nn.init.zeros_(model.heads[-1].weight)
    with torch.no_grad():
        model.heads[-1].bias.copy_(torch.arange(45.0))
    assert model(torch.zeros(1, 3, 64, 64))[0, -1].tolist() == list(range(30, 45))


def test_an_ensemble_pools_the_boxes_of_its_members_and_clustering_shares_the_detector():
    members = smoke_run("ssd-ensemble").model
    assert isinstance(members, nn.ModuleList)
    x = torch.randn(2, 3, 64, 64)
    together = all_boxes(list(members), x)
    assert torch.equal(together[:, : together.shape[1] // 2], members[0](x))
    assert not torch.equal(members[0].heads[0].weight, members[1].heads[0].weight)
    plain, clustered = smoke_run("ssd"), smoke_run("ssd-clustering")
    assert [phase.losses for phase in plain.record.phases] == [phase.losses for phase in clustered.record.phases]
    assert [score.phase for score in clustered.record.scores] == ["non-maximum suppression", "clustering"]
