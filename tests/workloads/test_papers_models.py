"""Models of the networks of the papers: what each must be whatever it has learnt."""

import pytest
import torch
from torch import nn

from simhw_workloads.models.captions import GivenWords, ImageToText
from simhw_workloads.models.frozen_norm import FrozenNorm, freeze_norms
from simhw_workloads.models.gated_convolution import GatedConvModel
from simhw_workloads.models.ncf import NeuMf, ncf_movielens
from simhw_workloads.models.pairs import PairClassifier
from simhw_workloads.models.ssd import SsdMini
from simhw_workloads.task import Batch
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


# NCF


def test_ncf_is_a_product_of_factors_beside_layers():
    model = NeuMf(7, 5, factors=3, layers=(8, 6, 4))
    pairs = torch.tensor([[2, 4], [6, 0]])
    (user, item), head = pairs.T, model.head
    deep = model.mlp(torch.cat([model.user.weight[user], model.item.weight[item]], 1))
    product = model.user_factors.weight[user] * model.item_factors.weight[item]
    wanted = product @ head.weight[0, :3] + deep @ head.weight[0, 3:] + head.bias
    torch.testing.assert_close(model(pairs), wanted)
    # Each ReLU layer but the first reads zeros: 8 to 6 to 4.
    assert [tuple(module.weight.shape) for module in model.mlp if isinstance(module, nn.Linear)] == [(6, 8), (4, 6)]


def test_ncf_at_full_size_has_the_published_layers():
    with torch.device("meta"):
        model = ncf_movielens()
    # Two embeddings of 64 and of 128 for each user and film, and layers of 256 to 256 to 128 to 64, and 128 to 1.
    embeddings = (138_493 + 26_744) * (64 + 128)
    layers = 256 * 256 + 256 + 256 * 128 + 128 + 128 * 64 + 64 + 128 + 1
    assert sum(parameter.numel() for parameter in model.parameters()) == embeddings + layers


# Pairs of texts


def test_padding_behind_a_text_changes_nothing():
    model = PairClassifier(30, 8, 6).eval()
    pairs = torch.randint(1, 30, (3, 2, 5))
    padded = torch.cat([pairs, torch.zeros(3, 2, 4, dtype=torch.int64)], dim=2)
    torch.testing.assert_close(model(pairs), model(padded))
    assert not torch.allclose(model(pairs), model(pairs.flip(1)))


def test_a_pair_s_states_are_those_of_pytorch_s_own_lstm():
    model = PairClassifier(30, 8, 6).eval()
    pairs = torch.randint(1, 30, (4, 2, 7))
    lstm = nn.LSTM(6, 6, batch_first=True)
    lstm.load_state_dict({f"{name}_l0": value for name, value in model.cell.state_dict().items()})
    words = torch.relu(model.projection(model.embedding(pairs.flatten(0, 1))))
    states = lstm(words)[1][0][0].reshape(4, -1)
    torch.testing.assert_close(model(pairs), model.head(model.layers(states)))


# Image to text


def writer() -> ImageToText:
    return ImageToText((4, 4, 4, 6), 4, 9, 5, 7, 1, embedding=3)


def test_it_reads_given_words_in_training_and_its_own_in_evaluation():
    model, images = writer(), torch.randn(3, 3, 16, 16)
    model.dropout.p = 0.0
    own = model(images).argmax(2)
    # Given its own words it writes what it writes by itself; given others, the first word alone is the same.
    model.given = own
    assert torch.equal(model(images).argmax(2), own)
    model.given = (own + 1) % 9
    told = model(images)
    model.eval()
    free = model(images)
    assert torch.equal(free.argmax(2), own)
    assert torch.equal(told[:, 0], free[:, 0])
    assert not torch.allclose(told[:, 1], free[:, 1])


def test_a_word_does_not_know_the_words_behind_it():
    model, images = writer(), torch.randn(2, 3, 16, 16)
    model.dropout.p = 0.0
    model.given = torch.randint(9, (2, 7))
    first = model(images)
    model.given = torch.cat([model.given[:, :4], (model.given[:, 4:] + 1) % 9], dim=1)
    second = model(images)
    assert torch.equal(first[:, :5], second[:, :5])
    assert not torch.allclose(first[:, 5], second[:, 5])


def test_it_looks_where_the_state_asks():
    model = writer()
    features, state = torch.randn(2, 4, 6), torch.randn(2, 5)
    with torch.no_grad():
        # All weight on the position whose features go best with the query, as the query grows.
        model.query.weight.mul_(1e4)
        seen = features[torch.arange(2), (features @ model.query(state)[:, :, None])[:, :, 0].argmax(1)]
        wanted = torch.tanh(model.combine(torch.cat([seen, state], dim=1)))
        torch.testing.assert_close(model._looked(features, state), wanted)


def test_the_hook_gives_the_words_of_each_batch_and_takes_them_away():
    run = smoke_run("image-to-text")
    assert isinstance(run.model, ImageToText)
    assert run.model.given is None
    hook, batch = GivenWords(), Batch(torch.zeros(1), torch.tensor([[1, 2]]), torch.tensor([0]))
    assert hook.batch(run.model, batch) is batch
    assert run.model.given is batch.targets
    hook.finish(run.model)
    assert run.model.given is None
