"""Small inputs that once failed: each gives success or one clear line, in little memory; what takes a
minute is killed.
"""

import shlex
from pathlib import Path

import pytest

from tests.bounded import Finished, run_simhw
from tests.places import SHARED

CASES = SHARED / "cases"
BYTES = 256 << 20

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the folder shared/cases is not beside this checkout")

REFUSED = {
    # A file, the command that reads it, and what its error says.
    "bomb_matmul_batch.npz": ("run --trace FILE --pe tensordash", ""),
    "bomb_meta.npz": ("trace info FILE", "metadata"),
    "bomb_meta_valid_1M.npz": ("trace info FILE", "metadata"),
    "bomb_nothing.npz": ("run --trace FILE --pe tensordash", ""),
    "bomb_overflow.npz": ("run --trace FILE --pe tensordash", ""),
    "bomb_population_27.npz": ("trace validate FILE", ""),
    "bomb_rows_33.npz": ("run --trace FILE --pe tensordash", ""),
    "bomb_stride_phases.npz": ("run --trace FILE --pe tensordash", ""),
    "empty_zip.npz": ("trace info FILE", ""),
    "trace_fail_2_1_0.npz": ("run --trace FILE --pe tensordash", ""),
    "trace_fail_2_2_0.npz": ("run --trace FILE --pe tensordash", ""),
    "trace_fail_2_4_1.npz": ("run --trace FILE --pe tensordash", ""),
    "trace_fail_2_5_0.npz": ("run --trace FILE --pe tensordash", ""),
    "extra_nan.npz": ("trace info FILE", ""),
    "machine_fail_2_1_0.yaml": ("run --trace small_cnn.npz --pe FILE", "banks"),
    "machine_fail_2_2_2.yaml": ("run --trace small_cnn.npz --pe FILE", ""),
    "list_fail_1_1_0.csv": ("roofline --layers FILE --device v100", ""),
    "list_fail_1_2_0.yaml": ("roofline --layers FILE --device v100", "layer"),
    "empty_list.yaml": ("roofline --layers FILE --device v100", "layer"),
    "sparsity_zero.csv": ("roofline --layers FILE --device v100", "0:0"),
    "calib_nan": ("roofline calibrate --device ascend310 --data FILE", "nan"),
    "runs_deep": ("workloads matrix --runs FILE --out matrix", "deep"),
}
READ = {
    # A file, the command that reads it, and what it prints: multiply-accumulates as the README of the cases has them.
    "trace_fail_2_3_1.npz": ("run --trace FILE --pe tensordash", ""),
    "extends_bomb/a2.yaml": ("machine show FILE", "8x8 term-serial"),
    "trailing_commas.csv": ("roofline --layers FILE --device v100 --batch 1 --mode inference", "18.43 K MACs"),
    "comment.csv": ("roofline --layers FILE --device v100", ""),
    "octal.yaml": ("roofline --layers FILE --device v100 --batch 1 --mode inference", "1.555 M MACs"),
    "critic.yaml": ("roofline ranks --layers FILE --device v100", ""),
    "scalesim_batch_column.csv": ("roofline --layers FILE --device v100 --batch 1 --mode inference", "6.816 M MACs"),
}


def test_every_case_is_tried():
    files = {path.name for path in CASES.iterdir()} - {"README.md"}
    assert files == {name.partition("/")[0] for name in REFUSED | READ} | {"no_bdc.npz", "g16.png"}


def run_case(name: str, command: str, folder: Path) -> Finished:
    """Run a case's command within its bound of memory."""
    # Machine files that extend others name them as seen from the current folder.
    folder = (CASES / name).parent if "/" in name else folder
    finished = run_simhw(*shlex.split(command.replace("FILE", str(CASES / name))), folder=folder)
    assert finished.peak_bytes < BYTES
    return finished


@pytest.mark.parametrize("name", REFUSED)
def test_case_is_refused_in_one_line(name, tmp_path):
    command, words = REFUSED[name]
    finished = run_case(name, command, tmp_path)
    assert (finished.code, finished.out) == (2, ""), finished.err[-2000:]
    (line,) = finished.err.splitlines()
    assert line.startswith("simhw: ")
    assert len(line) <= 400
    assert words in line


@pytest.mark.parametrize("name", READ)
def test_case_is_read(name, tmp_path):
    command, words = READ[name]
    finished = run_case(name, command, tmp_path)
    assert (finished.code, finished.err) == (0, "")
    assert words in finished.out


def test_trace_without_compressed_sizes_is_validated_as_it_is_run(tmp_path):
    validated = run_simhw("trace", "validate", str(CASES / "no_bdc.npz"), folder=tmp_path)
    run = run_simhw("run", "--trace", str(CASES / "no_bdc.npz"), "--pe", "fpraker", folder=tmp_path)
    assert validated.code == run.code
    assert len(run.err.splitlines()) == (1 if run.code else 0)


def test_sixteen_bit_grey_is_grey():
    torch = pytest.importorskip("torch")
    from simhw_workloads.data.folders import read_image

    image = read_image(CASES / "g16.png", 8, whole=True)
    assert image.shape == torch.Size([3, 8, 8])
    # Models read images normalised by ImageNet's statistics.
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    grey = (image.mean((1, 2)) * deviation + mean).mean()
    assert abs(float(grey) - 0.498) < 0.01
