"""Models of the networks of the papers: what each must be whatever it has learnt."""

import pytest
import torch
from torch import nn

from simhw_workloads.models.frozen_norm import FrozenNorm, freeze_norms
from simhw_workloads.models.gated_convolution import GatedConvModel
from simhw_workloads.models.ssd import SsdMini
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


# Gated convolutions


def test_gated_convolutions_see_their_past_and_not_the_next_token():
    model = GatedConvModel(11, 8, 6, 3, kernel=4).eval()
    tokens = torch.randint(11, (2, 20))
    changed = tokens.clone()
    changed[:, 12] = (changed[:, 12] + 1) % 11
    same = (model(tokens) == model(changed)).all(2).all(0)
    # Three layers of four places each see nine back: 12 to 21.
    assert same.tolist() == [place < 12 for place in range(20)]
    far = tokens.clone()
    far[:, 2] = (far[:, 2] + 1) % 11
    assert (model(tokens) == model(far)).all(2).all(0).tolist() == [not 2 <= place <= 11 for place in range(20)]


# Frozen norms


def test_a_frozen_norm_does_what_its_batch_norm_does_in_evaluation():
    norm, x = nn.BatchNorm2d(5), torch.randn(4, 5, 3, 3) * 3 + 1
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    for _ in range(3):
        norm(x)
    torch.testing.assert_close(FrozenNorm(norm)(x), norm.eval()(x))


def test_freezing_leaves_no_batch_norm_and_no_parameter_of_one():
    model = SsdMini(3, 2, 0.25)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    names = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert freeze_norms(model) == norms == 7
    assert {name.rpartition(".")[0] for name, _ in model.named_parameters()} == names
    assert freeze_norms(model) == 0


def test_the_detector_learns_with_norms_as_the_classifier_left_them():
    run = smoke_run("detector-frozen")
    assert run.record.notes == {"frozen_norms": 7}
    assert [score.phase for score in run.record.scores] == ["classify", "detect"]
    assert not [module for module in run.model.modules() if isinstance(module, nn.BatchNorm2d)]
    # Statistics that have seen images are not those of a new batch norm, a factor of 1 and a shift of 0.
    frozen = next(module for module in run.model.modules() if isinstance(module, FrozenNorm))
    assert not torch.allclose(frozen.scale, torch.ones_like(frozen.scale), atol=1e-3)
