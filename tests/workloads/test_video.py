"""Video networks of the workloads: the arithmetic of their layer lists, and units that are the convolutions they say
they are.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw.bfloat16 import is_zero
from simhw.errors import WorkloadError
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Conv
from simhw.roofline.networks.video import VARIANTS, eco_lite, three_dimensional_macs
from simhw_workloads.data.clips import WAYS, moving_digits
from simhw_workloads.models.video import InSeries, Proposed, Pseudo3d, VideoHead, VideoNet, by_frame, unit
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_3d_part_has_the_layers_and_parameters_of_its_layer_list(variant: str):
    with torch.device("meta"):
        head = VideoHead(96, 400, 1.0, variant)
    network, listed = network_of(head, torch.zeros(1, 96, 16, 28, 28)), eco_lite(variant)
    convolutions = [layer for layer in network.layers if isinstance(layer, Conv)]
    expected = [layer for layer in listed.layers if isinstance(layer, Conv) and layer.name.startswith("res")]
    assert sum(layer.macs for layer in convolutions) == three_dimensional_macs(listed)
    assert sorted(layer.macs for layer in convolutions) == sorted(layer.macs for layer in expected)
    parameters = sum(layer.parameters for layer in listed.layers if layer.name.startswith(("res", "fc")))
    assert sum(parameter.numel() for parameter in head.parameters()) == parameters


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("variant", ["r2plus1d", "p3d-a", "rank-1"])
def test_a_chain_without_what_stands_between_is_one_3d_convolution(variant: str, stride: int):
    chain = unit(variant, 4, 6, stride)
    assert isinstance(chain, InSeries)
    parts = [module for module in chain if isinstance(module, nn.Conv3d)]
    kernel = parts[0].weight
    for part in parts[1:]:
        # Behind each other they add their offsets; here every axis is widened by one part only.
        kernel = torch.einsum("oiabc,ijdef->ojadbecf", part.weight, kernel).reshape(
            part.out_channels, 4, *(a * b for a, b in zip(part.kernel_size, kernel.shape[2:], strict=True))
        )
    assert kernel.shape == (6, 4, 3, 3, 3)
    x = torch.randn(2, 4, 4, 6, 8, requires_grad=True)
    inner: Tensor = x
    for part in parts:
        inner = part(inner)
    whole = functional.conv3d(x, kernel, stride=stride, padding=1)
    torch.testing.assert_close(inner, whole, rtol=1e-4, atol=1e-5)
    # The gradients of the factors, too, are those of the whole kernel, through the product that it is.
    learnt, given = [x, *(part.weight for part in parts)], torch.randn_like(whole)
    for ours, theirs in zip(
        torch.autograd.grad(inner, learnt, given), torch.autograd.grad(whole, learnt, given), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("variant", ["p3d-b", "p3d-c"])
def test_pseudo_3d_convolutions_add_space_and_time(variant: str, stride: int):
    module, x = unit(variant, 4, 6, stride), torch.randn(2, 4, 4, 6, 8)
    assert isinstance(module, Pseudo3d)
    space = functional.conv3d(x, module.space.weight, stride=stride, padding=(0, 1, 1))
    if variant == "p3d-b":
        time = functional.conv3d(x, module.time.weight, stride=stride, padding=(1, 0, 0))
    else:
        time = functional.conv3d(space, module.time.weight, padding=(1, 0, 0))
    torch.testing.assert_close(module(x), space + time, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_proposed_units_convolve_frames_as_images_and_positions_over_time(stride: int):
    added, joined, x = (
        Proposed(4, 6, stride, concatenate=False),
        Proposed(4, 6, stride, concatenate=True),
        torch.randn(2, 4, 4, 6, 8),
    )
    joined.load_state_dict(added.state_dict())
    # Frame by frame, then every stride-th frame by a 1x1.
    frames = torch.stack([added.space(x[:, :, t]) for t in range(0, 4, stride)], dim=2)
    if stride > 1:
        frames = functional.conv3d(frames, added.stride.weight[..., None])
    # Position by position over time: of every stride^2-th position in the order of rows.
    flat = x.flatten(3)[..., :: stride * stride]
    time = functional.conv1d(
        flat.permute(0, 3, 1, 2).flatten(0, 1), added.time.weight[..., 0], stride=stride, padding=1
    )
    time = time.unflatten(0, (2, -1)).permute(0, 2, 3, 1).reshape(frames.shape)
    torch.testing.assert_close(added(x), frames + time, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(joined(x), torch.cat([frames, time], dim=1), rtol=1e-4, atol=1e-5)


def test_every_frame_goes_through_the_same_2d_network_by_itself():
    model, clips = VideoNet(len(WAYS), 0.0625, channels=2).eval(), torch.randn(2, 2, 4, 16, 16)
    features = by_frame(model.frame, clips)
    assert features.shape[2:] == (4, 4, 4)
    for frame in range(4):
        torch.testing.assert_close(features[:, :, frame], model.frame(clips[:, :, frame]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_branch_of_every_unit_learns(variant: str):
    model = VideoNet(len(WAYS), 0.0625, variant)
    functional.cross_entropy(model(torch.randn(4, 1, 4, 16, 16)), torch.arange(4)).backward()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not still


def test_a_strided_proposed_unit_convolves_frames_that_it_then_leaves_out():
    """Every other image of its spatial convolution's G is zero: what a 1x1 with a stride of 2 in time does not read."""
    layers = {layer.name: layer for layer in smoke_run("video-prop-add").trace.layers}
    for name in ("head.blocks.2.unit1.space", "head.blocks.4.shortcut.space"):
        images = layers[name].g.reshape(len(layers[name].g), -1)
        assert is_zero(images[1::2]).all()
        assert not is_zero(images[::2]).all(axis=1).any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(WorkloadError, match="no 3D variant 'p3d'; there are conv3d"):
        unit("p3d", 4, 4, 1)
    with pytest.raises(WorkloadError, match="must be multiples of the stride 2"):
        Proposed(4, 4, 2, concatenate=False)(torch.zeros(1, 4, 3, 6, 6))


def test_proposed_networks_run_no_3d_convolution_and_the_others_run_them():
    for name in ("video-prop-add", "video-prop-cat", "video-conv3d", "video-rank1"):
        kinds = {layer.kind for layer in smoke_run(name).trace.layers}
        assert ("conv3d" in kinds) == (not name.startswith("video-prop"))


def test_no_frame_tells_which_way_a_digit_moves_but_two_do():
    task = moving_digits(4, 16, "digits")
    batch = task.rows(torch.arange(64))
    assert batch.inputs.shape == (64, 1, 4, 16, 16)
    for sample in range(64):
        clip = batch.inputs[sample, 0]
        down, right = WAYS[int(batch.targets[sample])]
        # Each frame is the one before it, moved by one or two pixels around the screen.
        moved = [speed for speed in (1, 2) if torch.equal(clip[1], clip[0].roll((speed * down, speed * right), (0, 1)))]
        assert moved
        assert torch.equal(clip[3], clip[0].roll((3 * moved[0] * down, 3 * moved[0] * right), (0, 1)))
    with pytest.raises(WorkloadError, match="clips of 1 frames"):
        moving_digits(1)
