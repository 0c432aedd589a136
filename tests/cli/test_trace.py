"""`simhw trace`: what its commands print, write and refuse."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simhw import Layer, Trace, load_trace
from simhw.cli import main
from simhw.cli.trace import size_in_bytes
from simhw.report.trace_plots import trace_figure
from simhw.report.trace_tables import exponent_percentile, statistics_frame
from simhw.trace.metadata import Metadata
from simhw.trace.reader import trace_hash
from tests.trace_files import convolution, patched, sampled_trace, small_trace, values, with_metadata


@pytest.fixture(autouse=True)
def good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    small_trace().save(tmp_path / "good.npz")
    return tmp_path / "good.npz"


def run(*arguments: str) -> int:
    return main(["trace", *arguments])


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that the command leaves on standard error with exit code 2."""
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("simhw: ")
    return lines[0]


def test_info_tells_origin_and_layers(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "good") == 0
    text = capsys.readouterr().out
    for word in (
        "cnn",
        "digits",
        "torch 2.13.0",
        "simhw capture ...",
        "loss",
        "0.5",
        trace_hash(good),
        "2, whole tensors",
    ):
        assert word in text
    (row,) = [line for line in text.splitlines() if line.strip().startswith("conv ")]
    assert row.split() == [
        "conv",
        "conv2d",
        "stride",
        "2x2,",
        "padding",
        "1x1",
        "2x3x6x6",
        "4x3x3x3",
        "2x4x3x3",
        "all",
        "three",
        "AWG",
    ]
    assert "forward, weight_grad" in text


def test_info_of_a_sample_counts_its_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    sampled_trace().save("sample.npz")
    assert run("info", "sample.npz") == 0
    text = capsys.readouterr().out
    assert "1, sampled" in text
    assert "2 blocks" in text
    assert "40x70" in text  # the population's shape


def test_info_does_not_let_a_file_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Trace([convolution("net[red]x[/red]")], Metadata(model="\x1b[31mred")).save("evil.npz")
    assert run("info", "evil.npz") == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "net[red]x[/red]" in text  # not taken for markup either


def test_validate_reads_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", "good.npz") == 0
    # conv: 2*3*6*6 + 4*3*3*3 + 2*4*3*3 = 216 + 108 + 72; fc: 10 + 15 + 6.
    assert "OK: 2 layers, 427 values read" in capsys.readouterr().out


def test_validate_reads_every_block(capsys: pytest.CaptureFixture[str]) -> None:
    sampled_trace().save("sample.npz")
    assert run("validate", "sample.npz") == 0
    assert f"{(8 + 4 + 16 + 16) * 70} values read" in capsys.readouterr().out


def test_validate_finds_damage_that_loading_does_not_see(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = good.read_bytes().index(small_trace().layers[1].g.tobytes())
    patched(good, (at, b"\x01\x02\x03\x04"))
    assert "bad.npz: layer 'fc', tensor G: member" in fails(capsys, "validate", "bad.npz")


def test_validate_compares_recorded_statistics_with_the_values(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def lie(record: dict) -> None:  # type: ignore[type-arg]
        exponents = record["layers"][0]["tensors"]["w"]["statistics"]["exponents"]
        # Sums stay right, so that only the values can tell.
        peak = int(np.argmax(exponents))
        exponents[peak], exponents[100] = exponents[peak] - 1, exponents[100] + 1

    with_metadata(good, lie)
    assert "layer 'conv', tensor W: its recorded exponents differ from its values" in fails(
        capsys, "validate", "bad.npz"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"family": 1}, "a block's family does not exist, there are 1"),
        ({"product": 1}, "lies outside"),
        ({"x_start": 48}, "lies outside"),
        ({"y_start": 32}, "lies outside"),
    ],
)
def test_validate_finds_blocks_outside_their_products(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, int], words: str
) -> None:
    sampled_trace().save("sample.npz")  # X has 40 rows, Y 20, in one product
    with_metadata(tmp_path / "sample.npz", lambda record: record["layers"][0]["blocks"]["forward"][0].update(fields))
    message = fails(capsys, "validate", "bad.npz")
    assert "bad.npz: layer 'fc'" in message
    assert words in message


def diverged(path: Path) -> None:
    g = values(3, 2, 3)
    g[1, 0] = 0x7FC0
    Trace([Layer("fc", "linear", a=values(4, 2, 5), w=values(5, 3, 5), g=g)]).save(path)


def test_nan_is_an_error_unless_zeroed(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    diverged(good.with_name("nan.npz"))
    assert fails(capsys, "validate", "nan.npz") == (
        "simhw: nan.npz: layer 'fc', tensor G: 1 NaN (first at index (1, 0)); training diverged? use --nonfinite "
        "zero to treat them as 0"
    )
    assert run("validate", "nan.npz", "--nonfinite", "zero") == 0


def test_stats_prints_a_row_per_layer_and_tensor(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    diverged(good.with_name("nan.npz"))
    assert run("stats", "nan.npz") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("fc ")]
    assert [row[:3] for row in rows] == [["fc", "A", "2x5"], ["fc", "W", "3x5"], ["fc", "G", "2x3"]]
    assert [row[-1] for row in rows] == ["0", "0", "1"]  # NaN or infinite


@pytest.mark.parametrize(
    ("suffix", "read"), [("csv", pd.read_csv), ("json", pd.read_json), ("parquet", pd.read_parquet)]
)
def test_stats_are_written_in_the_format_of_the_suffix(good: Path, suffix: str, read: object) -> None:
    assert run("stats", "good.npz", "--out", f"s.{suffix}") == 0
    frame = read(good.with_name(f"s.{suffix}"))  # type: ignore[operator]
    expected = statistics_frame(load_trace(good))
    assert list(frame.columns) == list(expected.columns)
    assert len(frame) == 6
    np.testing.assert_allclose(frame["terms_per_value"], expected["terms_per_value"])
    np.testing.assert_array_equal(frame["bdc_bytes"].astype(int), expected["bdc_bytes"].astype(int))


def test_stats_of_a_sample_are_those_of_the_whole_tensors() -> None:
    sample = sampled_trace()
    sample.save("sample.npz")
    assert run("stats", "sample.npz", "--out", "s.json") == 0
    rows = json.loads(Path("s.json").read_text())
    assert [row["values"] for row in rows] == [40 * 70, 20 * 70, 40 * 20]
    assert rows[0]["zero_bytes"] == sample.layers[0].statistics["a"].compressed_bytes["zero"]


def test_stats_of_shapes_alone_say_that_there_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Trace([Layer("fc", "linear", shapes={"a": (2, 5), "w": (3, 5)})]).save("shapes.npz")
    assert "has neither statistics nor whole tensors" in fails(capsys, "stats", "shapes.npz")


@pytest.mark.parametrize(("option", "name"), [("--out", "s.xlsx"), ("--plot", "s.bmp")])
def test_other_suffix_is_refused_before_any_work(capsys: pytest.CaptureFixture[str], option: str, name: str) -> None:
    assert "the name must end in one of" in fails(capsys, "stats", "missing.npz", option, name)


def test_result_that_cannot_be_written_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no folder nowhere" in fails(capsys, "stats", "good.npz", "--out", "nowhere/s.csv")
    assert "there is no folder nowhere" in fails(capsys, "stats", "good.npz", "--plot", "nowhere/s.png")


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_stats_plot_is_a_picture(good: Path, suffix: str, magic: bytes) -> None:
    assert run("stats", "good.npz", "--plot", f"s.{suffix}") == 0
    assert good.with_name(f"s.{suffix}").read_bytes().startswith(magic)


def test_figure_shows_the_statistics_of_every_layer() -> None:
    trace = small_trace()
    zeroed = trace.layers[0].a.copy()
    zeroed[0] = 0  # one image of two
    trace.layers[0] = Layer("conv $x$", "conv2d", {"padding": 1, "stride": 2}, a=zeroed, w=trace.layers[0].w)
    figure = trace_figure(trace)
    zeros, terms, *heat_maps = figure.axes[:5]
    assert [label.get_text() for label in zeros.get_yticklabels()] == [r"conv \$x\$", "fc"]
    assert zeros.get_ylim() == (1.5, -0.5)  # the first layer on top
    np.testing.assert_allclose(zeros.lines[0].get_xdata(), [0.5, 0.0])
    frame = statistics_frame(trace)
    np.testing.assert_allclose(terms.lines[0].get_xdata(), frame.loc[frame["tensor"] == "A", "terms_per_value"])
    for panel in heat_maps[:2]:
        np.testing.assert_allclose(np.nansum(panel.images[0].get_array().filled(np.nan), axis=1), [1, 1])
    gradients = heat_maps[2].images[0].get_array().filled(np.nan)
    assert np.isnan(gradients[0]).all()  # the first layer has none
    np.testing.assert_allclose(np.nansum(gradients[1]), 1)


def test_exponent_percentiles_are_of_finite_nonzero_values() -> None:
    histogram = np.zeros(256, np.int64)
    histogram[0] = 1000  # zeros
    histogram[255] = 1000  # NaN or infinite
    histogram[[100, 127, 130]] = [1, 98, 1]
    assert [exponent_percentile(histogram, p) for p in (0, 1, 50, 99, 100)] == [-27, -27, 0, 0, 3]
    histogram[[100, 127, 130]] = 0
    assert exponent_percentile(histogram, 50) is None


def test_sample_writes_a_small_compressed_trace_that_is_the_same_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    layer = Layer("fc", "linear", a=values(1, 256, 256), w=values(2, 128, 256), g=values(3, 256, 128))
    Trace([layer]).save("whole.npz")
    for name in ("1.npz", "2.npz"):
        assert run("sample", "whole.npz", "--out", name, "--max-bytes", "120kB", "--seed", "3") == 0
    assert "blocks of 1 layers" in capsys.readouterr().out
    assert Path("1.npz").stat().st_size <= 120_000
    assert Path("1.npz").read_bytes() == Path("2.npz").read_bytes()
    sample = load_trace("1.npz")
    assert sample.sampled
    assert sample.layers[0].statistics["a"].size == 256 * 256
    assert run("validate", "1.npz") == 0


def test_sample_of_a_sample_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    sampled_trace().save("sample.npz")
    assert "sample" in fails(capsys, "sample", "sample.npz", "--out", "s.npz")
    assert not Path("s.npz").exists()


@pytest.mark.parametrize(
    ("text", "size"), [("12MB", 12_000_000), ("12 MiB", 12 * 2**20), ("1.5kB", 1500), ("77", 77), ("2GB", 2 * 10**9)]
)
def test_sizes_with_units(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "12 parsecs", "-3MB", "0", "1e9"])
def test_size_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run("sample", "good.npz", "--out", "s.npz", f"--max-bytes={text}")
    assert caught.value.code == 2
    assert "--max-bytes" in capsys.readouterr().err


def test_unknown_trace_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, "info", "nothing")
    assert message.startswith("simhw: nothing: no such trace; looked in the current folder")
    assert "good" in message  # the one that there is


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from simhw.cli import parser; parser().format_help(); "
        "print(sorted({'numpy', 'numba', 'pandas', 'matplotlib', 'torch', 'rich', 'pydantic'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
