"""LSTM layers measured in PyTorch, and how rows of attention and LSTM are read."""

from pathlib import Path

import pytest

from simhw.errors import SimhwError
from simhw.roofline.calibration.pytorch import recurrent as calibration
from simhw.roofline.calibration.pytorch.kernels import read_kernels
from simhw.roofline.calibration.score import mape
from simhw.roofline.numbers import Number
from simhw.roofline.operators import Attention, Recurrent
from tests.roofline.h200 import DATA, h200, needs_data, scored

HEADER = "kind,batch,size,steps,precision,operation,ms\n"


def read(folder: Path, *rows: str) -> list[object]:
    (folder / "mine_other.csv").write_text(HEADER + "\n".join(rows) + "\n", encoding="utf-8")
    return [row.operators for row in read_kernels(folder, "mine", "other")]


def test_rows_become_operators_and_other_kinds_are_passed_over(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "sdpa,8,6x197x64,1,bf16,backward,0.02",
        "sgd,1,1000000,50,fp32,update,0.02",
        "lstm,16,256,50,fp32,forward,0.7",
        "lstm,16,256,50,fp32,backward,1.4",
    )
    lstm = [Recurrent("lstm", each, 256, 256, 16, 50) for each in ("forward", "input_grad", "weight_grad")]
    assert found == [(Attention("input_grad", 8, 6, 197, 197, 64, number="bf16"),), (lstm[0],), tuple(lstm[1:])]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("sdpa,8,197x64,1,bf16,forward,0.02", "row 1 .*'size' is '197x64'; give heads x tokens x width"),
        ("sdpa,8,6x197x64,1,bf16,update,0.02", "row 1 .*'operation' is 'update'; give forward or backward"),
        ("sdpa,8,0x197x64,1,bf16,forward,0.02", "row 1 .*heads is 0"),
        ("lstm,16,wide,50,fp32,forward,0.7", "row 1 .*'size' is 'wide'; give a whole number"),
        ("lstm,16,256,50,fp12,forward,0.7", "row 1 .*'precision' is 'fp12'"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, row: str, says: str) -> None:
    with pytest.raises(SimhwError, match=says):
        read(tmp_path, row)


@needs_data
@pytest.mark.parametrize(
    ("number", "kernels", "most"), [("fp32", 1, 20.0), ("fp32", 2, 20.0), ("bf16", 1, 12.5), ("bf16", 2, 21.5)]
)
def test_shipped_constants_predict_lstm_layers_that_no_fit_saw(number: Number, kernels: int, most: float) -> None:
    """A row forwards is one kernel, and one backwards two."""
    rows = [row for row in scored("other") if row.kind == "lstm"]
    rows = [row for row in rows if row.number == number and len(row.operators) == kernels]
    assert len(rows) == 4
    found = [calibration.seconds_of(row, h200(), h200().recurrent) for row in rows]
    assert mape(found, [row.seconds for row in rows]) <= most


@needs_data
def test_the_fit_gives_the_shipped_chains() -> None:
    for name, value in calibration.calibrate(DATA, "h200")[0].items():
        _, _, number, operation, constant = name.split(".")
        chain = h200().recurrent.chains[number][operation]  # type: ignore[index]
        assert getattr(chain, constant) == pytest.approx(value, rel=0.02), name
