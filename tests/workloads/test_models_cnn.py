"""Convolutional networks and perceptrons of the workloads: published sizes, small inputs, learning, and capture by
shape and by value.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw.roofline.compression.variants import merged, vanilla
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Conv, Network
from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.models.alexnet import alexnet
from simhw_workloads.models.densenet import densenet121
from simhw_workloads.models.mlp import mlp
from simhw_workloads.models.resnet import resnet18, resnet50, resnet101, resnet152
from simhw_workloads.models.resnet9 import GhostBatchNorm, haet_resnet9, resnet9, whiten
from simhw_workloads.models.squeezenet import squeezenet1_1
from simhw_workloads.models.vgg import vgg16
from simhw_workloads.models.width import scaled
from tests.captured_steps import ALL, captured


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def vgg16_bn(**sizes: object) -> nn.Module:
    return vgg16(bn=True, **sizes)  # type: ignore[arg-type]


IMAGENET: dict[str, tuple[Callable[..., nn.Module], int, float]] = {
    # Parameters at 1000 classes and GMAC at 3 x 224 x 224, as model zoos publish them.
    "resnet18": (resnet18, 11_689_512, 1.81),
    "resnet50": (resnet50, 25_557_032, 4.09),
    "resnet101": (resnet101, 44_549_160, 7.80),
    "resnet152": (resnet152, 60_192_808, 11.51),
    "vgg16": (vgg16, 138_357_544, 15.47),
    "vgg16_bn": (vgg16_bn, 138_365_992, 15.47),
    "squeezenet1_1": (squeezenet1_1, 1_235_496, 0.35),
    "alexnet": (alexnet, 61_100_840, 0.71),
    "densenet121": (densenet121, 7_978_856, 2.83),
}
SMALL: dict[str, Callable[[], nn.Module]] = {
    # One for each definition, as narrow as still learns, for grey images.
    "resnet18": lambda: resnet18(10, 0.125, 1, small_input=True),
    "resnet50": lambda: resnet50(10, 0.125, 1, small_input=True),
    "vgg16": lambda: vgg16(10, 0.125, 1, small_input=True),
    "vgg16_bn": lambda: vgg16(10, 0.125, 1, small_input=True, bn=True),
    "squeezenet1_1": lambda: squeezenet1_1(10, 0.25, 1, small_input=True),
    "alexnet": lambda: alexnet(10, 0.125, 1, small_input=True),
    "densenet121": lambda: densenet121(10, 0.25, 1, small_input=True),
    "resnet9": lambda: resnet9(0.125, 10, 1),
    "haet_resnet9": lambda: haet_resnet9(0.125, 10, 1, ghost=4),
    "mlp": lambda: mlp(32, hidden=(64, 32)),
}


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def network(build: Callable[[], nn.Module], *shape: int, train: bool = False) -> Network:
    with torch.device("meta"):
        model = build().train(train)
    return network_of(model, torch.empty(1, *shape))


def products_of(model: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


# Published sizes


@pytest.mark.parametrize("name", IMAGENET)
def test_a_full_size_model_has_the_published_parameters_and_arithmetic(name: str) -> None:
    build, parameters, gmacs = IMAGENET[name]
    seen = network(build, 3, 224, 224)
    with torch.device("meta"):
        assert size(build()) == parameters
    assert seen.parameters == parameters
    assert seen.macs / 1e9 == pytest.approx(gmacs, abs=0.005)


def test_resnet9_has_the_published_parameters() -> None:
    # Page's 6,573,120.  The contest's stem has 27 x 27 + 27 x 64 weights where the plain one has 27 x 64.
    with torch.device("meta"):
        assert size(resnet9()) == 6_573_120
        assert size(haet_resnet9()) == 6_573_120 + 27 * 27
    plain, contest = (network(build, 3, 32, 32) for build in (resnet9, haet_resnet9))
    assert contest.macs - plain.macs == 32 * 32 * 27 * 27


def test_the_perceptron_is_lenet_300_100() -> None:
    assert size(mlp()) == 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_low_rank_variants_of_our_resnets_are_those_of_the_shipped_lists(depth: int) -> None:
    build = {50: resnet50, 101: resnet101, 152: resnet152}[depth]
    ours, shipped = network(build, 3, 224, 224), load_network(f"resnet{depth}")
    assert round(100 * (vanilla(ours).macs / ours.macs - 1), 1) == {50: -42.9, 101: -46.4, 152: -47.7}[depth]
    for variant in (vanilla, merged):
        assert (variant(ours).macs, variant(ours).parameters) == (variant(shipped).macs, variant(shipped).parameters)


# Width and small images


def test_every_channel_count_is_scaled_to_a_multiple_of_four_of_at_least_four() -> None:
    assert [scaled(64, width) for width in (1.0, 0.5, 0.1, 0.01)] == [64, 32, 8, 4]
    for name, build in IMAGENET.items():
        with torch.device("meta"):
            wide, narrow = build[0](), build[0](width=0.25, classes=10)
        pairs = list(zip(products_of(wide).values(), products_of(narrow).values(), strict=True))
        for one, other in pairs[:-1]:
            outputs, fewer = one.weight.shape[0], other.weight.shape[0]
            # DenseNet's transitions halve a sum of multiples of 4.
            assert fewer % (2 if name == "densenet121" else 4) == 0
            assert fewer == pytest.approx(outputs / 4, abs=2)


@pytest.mark.parametrize("name", SMALL)
def test_models_take_images_of_28_to_64_pixels(name: str) -> None:
    for pixels in (32,) if name == "mlp" else (28, 32, 64):
        with torch.device("meta"):
            assert SMALL[name]()(torch.empty(3, 1, pixels, pixels)).shape == (3, 10)


@pytest.mark.parametrize(
    ("build", "name", "positions"),
    [
        (resnet18, "conv1", 32),
        (densenet121, "features.conv0", 32),
        (alexnet, "0", 32),
        (squeezenet1_1, "0", 32),
        (vgg16, "features.28", 2),
    ],
)
def test_a_small_input_s_early_layers_keep_its_positions(
    build: Callable[..., nn.Module], name: str, positions: int
) -> None:
    seen = network(lambda: build(10, 0.1, 1, small_input=True), 1, 32, 32)
    (layer,) = (layer for layer in seen.layers if layer.name == name)
    assert isinstance(layer, Conv)
    assert layer.out_size == (positions, positions)


# Learning and capture


def trained(model: nn.Module, steps: int) -> list[float]:
    """Losses of full-batch steps on eight images; dropout is off, so that steps can be compared."""
    x, y = torch.randn(8, 1, 32, 32), torch.arange(8)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(x), y)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return losses


@pytest.mark.parametrize("name", SMALL)
def test_training_steps_lower_the_loss(name: str) -> None:
    model = SMALL[name]()
    if name == "haet_resnet9":
        whiten(model, torch.randn(8, 1, 32, 32))  # type: ignore[arg-type]
    # SqueezeNet's last weights start near zero.
    losses = trained(model, 30 if name == "squeezenet1_1" else 12)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", SMALL)
def test_a_captured_step_has_every_layer_with_its_operations(name: str, tmp_path: Path) -> None:
    model, x = SMALL[name](), torch.randn(2, 1, 32, 32)
    trace = captured(model, lambda: model(x).logsumexp(1).sum().backward(), tmp_path)
    expected = products_of(model)
    assert sorted(layer.name for layer in trace.layers) == sorted(expected)
    contest = name == "haet_resnet9"
    for layer in trace.layers:
        assert layer.shapes["w"] == tuple(expected[layer.name].weight.shape)
        if contest and layer.name == "stem.0":
            assert layer.operations == ("forward",)
        elif layer.name == ("stem.1" if contest else next(iter(expected))):
            # The images need no gradient, and what does not learn passes none on to them.
            assert layer.operations == ("forward", "weight_grad")
        else:
            assert layer.operations == ALL


# ResNet-9's stem and normalisation


def natural(channels: int) -> Tensor:
    """Images whose neighbouring pixels are alike: noise, blurred, with channels that differ in strength."""
    images = nn.functional.avg_pool2d(torch.randn(64, channels, 40, 40), 3, 1)
    return images * torch.arange(1, channels + 1).view(1, -1, 1, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_are_uncorrelated_with_variance_one_up_to_the_regulariser(channels: int) -> None:
    model, images = haet_resnet9(0.125, channels=channels), natural(channels)
    whiten(model, images)
    layer = model.stem[0]
    assert layer.weight.shape == (9 * channels, channels, 3, 3)
    with torch.no_grad():
        outputs = nn.functional.conv2d(images, layer.weight).transpose(0, 1).flatten(1)
    covariance = torch.cov(outputs.double())
    patches = nn.functional.unfold(images, 3).transpose(0, 1).flatten(1)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(patches.double())).flip(0)
    # An output along an eigenvector of eigenvalue v, over sqrt(v + 0.01), has variance v / (v + 0.01).
    torch.testing.assert_close(covariance, torch.diag(eigenvalues / (eigenvalues + 1e-2)), atol=1e-4, rtol=1e-4)
    assert covariance[0, 0] == pytest.approx(1, abs=0.02)


def test_the_whitening_layer_never_learns() -> None:
    model = haet_resnet9(0.125, channels=1, ghost=4)
    whiten(model, natural(1))
    before = model.stem[0].weight.clone()
    trained(model, 2)
    assert torch.equal(model.stem[0].weight, before)
    assert model.stem[0].weight.grad is None


def test_whitening_refuses_a_plain_model_and_other_channels() -> None:
    with pytest.raises(WorkloadError, match="no whitening layer; build it with haet_resnet9"):
        whiten(resnet9(0.125), natural(3))
    with pytest.raises(WorkloadError, match="images of 1 channels for a whitening layer of 3"):
        whiten(haet_resnet9(0.125), natural(1))


def test_ghost_batch_norm_is_batch_norm_of_each_group_by_itself() -> None:
    ghost, x = GhostBatchNorm(6, ghost=4), torch.randn(10, 6, 5, 5) * 3 + 2
    outputs = ghost(x)
    for group, output in zip(x.split(4), outputs.split(4), strict=True):
        torch.testing.assert_close(
            output, nn.functional.batch_norm(group, None, None, ghost.weight, ghost.bias, training=True)
        )
    assert not torch.allclose(
        outputs, nn.functional.batch_norm(x, None, None, ghost.weight, ghost.bias, training=True), atol=1e-2
    )


def test_ghost_batch_norm_evaluates_with_its_running_statistics() -> None:
    ghost, plain, x = GhostBatchNorm(6, ghost=4), nn.BatchNorm2d(6), torch.randn(8, 6, 5, 5) * 3 + 2
    ghost(x)
    for group in x.split(4):
        plain(group)
    torch.testing.assert_close(ghost.running_mean, plain.running_mean)
    torch.testing.assert_close(ghost.eval()(x), plain.eval()(x))
    # Two moves by a tenth of the way, from 0 towards the groups' means near 2.
    assert ghost.running_mean.mean().item() == pytest.approx(2 * (1 - 0.9**2), rel=0.15)


def test_celu_leaves_no_zeros_where_relu_leaves_many() -> None:
    x, zeros = torch.randn(8, 1, 32, 32), []
    for model in (resnet9(0.125, channels=1), haet_resnet9(0.125, channels=1)):
        seen: list[Tensor] = []
        model.layer1[0].register_forward_pre_hook(lambda _m, inputs, seen=seen: seen.append(inputs[0]))
        model(x)
        zeros.append((seen[0] == 0).float().mean().item())
    # Batch norm leaves about half of the values below zero.
    assert zeros[0] == pytest.approx(0.5, abs=0.1)
    assert zeros[1] == 0
