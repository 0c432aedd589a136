"""Files of measurements damaged at random: each is read whole, or refused in one line, in bounded time.  Seeded; 240 by
default.
"""

import random
from pathlib import Path

import pytest

from simhw.roofline.calibration import ascend, power
from simhw.roofline.calibration.benchmarks import V100
from simhw.roofline.calibration.measurements import READERS, read_measurements
from tests.mutations import accepted, fuzz, generators, mutated_bytes, mutated_text

NETWORKS, POWER = ascend.measured_file("ascend310"), V100.file(power.FILE)
GOOD = {
    "gemm": ("src,M,N,K,tA,tB,ms,tflops", "x,100,20,30,T,N,0.5,1"),
    "conv": (
        "src,W,H,C,N,K,S,R,pad_w,pad_h,sw,sh,fwd_ms,dgrad_ms,wgrad_ms,P,Q,algo",
        "x,70,16,1,4,32,20,5,0,0,2,2,0.1,N/A*,0.3,34,7,WINOGRAD",
    ),
    "rnn": (
        "kind,source,hidden,batch,timesteps,_,fwd_ms,bwd_data_ms,bwd_weights_ms,tflops_fwd",
        "Recurrent Layers - LSTM,x,176,16,50,,2.9,2.1,0.2,1.6",
    ),
    "product": ("latency,kernel_name,grid_x,grid_y,grid_z,b,m,n,k", '0.04,"sgemm<4, at>",4,1,14,14,31,50,401'),
    "framework_conv": (
        "B,Input_Channel,Output_Channel,Kernel_Szie,Input_Size,Stride,Padding,Latency,Kernel Name,Grid x,Grid y,Grid z",
        '54,469,127,3,16,1,1,0.8,"void conv<float, int>",216,2,1',
    ),
    "streaming": ("latency,kernel_name,grid_x,grid_y,grid_z,b,h", '0.07,"void <4, at::native",71,1,1,358,101'),
    "ascend": ("model,batch,images_per_second", "ResNet18,4,500.5"),
    "watts": (",mean HW_power,st_dev,var,#samples", "parboil_sgemm_k1,219.8,0.2,0.07,5"),
}
"""A header and a row of every kind of file."""


def kind_of(name: str) -> str:
    if name == NETWORKS:
        return "ascend"
    if name == POWER:
        return "watts"
    if name.startswith("deepbench"):
        return name.split("_")[2]
    if name.endswith("conv"):
        return "framework_conv"
    return "product" if name.endswith(("linear", "bmm")) else "streaming"


def good(name: str) -> str:
    header, row = GOOD[kind_of(name)]
    rows = [row] * 4
    if name == POWER:
        rows = [row, *(row.replace(V100.sgemm, kernel) for kernel in (V100.tensor, V100.stream))]
    return "\n".join([header, *rows]) + "\n"


def read(folder: Path, name: str) -> None:
    if name == NETWORKS:
        ascend.read_rows(folder, "ascend310")
    elif name == POWER:
        power.watts(folder, V100)
    else:
        for row in read_measurements(folder, name):
            assert 0 < row.seconds < 1e9
            assert row.operator.flops >= 0


NAMES = (*(V100.file(each) for each in READERS), NETWORKS, POWER)


@pytest.mark.parametrize("name", NAMES)
def test_the_files_that_are_damaged_are_good(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.csv").write_text(good(name), encoding="utf-8")
    read(tmp_path, name)


@fuzz(240)
def test_a_damaged_file_is_read_or_refused_in_a_line(seeds: range, tmp_path: Path) -> None:
    read_well = 0
    for seed, rng in generators(seeds):
        name = NAMES[seed % len(NAMES)]
        content = damaged(rng, good(name))
        (tmp_path / f"{name}.csv").write_bytes(content)
        read_well += accepted(lambda name=name: read(tmp_path, name), f"{name}: {content[:300]!r}")  # type: ignore[misc]  # called at once
    # Damage in a name, or a row gone, leaves a good file.
    assert 0 < read_well < len(seeds)


def damaged(rng: random.Random, text: str) -> bytes:
    content = (
        mutated_text(rng, text).encode("utf-8", "surrogatepass")
        if rng.random() < 0.7
        else mutated_bytes(rng, text.encode())
    )
    return b"\xef\xbb\xbf" + content if rng.random() < 0.1 else content
