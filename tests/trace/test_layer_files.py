"""The layer-per-file layout: what is imported is what was written, to the bit, and nothing in a folder is believed."""

import os
from pathlib import Path

import numpy as np
import pytest

from simhw import load_trace
from simhw.bfloat16 import from_float32
from simhw.cli import main
from simhw.errors import SimhwError
from simhw.trace.layer_files import import_folder
from tests.cli_runs import fails

TABLE = "conv1,data,6,3,3,1,1\nconv2,conv1,8,3,3,2,0\nlstm_1,12,1,1,1,0\nfc1,conv2,5,1,1,1,0\n"
SHAPES = {
    "conv1": {"in": (2, 3, 8, 8), "w": (6, 3, 3, 3), "outGrad": (2, 6, 8, 8)},
    "conv2": {"in": (2, 6, 8, 8), "w": (8, 3, 3, 3), "outGrad": (2, 8, 3, 3)},  # two groups
    "lstm_1": {"in": (4, 2, 7), "w": (12, 7), "outGrad": (4, 2, 12)},
    "fc1": {"in": (2, 8, 3, 3), "w": (5, 72), "outGrad": (2, 5)},
}
FOLDERS = {"in": "input", "w": "weights", "outGrad": "outGrad"}


def path(folder: Path, layer: str, ending: str, step: str = "1-20") -> Path:
    return folder / FOLDERS[ending] / f"{layer}-{step}-{ending}.npy"


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """A folder as the layout's authors describe it."""
    folder = tmp_path / "net"
    for each in (*FOLDERS.values(), "model"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    (folder / "model" / "trace_params.csv").write_text(TABLE)
    rng = np.random.default_rng(4)
    for layer, shapes in SHAPES.items():
        for ending, shape in shapes.items():
            np.save(path(folder, layer, ending), rng.standard_normal(shape, np.float32))
    return folder


def test_what_is_imported_is_what_was_written_to_the_bit(arrays, tmp_path, capsys):
    out = tmp_path / "t.npz"
    assert main(["trace", "import", str(arrays), "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 4 layers of net, epoch 1, batch 20; ")
    trace = load_trace(out)
    assert [(layer.name, layer.kind) for layer in trace.layers] == [
        ("conv1", "conv2d"),
        ("conv2", "conv2d"),
        ("lstm_1", "lstm"),
        ("fc1", "linear"),
    ]
    for layer in trace.layers:
        for tensor, ending in zip("awg", ("in", "w", "outGrad"), strict=True):
            values = np.load(path(arrays, layer.name, ending))
            np.testing.assert_array_equal(layer.source(tensor).read().ravel(), from_float32(values).ravel())
    assert trace.layers[3].shapes == {"a": (2, 72), "w": (5, 72), "g": (2, 5)}
    assert [layer.operations for layer in trace.layers[:2]] == [
        ("forward", "weight_grad"),  # nothing before the first layer learns
        ("forward", "input_grad", "weight_grad"),
    ]
    assert (trace.layers[1].geometry.stride, trace.layers[1].geometry.groups) == ((2, 2), 2)
    assert trace.metadata.batch == 2


def test_low_bits_are_dropped_on_request_and_bit_patterns_are_kept(arrays):
    values = np.load(path(arrays, "conv1", "w"))
    np.save(path(arrays, "conv1", "in"), from_float32(np.load(path(arrays, "conv1", "in"))).astype(">u2"))
    layer = import_folder(arrays, rounding="truncate").layers[0]
    np.testing.assert_array_equal(layer.w, (values.view(np.uint32) >> 16).astype(np.uint16))
    np.testing.assert_array_equal(layer.a, np.load(path(arrays, "conv1", "in")))


def test_an_array_in_column_order_is_read_as_numpy_reads_it(arrays):
    values = np.load(path(arrays, "conv1", "w"))
    np.save(path(arrays, "conv1", "w"), np.asfortranarray(values))
    np.testing.assert_array_equal(import_folder(arrays).layers[0].w, from_float32(values))


def test_a_layer_without_a_gradient_ran_forward_alone(arrays):
    path(arrays, "conv2", "outGrad").unlink()
    assert import_folder(arrays).layers[1].operations == ("forward",)


def test_networks_under_models_are_chosen_by_name(arrays, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "all" / "models" / name).mkdir(parents=True)
        (tmp_path / "all" / "models" / name / "trace_params.csv").write_text(TABLE)
    (tmp_path / "all" / "net_traces").mkdir()
    arrays.rename(tmp_path / "all" / "net_traces" / "two")
    assert import_folder(tmp_path / "all", "two").metadata.model == "two"
    with pytest.raises(SimhwError, match="models/ has one, two; choose with --network"):
        import_folder(tmp_path / "all")


def test_states_of_a_decoder_share_its_weights(arrays):
    (arrays / "model" / "trace_params.csv").write_text("decoder_lstm_3,12,1,1,1,0\n")
    for ending, name in (("in", "decoder_lstm_3"), ("w", "decoder_lstm")):
        path(arrays, "lstm_1", ending).rename(path(arrays, name, ending))
    assert import_folder(arrays).layers[0].shapes["w"] == (12, 7)


def test_of_several_steps_one_is_chosen(arrays, capsys, tmp_path):
    for layer, shapes in SHAPES.items():
        for ending, shape in shapes.items():
            np.save(path(arrays, layer, ending, "1-30"), np.ones(shape, np.float32))
    line = fails(capsys, "trace", "import", str(arrays), "--out", str(tmp_path / "t.npz"))
    assert "several steps; there are epoch 1 batch 20, epoch 1 batch 30; choose with --epoch and --batch" in line
    assert (import_folder(arrays, batch=30).layers[0].w == 0x3F80).all()
    with pytest.raises(SimhwError, match="no such step; there are epoch 1 batch 20, epoch 1 batch 30"):
        import_folder(arrays, epoch=7)


# What a folder may hold that is not what it says.


class Tripwire:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_nothing_is_unpickled(arrays, tmp_path):
    np.save(path(arrays, "conv1", "w"), np.array([Tripwire(tmp_path / "sprung")], object), allow_pickle=True)
    with pytest.raises(SimhwError, match="give an array of numbers"):
        import_folder(arrays)
    assert not (tmp_path / "sprung").exists()


def header(shape: str, kind: str = "<f4") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (header("(1000000, 1000000, 1000000, 1000000)"), "over the limit of 4,294,967,296"),
        (header("(6, 3, 3, 3)") + bytes(100), "100 bytes of values, but"),
        (header("(6, 3, 3, 3)") + bytes(648 + 1), "649 bytes of values, but"),
        (header("(6, -3, 3, 3)"), "without an empty axis"),
        (header("(6, 0, 3, 3)"), "without an empty axis"),
        (header("(True, 3)"), "give an array of numbers|no .npy file"),
        (header("(__import__('os'), 3)"), "no .npy file of numbers"),
        (header("(2,)", "<c8") + bytes(16), "give an array of numbers"),
        (header("(2,)", "<i4") + bytes(8), "int32: give floating-point values"),
        (b"\x93NUMPY\x01\x00" + b"\xff\xff" + b"(" * 65535, "no .npy file of numbers"),
        (b"PK\x03\x04", "no .npy file of numbers"),
        (b"", "no .npy file of numbers"),
    ],
)
def test_a_header_is_held_against_the_file_before_anything_is_allocated(content, problem, arrays):
    path(arrays, "conv1", "w").write_bytes(content)
    with pytest.raises(SimhwError, match=problem) as raised:
        import_folder(arrays)
    assert "conv1-1-20-w.npy" in str(raised.value)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("", "no layers"),
        ("conv1,3,3\n", "row 1: 3 cells; give 6 or 7"),
        ("../../conv1,6,3,3,1,1\n", "the name '../../conv1'"),
        ("a\\b,6,3,3,1,1\n", "the name"),
        ("conv1,6,3,3,1,1\nconv1,6,3,3,1,1\n", "row 2: the name 'conv1': give each layer its own"),
        ("conv1,6,3,-3,1,1\n", "'-3': give a whole number"),
        ("conv1,7,3,3,1,1\n", r"trace_params.csv says output channels and kernel \(7, 3, 3\), but W is \(6, 3, 3, 3\)"),
        ("conv1,6,3,3,0,1\n", "stride, dilation and groups start at 1"),
        ("conv1,6,3,3,2,1\n", "tensor G"),
        ("conv9,6,3,3,1,1\n", "has no file conv9-EPOCH-BATCH-in.npy"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(table, problem, arrays):
    (arrays / "model" / "trace_params.csv").write_text(table)
    with pytest.raises(SimhwError, match=problem):
        import_folder(arrays)


def test_nan_is_an_error_or_a_zero(arrays, tmp_path, capsys):
    values = np.load(path(arrays, "conv2", "in"))
    values[0, 0, 0, :2] = np.nan, np.inf
    np.save(path(arrays, "conv2", "in"), values)
    out = tmp_path / "t.npz"
    line = fails(capsys, "trace", "import", str(arrays), "--out", str(out))
    assert "conv2-1-20-in.npy: 1 NaN and 1 Inf (first at index (0, 0, 0, 0))" in line
    assert not out.exists()
    assert main(["trace", "import", str(arrays), "--out", str(out), "--nonfinite", "zero"]) == 0
    assert load_trace(out).layers[1].a[0, 0, 0, :2].tolist() == [0, 0]


def test_a_missing_weight_names_the_file(arrays):
    path(arrays, "fc1", "w").unlink()
    with pytest.raises(SimhwError, match=r"fc1-1-20-w.npy: no such file"):
        import_folder(arrays)
