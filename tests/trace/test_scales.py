"""Scales of quantised training: they stand beside a layer's integers, and no product changes by them."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from simhw import Layer, Trace, load_trace
from simhw.cli import main
from simhw.errors import ShapeError, TraceError
from simhw.lowering.sample import sample_trace
from simhw.simulation.api import simulate
from simhw.trace.metadata import Metadata
from tests.trace_files import convolution, small_trace, values, with_metadata

SCALES = {"a": 0.4, "w": 0.0625, "g": 40.0}


def linear(**options: object) -> Layer:
    return Layer("fc", "linear", a=values(4, 40, 72), w=values(5, 24, 72), g=values(6, 40, 24), **options)  # type: ignore[arg-type]


def scaled_trace() -> Trace:
    return Trace([convolution(), linear(scales=SCALES)], Metadata(batch=2))


def test_scales_come_back_from_a_file_and_from_its_sample(tmp_path: Path) -> None:
    scaled_trace().save(tmp_path / "t.npz")
    whole = load_trace(tmp_path / "t.npz")
    sample_trace(whole, 100_000, seed=0).save(tmp_path / "sample.npz", compress=True)
    for trace in (whole, load_trace(tmp_path / "sample.npz")):
        assert [layer.scales for layer in trace.layers] == [{}, SCALES]


def test_a_file_without_scales_is_as_it_was_before_there_were_any(tmp_path: Path) -> None:
    for trace, has in ((small_trace(), False), (scaled_trace(), True)):
        trace.save(tmp_path / "t.npz")
        with ZipFile(tmp_path / "t.npz") as file:
            assert (b'"scale"' in file.read("metadata.json")) == has


def test_a_scale_changes_nothing_that_a_machine_does() -> None:
    plain, scaled = (simulate(Trace([linear(scales=scales)]), "fpraker") for scales in (None, SCALES))
    for one, other in zip(plain.operations, scaled.operations, strict=True):
        assert (one.cycles, one.baseline_cycles) == (other.cycles, other.baseline_cycles)
    assert plain.total.overall.cycles == scaled.total.overall.cycles


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), True, "1", None])
def test_a_scale_is_a_positive_number(scale: object) -> None:
    with pytest.raises(ShapeError, match=r"layer 'fc': the scale of W is .*; give a positive number"):
        linear(scales={"w": scale})


def test_scales_are_of_the_three_tensors() -> None:
    with pytest.raises(ShapeError, match="layer 'fc', scales has unknown keys"):
        linear(scales={"b": 1.0})


@pytest.mark.parametrize("scale", [0, -0.5, "1", True, 10**400])
def test_a_forged_scale_is_refused(scale: object, tmp_path: Path) -> None:
    scaled_trace().save(tmp_path / "t.npz")
    forged = with_metadata(
        tmp_path / "t.npz", lambda record: record["layers"][1]["tensors"]["a"].update({"scale": scale})
    )
    with pytest.raises(TraceError, match=r"bad.npz: metadata.json: layers.1.tensors.a.scale"):
        load_trace(forged)


def test_scales_are_shown_where_there_are_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for trace, shown in ((scaled_trace(), True), (small_trace(), False)):
        trace.save(tmp_path / "t.npz")
        assert main(["trace", "info", str(tmp_path / "t.npz")]) == 0
        assert ("A 0.4, W 0.0625, G 40" in capsys.readouterr().out) == shown
