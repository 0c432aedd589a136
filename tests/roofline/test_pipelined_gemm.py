"""Products on an H200: properties of the model, and its error on shapes that its fit did not see."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw.errors import MachineError
from simhw.machine.files import validated
from simhw.roofline.calibration.pytorch import gemm as calibration
from simhw.roofline.calibration.score import mape, textbook_seconds
from simhw.roofline.gpu.pipelined_gemm import (
    PipelinedGemmParameters,
    family_of,
    is_linear,
    predict_pipelined_gemm,
)
from simhw.roofline.gpu.products import predict_product
from simhw.roofline.gpu.tiles import overlapped
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.numbers import Number
from simhw.roofline.operators import Gemm
from simhw.roofline.prediction import Prediction
from tests.roofline.h200 import DATA, h200, needs_data, scored


def constants() -> PipelinedGemmParameters:
    found = h200().pipelined_gemm
    assert found is not None
    return found


def predicted(gemm: Gemm) -> Prediction:
    return predict_pipelined_gemm(gemm, h200().hardware, constants())


sizes = st.integers(1, 6000)
numbers: st.SearchStrategy[Number] = st.sampled_from(["fp32", "tf32", "bf16"])


@given(
    m=sizes,
    n=sizes,
    k=sizes,
    batch=st.sampled_from([1, 1, 7, 300]),
    number=numbers,
    layout=st.tuples(st.booleans(), st.booleans()),
)
@settings(max_examples=100, deadline=None)
def test_no_product_beats_the_board(
    m: int, n: int, k: int, batch: int, number: Number, layout: tuple[bool, bool]
) -> None:
    gemm = Gemm(m, n, k, batch, number, layout)
    found = predicted(gemm)
    # Operands that lie in the L2 come faster than from memory: only what does not fit is bound by that.
    arithmetic = gemm.flops / h200().hardware.matrix_flops_per_s(number)
    large = gemm.dram_bytes > h200().hardware.l2_bytes
    assert found.seconds >= (textbook_seconds(gemm, h200().hardware) if large else arithmetic)
    assert found.seconds >= max(found.times_s.values())
    assert found.dram_bytes == gemm.dram_bytes


@given(
    m=sizes,
    n=st.integers(1, 600).map(lambda n: 8 * n),
    k=st.integers(1, 600).map(lambda k: 8 * k),
    number=numbers,
    more=st.integers(1, 2000),
)
@settings(max_examples=60, deadline=None)
def test_more_rows_are_not_much_faster(m: int, n: int, k: int, number: Number, more: int) -> None:
    # Fewer rows may leave the library a coarser choice of splits; small fp32 products have a slower chain.
    few, many = (Gemm(rows, n, k, 1, number, (False, False)) for rows in (m + 16, m + 16 + more))
    assert predicted(many).seconds >= 0.85 * predicted(few).seconds


@pytest.mark.parametrize("number", ["fp32", "tf32", "bf16"])
def test_sizes_far_from_the_measured_ones_are_bound_by_what_binds_them(number: Number) -> None:
    hardware = h200().hardware
    huge = predicted(Gemm(65536, 65536, 65536, 1, number))
    assert huge.limit == "matrix"
    assert 0.4 < huge.utilisation < 1
    tiny = predicted(Gemm(1, 8, 8, 8, number))
    assert 1e-6 < tiny.seconds < 5e-6
    # A row by a matrix of 1 GB reads it once: no faster than memory, and no four times slower.
    weights = Gemm(1, 16384, (1 << 28) // 16384 * 4 // (4 if number != "bf16" else 2), 1, number)
    assert 1 < predicted(weights).seconds / (weights.dram_bytes / hardware.dram_bytes_per_s) < 4


def test_rows_off_multiples_of_16_bytes_cost_several_times_as_much_on_tensor_cores() -> None:
    numbers_: tuple[Number, ...] = ("tf32", "bf16")
    for number in numbers_:
        aligned, odd = (predicted(Gemm(4096, 4096, k, 1, number)).seconds for k in (4096, 4097))
        assert 2 < odd / aligned < 10
    # FMA units take single values, so that fp32 has no such kernels.
    aligned, odd = (predicted(Gemm(4096, 4096, k)).seconds for k in (4096, 4097))
    assert odd < 1.01 * aligned


@pytest.mark.parametrize(
    ("gemm", "family"),
    [
        (Gemm(512, 512, 512, number="bf16"), "linear"),
        (Gemm(512, 512, 512, number="bf16", transposed=(False, False)), "linear"),  # as its kernels serve both
        (Gemm(512, 512, 512, number="tf32", transposed=(False, False)), "general"),
        (Gemm(512, 512, 512, 4, number="bf16"), "general"),
        (Gemm(512, 512, 514, number="bf16"), "even"),
        (Gemm(512, 510, 512, number="bf16"), "even"),  # rows of the output
        (Gemm(512, 512, 513, number="bf16"), "narrow"),
        # Transposed, the first operand's rows are m long.
        (Gemm(511, 512, 513, number="bf16", transposed=(True, False)), "narrow"),
        (Gemm(512, 512, 513, number="bf16", transposed=(True, False)), "linear"),
        (Gemm(512, 512, 514, number="tf32"), "narrow"),
        (Gemm(512, 512, 513), "linear"),
        (Gemm(16, 512, 512), "thin"),
        (Gemm(16, 512, 512, transposed=(False, False)), "general"),
        (Gemm(16, 512, 512, number="bf16"), "linear"),
    ],
)
def test_kernels_are_chosen_by_how_operands_lie_in_memory(gemm: Gemm, family: str) -> None:
    assert family_of(gemm, constants().kernels[gemm.number]) == family


def test_small_fp32_products_of_a_linear_layer_take_a_chain_of_kernels() -> None:
    small = constants().kernels["fp32"]["linear"].small
    assert small is not None
    chain = predicted(Gemm(64, 64, 100))
    assert chain.seconds == pytest.approx(small.call_s + 100 * small.step_s)
    assert predicted(Gemm(64, 64, 100, transposed=(False, False))).seconds < 0.5 * chain.seconds
    assert predicted(Gemm(64, 64, small.reduction + 1)).seconds < chain.seconds


def test_a_bias_takes_its_time_in_a_linear_layer_alone() -> None:
    kernels = constants().kernels["bf16"]["narrow"]
    layer, other = (predicted(Gemm(64, 64, 33, number="bf16", transposed=(False, last))) for last in (True, False))
    assert is_linear(Gemm(64, 64, 33, number="bf16"))
    assert layer.seconds - other.seconds == pytest.approx(constants().bias_s)
    assert other.times_s["launch"] == kernels.launch_s


def test_a_step_of_a_block_takes_the_longer_of_multiplication_and_staging() -> None:
    # One block of one tile: 64 steps of 64, by hand.
    hardware, kernels = h200().hardware, constants().kernels["bf16"]["general"]
    one = kernels.model_copy(update={"tiles": ["128x128"], "split_fill": 1e-9})
    only = {**constants().kernels, "bf16": {"linear": one, "general": one}}
    parameters = constants().model_copy(update={"kernels": only})
    gemm = Gemm(128, 128, 4096, number="bf16", transposed=(False, False))
    multiply = 128 * 128 * 64 * 2 / 4096 / kernels.matrix_share
    stage = 256 * 64 * 2 / kernels.staged_bytes_per_cycle
    busy = 64 * overlapped(multiply, stage, 8) + 128 * 128 * 2 / kernels.stored_bytes_per_cycle
    block_s = overlapped(busy, 64 * kernels.step_cycles, 4) / hardware.clock_hz
    memory_s = gemm.dram_bytes / kernels.l2_bytes_per_s
    expected = kernels.launch_s + overlapped(block_s, memory_s, kernels.overlap)
    fresh = validated(PipelinedGemmParameters, parameters.model_dump(), "mine")
    assert predict_pipelined_gemm(gemm, hardware, fresh).seconds == pytest.approx(expected)


def test_blocks_that_share_a_multiprocessor_wait_for_their_steps_side_by_side() -> None:
    # 6 blocks a multiprocessor, of which 4 share it: two rounds of 128 steps of 8, by hand.
    hardware, kernels = h200().hardware, constants().kernels["fp32"]["general"]
    one = kernels.model_copy(update={"tiles": ["64x64"], "resident_outputs": 4 * 64 * 64})
    parameters = constants().model_copy(update={"kernels": {"fp32": {"linear": one, "general": one}}})
    gemm = Gemm(64, 64, 1024, 6 * hardware.sms, transposed=(False, False))
    multiply = 64 * 64 * 8 * 2 / 256 / kernels.matrix_share
    stage = 128 * 8 * 4 / kernels.staged_bytes_per_cycle
    busy = 128 * overlapped(multiply, stage, 8) + 64 * 64 * 4 / kernels.stored_bytes_per_cycle
    worked_s = (6 * busy + 2 * 128 * kernels.step_cycles) / hardware.clock_hz
    memory_s = gemm.dram_bytes / kernels.l2_bytes_per_s
    assert gemm.dram_bytes > hardware.l2_bytes  # and the L2 is slower than memory for these kernels
    found = predict_pipelined_gemm(gemm, hardware, validated(PipelinedGemmParameters, parameters.model_dump(), "mine"))
    assert found.seconds == pytest.approx(kernels.launch_s + overlapped(worked_s, memory_s, kernels.overlap))


def test_a_chain_of_products_has_no_kernels_for_few_rows_or_small_products() -> None:
    hardware = h200().hardware
    few, small, other = Gemm(16, 512, 512), Gemm(64, 64, 100), Gemm(512, 512, 512)
    alone, chained = (
        [predict_product(gemm, hardware, constants(), each).seconds for gemm in (few, small, other)]
        for each in (False, True)
    )
    assert chained[0] > 1.5 * alone[0]
    assert chained[1] < 0.7 * alone[1]
    assert chained[2] == alone[2]


def test_a_file_with_both_forms_of_products_or_none_is_refused() -> None:
    values = h200().model_dump()
    with pytest.raises(MachineError, match="mine: give one of the sections gemm and pipelined_gemm"):
        validated(GpuValues, values | {"pipelined_gemm": None}, "mine")


def test_a_tile_that_is_none_is_refused() -> None:
    values = h200().model_dump()
    values["pipelined_gemm"]["kernels"]["bf16"]["linear"]["tiles"][0] = "64by64"
    with pytest.raises(MachineError, match=r"pipelined_gemm\.kernels\.bf16\.linear\.tiles"):
        validated(GpuValues, values, "mine")


@needs_data
@pytest.mark.parametrize(("number", "most"), [("fp32", 10.0), ("tf32", 10.0), ("bf16", 12.0)])
def test_shipped_constants_predict_shapes_that_no_fit_saw(number: Number, most: float) -> None:
    rows = [row for row in scored("gemm") if row.number == number]
    found = [predicted(calibration.product(row)).seconds for row in rows]
    truth = [row.seconds for row in rows]
    assert mape(found, truth) <= most
    textbook = [textbook_seconds(calibration.product(row), h200().hardware) for row in rows]
    assert mape(found, truth) < 0.2 * mape(textbook, truth)


@needs_data
def test_the_fit_gives_the_shipped_constants() -> None:
    for name, value in calibration.calibrate(DATA, "h200", calibration.H200)[0].items():
        shipped = h200().model_dump()
        for part in name.split("."):
            shipped = shipped[part]
        assert shipped == pytest.approx(value, rel=0.01), name


@needs_data
def test_a_fit_recovers_the_constants_that_made_the_times() -> None:
    hardware, start = h200().hardware, calibration.H200["bf16", "general"]
    truth = constants().kernels["bf16"]["general"].model_copy(update={**start, "launch_s": 3.2e-6})
    tables = {**constants().kernels["bf16"], "general": truth}
    made = constants().model_copy(update={"kernels": {**constants().kernels, "bf16": tables}})
    rows = [
        replace(row, seconds=predict_pipelined_gemm(calibration.product(row), hardware, made).seconds)
        for row in scored("gemm")
        if row.number == "bf16" and family_of(calibration.product(row), tables) == "general"
    ]
    found = calibration.fit_family(rows, start, hardware, constants(), "general")
    # Held towards the start, 2.5e-6, by a little.
    assert found.launch_s == pytest.approx(3.2e-6, rel=0.03)
    assert found.matrix_share == pytest.approx(start["matrix_share"], rel=0.03)
