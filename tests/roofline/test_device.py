"""Devices: every constant with a source, overrides by name, and what cannot be loaded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simhw.errors import MachineError
from simhw.machine.dotted import leaf_names
from simhw.machine.files import validated
from simhw.machine.names import device_names
from simhw.roofline.ascend.values import AscendValues
from simhw.roofline.device import Device, load_device, parse_device
from simhw.roofline.estimate import estimate
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.operators import Gemm
from simhw.roofline.predict import predict
from simhw.roofline.step.run import Run

UNSOURCED = {"kind", "name", "description"}


@pytest.mark.parametrize("name", ["v100", "v100-pcie", "h200", "ascend910", "ascend310"])
def test_every_constant_of_a_device_has_a_source(name: str) -> None:
    device = load_device(name)
    constants = set(leaf_names(device.values.model_dump(exclude_defaults=True))) - UNSOURCED
    assert len(constants) > 20
    assert constants <= set(device.provenance), "constants without a source"


def test_shipped_devices_are_listed() -> None:
    assert set(device_names()) >= {"v100", "v100-pcie", "ascend910", "ascend310"}


def test_boards_differ_in_clock_alone_and_have_the_published_peaks() -> None:
    sxm, pcie = load_device("v100").values, load_device("v100-pcie").values
    assert isinstance(sxm, GpuValues)
    assert isinstance(pcie, GpuValues)
    # Spec page roofline.md, section 1: 15.7 and 14.0 TFLOP/s in fp32, 125 and 112 in fp16 (tensor cores).
    assert sxm.hardware.matrix_flops_per_s("fp32") == pytest.approx(15.7e12, rel=0.01)
    assert sxm.hardware.matrix_flops_per_s("fp16") == pytest.approx(125e12, rel=0.01)
    assert pcie.hardware.matrix_flops_per_s("fp32") == pytest.approx(14.0e12, rel=0.015)
    assert pcie.hardware.matrix_flops_per_s("fp16") == pytest.approx(112e12, rel=0.015)
    assert sxm.hardware.model_dump(exclude={"clock_hz"}) == pcie.hardware.model_dump(exclude={"clock_hz"})


def test_override_changes_label_hash_and_provenance() -> None:
    device = parse_device("v100:sms=40")
    assert isinstance(device.values, GpuValues)
    assert device.values.hardware.sms == 40
    assert device.label == "v100:hardware.sms=40"
    assert device.content_hash != load_device("v100").content_hash
    assert device.provenance["hardware.sms"].source == "set by the user"


def test_device_of_ones_own_extends_a_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        'extends: devices/v100\nname: mine\nhardware: {sms: {value: 60, source: "a guess", confidence: 0.1}}\n'
    )
    device = load_device(path)
    assert (device.name, device.values.hardware.sms) == ("mine", 60)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v1000", "no device 'v1000': give the path of a .yaml file or one of ascend310, ascend910"),
        ("fpraker", "no device 'fpraker'"),
        ("v100:nothing=3", "no value 'nothing'"),
        ("v100:sms=many", "hardware.sms"),
        ("v100:sms=0", "hardware.sms"),
    ],
)
def test_what_is_no_device_is_refused(text: str, words: str) -> None:
    with pytest.raises(MachineError, match=words):
        parse_device(text)


def test_machine_file_is_no_device_file(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("extends: fpraker\nname: mine\n")
    with pytest.raises(MachineError, match="kind is None; known are gpu, ascend"):
        load_device(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("extends: devices/ascend310\nhardware: {l0c_bytes: 7}\n", "l0c_bytes must hold two fractals, 2,048 bytes"),
        ("extends: devices/ascend310\nhardware: {cores: 100000}\n", "less than or equal to 65536"),
        ("extends: devices/v100\nkind: {}\n", "kind is {}; known are gpu, ascend"),
        ("extends: devices/v100\nhardware: {sms: 1e300}\n", "hardware.sms: Input should be a valid integer"),
        ("extends: devices/v100\nhardware: {clock_hz: 1e300}\n", "less than or equal to"),
    ],
)
def test_device_that_no_operator_could_run_on_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MachineError, match=says):
        load_device(path)


def test_table_without_one_kind_of_number_is_refused() -> None:
    values = load_device("ascend310").values.model_dump()
    del values["power"]["cube_pj_per_flop"]["fp16"]
    with pytest.raises(MachineError, match=r"power.cube_pj_per_flop needs an entry for fp16"):
        validated(AscendValues, values, "mine")


def test_a_device_predicts_in_numbers_once_every_table_of_its_file_has_them() -> None:
    v100 = load_device("v100")
    gemm = Gemm(512, 512, 512, number="bf16")
    with pytest.raises(MachineError, match="v100 has no rates for bf16, only for fp32, fp16, int8"):
        predict(gemm, v100)
    values = with_bf16(v100.values.model_dump())
    ours = Device(validated(GpuValues, values, "ours"), {}, {})
    # As fast as fp16, whose entries it took over.
    assert predict(gemm, ours).seconds == predict(replace(gemm, number="fp16"), v100).seconds
    network = load_network("resnet18")
    mixed, amp = (estimate(network, ours, Run(8, precision=precision)) for precision in ("bf16-amp", "amp"))
    # But for loss scaling, a kernel of the update, which bf16 needs not.
    unscaled = [each for _, each in amp.work if getattr(each.operator, "name", "") != "unscale"]
    assert len(unscaled) == len(amp.work) - 1
    assert [each.seconds for _, each in mixed.work] == [each.seconds for each in unscaled]


def with_bf16(table: Any) -> Any:
    """Tables of a device's file in which bf16 costs what fp16 costs."""
    if not isinstance(table, dict):
        return table
    found = {name: with_bf16(inner) for name, inner in table.items()}
    return found | {"bf16": found["fp16"]} if "fp16" in found else found


def test_a_number_that_some_tables_of_a_device_lack_is_refused() -> None:
    values = with_bf16(load_device("v100").values.model_dump())
    del values["recurrent"]["chains"]["bf16"]
    with pytest.raises(MachineError, match=r"ours: recurrent\.chains needs an entry for bf16"):
        validated(GpuValues, values, "ours")
    values = load_device("v100").values.model_dump()
    values["gemm"]["kernels"]["bf16"] = values["gemm"]["kernels"]["fp16"]
    with pytest.raises(MachineError, match=r"gemm\.kernels has an entry that the hardware's peaks lack: bf16"):
        validated(GpuValues, values, "ours")
