"""Estimates: sums over a step's operators, what the host costs, and frames that add up."""

import pytest

from simhw.errors import ShapeError
from simhw.roofline.device import load_device
from simhw.roofline.estimate import StepEstimate, estimate
from simhw.roofline.layers.network import (
    Conv,
    Embedding,
    Linear,
    Network,
    NetworkLayer,
    Normalization,
    Pointwise,
    Weight,
)
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.operators import Gemm
from simhw.roofline.predict import predict
from simhw.roofline.step.run import Mode, Run
from simhw.roofline.step.step import step

DEVICES = ("v100", "ascend910", "ascend310")


def small_network() -> Network:
    layers = [Conv("stem", 3, 32, (16, 16), (3, 3), (1, 1), (1, 1), (1, 1))]
    for index in range(2):
        layers.append(Conv(f"conv{index}", 32, 32, (16, 16), (3, 3), (1, 1), (1, 1), (1, 1)))
    body = [each for layer in layers for each in (layer, Normalization(f"{layer.name}.bn", "batchnorm", 32, 32 * 256))]
    return Network("small", (*body, Pointwise("relu", "relu", 32 * 256), Linear("fc", 32 * 256, 10)))


def made(device: str = "v100", **run: object) -> StepEstimate:
    options: dict[str, object] = {"batch": 8, "precision": "amp"} | run
    return estimate(small_network(), load_device(device), Run(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("device", DEVICES)
def test_step_is_the_sum_of_its_operators_each_as_predicted_alone(device: str) -> None:
    found = made(device)
    work = step(found.network, found.run)
    assert [each for each, _ in found.work] == work
    alone = [predict(each.operator, found.device) for each in work]
    assert [prediction for _, prediction in found.work] == alone
    assert found.device_s == pytest.approx(sum(each.seconds for each in alone))
    assert found.samples_per_s == pytest.approx(8 / found.seconds)


def test_slower_of_host_and_device_decides() -> None:
    found = made()
    assert found.host_s > 0
    assert found.seconds == max(found.device_s, found.host_s)
    # A large batch keeps the device busier than the host.
    large = made(batch=4096)
    assert large.host_s == pytest.approx(found.host_s)
    assert large.seconds == large.device_s


@pytest.mark.parametrize("device", DEVICES)
def test_frame_adds_up_and_every_energy_lies_between_its_ends(device: str) -> None:
    found = made(device)
    frame = found.frame
    assert len(frame) == len(found.work)
    assert frame["seconds"].sum() == pytest.approx(found.device_s)
    assert frame["flops"].sum() == pytest.approx(sum(each.operator.flops for each, _ in found.work))
    assert frame["energy_j"].sum() == pytest.approx(found.energy_j.mid)
    assert (frame["energy_low_j"] <= frame["energy_j"]).all()
    assert (frame["energy_j"] <= frame["energy_high_j"]).all()
    assert frame["utilisation"].between(0, 1).all()
    assert set(frame["limit"]) <= {"matrix", "vector", "dram", "l2", "buffer", "launch"}


@pytest.mark.parametrize("device", DEVICES)
def test_training_takes_longer_than_inference_and_a_larger_batch_less_per_sample(device: str) -> None:
    training, inference = made(device), made(device, mode="inference", precision="fp16")
    assert training.device_s > 2 * inference.device_s
    assert made(device, batch=256).device_s / 256 < training.device_s / 8


def test_product_at_the_peak_is_bound_by_the_matrix_unit_and_a_tiny_one_by_its_launch() -> None:
    v100 = load_device("v100")
    assert predict(Gemm(8192, 8192, 8192), v100).limit == "matrix"
    assert predict(Gemm(8, 8, 8), v100).limit == "launch"


# --- what is refused, and what is said ---


@pytest.mark.parametrize(
    ("layers", "mode", "words"),
    [
        ((), "inference", "no layers, so that there is nothing to predict"),
        ((Weight("w", 5),), "inference", "no layer that does any work in inference"),
        (
            (Linear("fc", 10**9, 10**9, rows=10**3),),
            "inference",
            r"layer 'fc' has 1e\+21 multiply-accumulates at batch 1",
        ),
        ((Pointwise("r", "relu", 10**12, 10**12),), "inference", r"layer 'r' has 1e\+24 values at batch 1"),
        ((Embedding("e", 10**12, 10**12, 1),), "training", r"layer 'e' has 1e\+24 parameters"),
    ],
)
def test_what_cannot_be_predicted_is_said(layers: tuple[NetworkLayer, ...], mode: Mode, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        estimate(Network("net", layers), load_device("v100"), Run(1, mode, "fp32"))


def test_batches_are_counted_in_64_bits() -> None:
    network = Network("net", (Linear("fc", 2**20, 2**20),))
    assert estimate(network, load_device("v100"), Run(2**22, "inference", "fp32")).seconds > 0
    with pytest.raises(ShapeError, match="layer 'fc' has"):  # 2^20 x 2^20 x 2^23 products
        estimate(network, load_device("v100"), Run(2**23, "inference", "fp32"))
    for batch in (0, -1, 2**63, 10**30):
        with pytest.raises(ShapeError, match="batch is"):
            Run(batch, "inference", "fp32")


def test_training_on_a_device_that_only_infers_is_cautioned() -> None:
    network = Network("net", (Linear("fc", 8, 8),))
    device = load_device("ascend310")
    assert estimate(network, device, Run(1, "inference", "fp16")).cautions == ()
    (caution,) = estimate(network, device, Run(1, "training", "fp16")).cautions
    assert caution.startswith("ascend310 is sold for inference alone")
    assert estimate(network, load_device("ascend910"), Run(1, "training", "fp16")).cautions == ()


def test_a_batch_that_the_memory_cannot_hold_is_cautioned_with_the_arithmetic() -> None:
    resnet = load_network("resnet50")
    (caution,) = estimate(resnet, load_device("v100"), Run(2048, "training", "fp32")).cautions
    assert caution == (
        "does not fit at batch 2048: weights 0.102 + gradients 0.102 + states 0.102 + activations 183 = 184 GB, and "
        "v100 has 34.4 GB; work space comes on top"
    )
    assert estimate(resnet, load_device("v100"), Run(128, "training", "fp32")).cautions == ()
