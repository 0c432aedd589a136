"""Estimates: sums over a step's operators, what the host costs, and frames that add up."""

import pytest

from simhw.roofline.device import load_device
from simhw.roofline.estimate import Estimate, estimate
from simhw.roofline.layers import Conv, Linear, Network, Normalization, Pointwise
from simhw.roofline.operators import Gemm
from simhw.roofline.predict import predict
from simhw.roofline.step import Run, step

DEVICES = ("v100", "ascend910", "ascend310")


def small_network() -> Network:
    layers = [Conv("stem", 3, 32, (16, 16), (3, 3), (1, 1), (1, 1), (1, 1))]
    for index in range(2):
        layers.append(Conv(f"conv{index}", 32, 32, (16, 16), (3, 3), (1, 1), (1, 1), (1, 1)))
    body = [each for layer in layers for each in (layer, Normalization(f"{layer.name}.bn", "batchnorm", 32, 32 * 256))]
    return Network("small", (*body, Pointwise("relu", "relu", 32 * 256), Linear("fc", 32 * 256, 10)))


def made(device: str = "v100", **run: object) -> Estimate:
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
