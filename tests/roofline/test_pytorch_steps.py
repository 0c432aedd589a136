"""Whole steps measured in PyTorch: networks by shape, costs of the framework and of power, and what no fit saw."""

from functools import cache
from pathlib import Path

import pytest

from simhw.errors import ShapeError, SimhwError
from simhw.report.roofline_tables import estimate_facts
from simhw.roofline.calibration.pytorch import host, power
from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.calibration.pytorch.step_kernels import matched, read_profiles
from simhw.roofline.calibration.pytorch.steps import MeasuredStep, measured_network, read_steps
from simhw.roofline.calibration.pytorch.whole_steps import scores
from simhw.roofline.device import load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.layers.network import Linear, Network, Pointwise
from simhw.roofline.layers.parameters import multiplied_tensors, parameter_tensors
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.operators import Streaming
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import step
from tests.roofline.h200 import DATA, h200, needs_data

DEVICE = load_device("h200")
HEADER = "model,variant,batch,mode,precision,layout,optimiser,parameters,step_ms,power_w,energy_j,graph_ms\n"


@pytest.mark.parametrize(
    ("model", "variant", "parameters"),
    # As counted in PyTorch: column `parameters` of h200_steps.
    [
        ("resnet18", "dense", 11_689_512),
        ("resnet50", "dense", 25_557_032),
        ("resnet50", "vanilla", 14_140_779),
        ("resnet50", "quantised64", 11_754_024),
        ("resnet50", "optimised_v100", 12_399_400),
        ("resnet50", "freezing", 14_140_779),
        ("resnet50", "freezing_quantised64", 11_754_024),
        ("resnet50", "merging", 12_381_864),
        ("resnet50", "branching", 14_137_780),
        ("vit-s", "MHA", 22_050_664),
        ("vit-s", "MQA", 19_093_864),
        ("vit-s", "GQKVA-2.3", 19_093_864),
        ("vit-s", "skipvit-7-10", 22_050_664),
        ("bert-base", "128 tokens", 110_251_240),
    ],
)
def test_networks_have_the_parameters_that_were_measured(model: str, variant: str, parameters: int) -> None:
    network = measured_network(model, variant)
    assert network.parameters == parameters
    assert sum(size for layer in network.layers for size in parameter_tensors(layer)) == parameters


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ShapeError, match="no network 'resnet50' in a variant 'halved'"):
        measured_network("resnet50", "halved")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("resnet50,dense,8,training,fp32,nchw,sgd,25557033,9,,,", "'parameters' is 25557033; .* has 25,557,032"),
        ("resnet50,halved,8,training,fp32,nchw,sgd,,9,,,", "variant 'halved'"),
        ("resnet50,dense,8,guessing,fp32,nchw,sgd,,9,,,", "'mode' is 'guessing'"),
        ("resnet50,dense,8,training,fp12,nchw,sgd,,9,,,", "'precision' is 'fp12'"),
        ("resnet50,dense,8,training,fp32,flat,sgd,,9,,,", "'layout' is 'flat'"),
        ("resnet50,dense,8,training,fp32,nchw,rprop,,9,,,", "'optimiser' is 'rprop'"),
        ("resnet50,dense,8,training,fp32,nchw,sgd,,9,,,0", "'graph_ms' is '0'"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, row: str, says: str) -> None:
    (tmp_path / "mine_steps.csv").write_text(HEADER + row + "\n", encoding="utf-8")
    with pytest.raises(SimhwError, match=f"row 1 .*{says}"):
        read_steps(tmp_path, "mine")


def test_slices_cost_zeros_copies_and_sums_behind_and_nothing_before() -> None:
    layers = (Linear("a", 8, 12, rows=2), Pointwise("cut", "slice", 24, inputs=3), Linear("b", 8, 8))
    work = [each for each in step(Network("cut", layers), Run(4)) if each.layer == "cut"]
    assert [each.phase for each in work] == ["input_grad"] * 8
    moved = {}
    for each in work:
        assert isinstance(each.operator, Streaming)
        moved.setdefault(each.operator.name, []).append(each.operator.dram_bytes)
    # 4 samples of 24 values of 4 bytes: 384; a part is a third, read and written; sums read two wholes and write one.
    assert moved == {"zeros": [384] * 3, "slice_grad": [256] * 3, "gradient_sum": [1152] * 2}


def test_a_graph_divides_each_tensor_by_its_correction_and_by_the_rate() -> None:
    network = Network("two", (Linear("a", 8, 8), Linear("b", 8, 8, bias=False)))
    for launch, dividing in (("eager", 0), ("graph", 2 * 3)):
        work = step(network, Run(4, optimizer="adam", launch=launch))  # type: ignore[arg-type]
        divided = [each.operator for each in work if getattr(each.operator, "name", "") == "divide"]
        assert len(divided) == dividing
        updates = sum(each.operator.dram_bytes for each in work if each.phase == "update")
        assert updates == (80 if launch == "eager" else 88) * network.parameters


def test_tied_weights_are_cast_but_not_updated() -> None:
    tied = Linear("head", 8, 100, bias=True, tied=True)
    assert multiplied_tensors(tied) == (800, 100)
    assert parameter_tensors(tied) == (100,)


def test_the_framework_needs_its_calls_and_a_graph_none() -> None:
    found = h200().host
    assert found is not None
    network = Network("one", (Linear("a", 64, 64, bias=False),))
    eager = estimate(network, DEVICE, Run(4, "inference"))
    assert eager.host_s == pytest.approx(found.step_s + found.forward.product)
    assert eager.seconds == eager.host_s
    assert eager.gaps_s == pytest.approx(found.stream_s)
    graph = estimate(network, DEVICE, Run(4, "inference", launch="graph"))
    assert graph.seconds == graph.device_s < eager.seconds
    idle_j = h200().waiting_w * (eager.seconds - eager.device_s)
    assert eager.energy_j.mid == pytest.approx(graph.energy_j.mid + idle_j)
    assert eager.power_w < h200().power.tdp_w


def test_a_user_sees_whether_the_framework_or_the_device_decides() -> None:
    network = load_network("resnet50")
    small = dict(estimate_facts(estimate(network, DEVICE, Run(8, "training", "bf16-amp"))))
    assert "the framework cannot issue them fast enough" in small["launch"]
    assert "(--launch graph)" in small["launch"]
    large = dict(estimate_facts(estimate(network, DEVICE, Run(256, "training", "fp32"))))
    assert "the device decides" in large["launch"]
    graph = dict(estimate_facts(estimate(network, DEVICE, Run(8, "training", "bf16-amp", launch="graph"))))
    assert "issued one by one" in graph["launch"]


# --- measured ---


@cache
def measured() -> tuple[list[MeasuredStep], list[MeasuredStep]]:
    return halves(read_steps(DATA, "h200"))


@needs_data
def test_no_network_and_batch_is_fitted_and_scored() -> None:
    fitted, scored = measured()
    assert not {each.shape for each in fitted} & {each.shape for each in scored}
    assert (len(fitted), len(scored)) == (61, 57)


@needs_data
def test_batch_norms_of_a_step_are_found_in_the_order_of_its_layers() -> None:
    profiles = read_profiles(DATA, "h200", measured()[0])
    profile = next(each for each in profiles if each.measured.run.layout == "nhwc")
    norms = [row for row in matched(profile, 0.0) if row.kind == "batchnorm of a step"]
    assert len(norms) == 53  # ResNet-50's
    # The first block's shortcut runs before its first convolution: 64 channels of the stem, 256, then 64.
    assert [row.operators[0].rows for row in norms[:3]] == [64, 256, 64]  # type: ignore[union-attr]
    assert norms[1].seconds > 3 * norms[2].seconds


@needs_data
def test_shipped_constants_predict_steps_that_no_fit_saw() -> None:
    limits = {"step, graph": 10, "step, eager": 15, "step, energy": 20}
    found = {score.name: score for score in scores(measured()[1], DEVICE, "h200_steps")}
    assert found.keys() == limits.keys()
    for name, most in limits.items():
        assert found[name].mape < most < found[name].textbook_mape


@needs_data
@pytest.mark.slow
def test_the_fits_give_the_shipped_costs() -> None:
    constants = host.calibrate(DATA, "h200")[0] | power.calibrate(DATA, "h200")[0]
    for name, value in constants.items():
        stated: object = h200()
        for part in name.split("."):
            stated = stated[part] if isinstance(stated, dict) else getattr(stated, part)
        assert isinstance(stated, float)
        assert stated == pytest.approx(value, rel=0.02), name
