"""A network's step: which kernels run, in which order and numbers, and what each moves, by hand on small networks."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simhw.errors import ShapeError
from simhw.roofline.layers.network import (
    Conv,
    Embedding,
    Linear,
    MatMul,
    Network,
    NetworkLayer,
    Normalization,
    Pointwise,
    Pool,
    RecurrentLayer,
    Softmax,
    Weight,
)
from simhw.roofline.networks.catalogue import load_network, network_names
from simhw.roofline.operators import Convolution, Gemm, Recurrent, Streaming
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import Work, step


def conv(name: str, inputs: int, outputs: int, size: int = 8, **changes: object) -> Conv:
    return Conv(name, inputs, outputs, (size, size), (3, 3), (1, 1), (1, 1), (1, 1), **changes)  # type: ignore[arg-type]


def network(*layers: NetworkLayer) -> Network:
    return Network("small", layers)


CASTS = ("cast", "widen")


def streaming(work: list[Work], name: str) -> list[Streaming]:
    return [each.operator for each in work if isinstance(each.operator, Streaming) and each.operator.name == name]


def only(work: list[Work], name: str) -> Streaming:
    (found,) = streaming(work, name)
    return found


def products(work: list[Work]) -> list[Work]:
    return [each for each in work if not isinstance(each.operator, Streaming)]


RESIDUAL = network(
    conv("conv1", 3, 16),
    Normalization("bn1", "batchnorm", 16, 1024),
    Pointwise("relu1", "relu", 1024),
    Pointwise("input", "fork", 1024, 2),
    conv("conv2", 16, 16),
    Normalization("bn2", "batchnorm", 16, 1024),
    Pointwise("add", "add", 1024, 2),
    Pointwise("relu2", "relu", 1024),
    Pool("pool", "average", 16, (8, 8), (1, 1), (8, 8)),
    Linear("fc", 16, 10),
)
VALUES = 4 * 1024  # of an activation at batch 4


def test_a_linear_layer_is_three_products_of_the_rows_of_the_whole_batch() -> None:
    work = products(step(network(Linear("a", 32, 64, rows=5), Linear("b", 64, 7, rows=5)), Run(4)))
    assert [(each.layer, each.phase, each.operator) for each in work] == [
        ("a", "forward", Gemm(20, 64, 32, transposed=(False, True))),  # X (20, 32) by W (64, 32) transposed
        ("b", "forward", Gemm(20, 7, 64, transposed=(False, True))),
        ("b", "input_grad", Gemm(20, 64, 7, transposed=(False, False))),  # dY (20, 7) by W (7, 64)
        ("b", "weight_grad", Gemm(7, 64, 20, transposed=(True, False))),  # dY (20, 7) transposed by X (20, 64)
        ("a", "weight_grad", Gemm(64, 32, 20, transposed=(True, False))),  # nothing before it wants a gradient
    ]


def test_the_backward_pass_of_a_product_of_activations_is_two_products() -> None:
    work = products(step(network(Linear("a", 8, 8), MatMul("qk", products=6, m=3, n=5, k=7)), Run(2)))
    assert [each.operator for each in work if each.layer == "qk"] == [
        Gemm(3, 5, 7, batch=12, transposed=(False, False)),
        Gemm(3, 7, 5, batch=12, transposed=(False, True)),  # dO (3, 5) by B (7, 5) transposed
        Gemm(7, 5, 3, batch=12, transposed=(True, False)),  # A (3, 7) transposed by dO (3, 5)
    ]


def test_a_convolution_runs_its_three_operations_but_the_first_needs_no_input_gradient() -> None:
    work = [each for each in products(step(RESIDUAL, Run(4))) if isinstance(each.operator, Convolution)]
    assert [(each.layer, each.phase) for each in work] == [
        ("conv1", "forward"),
        ("conv2", "forward"),
        ("conv2", "input_grad"),
        ("conv2", "weight_grad"),
        ("conv1", "weight_grad"),
    ]
    assert all(
        isinstance(each.operator, Convolution) and each.operator.operation == each.phase and each.operator.images == 4
        for each in work
    )


def test_frozen_layers_pass_gradients_on_and_have_none_of_their_own() -> None:
    middle = network(Linear("a", 8, 8), Linear("b", 8, 8, trainable=False), Linear("c", 8, 8))
    assert [(each.layer, each.phase) for each in products(step(middle, Run(1)))][3:] == [
        ("c", "input_grad"),
        ("c", "weight_grad"),
        ("b", "input_grad"),
        ("a", "weight_grad"),
    ]


def test_no_gradient_goes_back_into_layers_before_the_first_trainable_one() -> None:
    frozen = tuple(
        replace(each, trainable=False) if each.name in ("conv1", "bn1") else each for each in RESIDUAL.layers
    )  # type: ignore[call-arg]
    work = step(Network("frozen", frozen), Run(4))
    backward = {each.layer for each in work if each.phase in ("input_grad", "weight_grad")}
    assert backward == {"loss", "fc", "pool", "relu2", "bn2", "conv2"}
    assert [each.phase for each in work if each.layer == "conv2"] == ["forward", "weight_grad"]


def test_only_trainable_parameters_are_updated() -> None:
    layers = (Linear("a", 8, 8, trainable=False), Linear("b", 8, 8), Weight("position", 100))
    update = only(step(Network("half", layers), Run(1, fusion="fused")), "sgd_update")
    assert update.columns == 8 * 8 + 8 + 100
    assert not streaming(step(Network("none", layers[:1]), Run(1, fusion="fused")), "sgd_update")


def test_batch_norm_reads_twice_in_training_and_once_in_inference() -> None:
    training = step(RESIDUAL, Run(4))
    forward, backward = streaming(training, "batchnorm")[0], streaming(training, "batchnorm_grad")[0]
    assert (forward.read_bytes, forward.written_bytes) == (2 * 4 * VALUES, 4 * VALUES)
    assert (backward.read_bytes, backward.written_bytes) == (
        2 * 2 * 4 * VALUES,
        4 * VALUES,
    )  # input and gradient, twice each
    assert (forward.rows, forward.columns) == (16, 4 * 64)  # a statistic per channel, over batch and positions
    inference = streaming(step(RESIDUAL, Run(4, "inference")), "batchnorm_inference")[0]
    assert (inference.read_bytes, inference.written_bytes) == (4 * VALUES, 4 * VALUES)


def test_a_residual_reads_both_branches_and_its_two_gradients_are_added_at_the_fork() -> None:
    work = step(RESIDUAL, Run(4))
    assert only(work, "add").read_bytes == 2 * 4 * VALUES
    summed = [each for each in work if isinstance(each.operator, Streaming) and each.operator.name == "gradient_sum"]
    assert [(each.layer, each.operator.dram_bytes) for each in summed] == [("input", 3 * 4 * VALUES)]


def test_without_forks_a_residual_is_taken_to_part_where_its_size_says() -> None:
    unforked = Network("unforked", tuple(each for each in RESIDUAL.layers if each.name != "input"))
    summed = [
        each
        for each in step(unforked, Run(4))
        if isinstance(each.operator, Streaming) and each.operator.name == "gradient_sum"
    ]
    assert [(each.layer, each.operator.dram_bytes) for each in summed] == [("add", 3 * 4 * VALUES)]


def test_a_value_used_four_times_sums_three_gradients() -> None:
    work = step(network(Linear("a", 8, 8), Pointwise("fork", "fork", 8, 4), Linear("b", 8, 8)), Run(4))
    assert [each.dram_bytes for each in streaming(work, "gradient_sum")] == [3 * 4 * 32] * 3


@pytest.mark.parametrize(
    ("function", "forward_tensors", "backward_tensors"),
    [("relu", 2, 3), ("gelu", 2, 3), ("tanh", 2, 3), ("scale", 2, 2), ("copy", 2, 2), ("unheard_of", 2, 3)],
)
def test_an_elementwise_function_moves_its_tensors_and_its_gradient_what_it_kept(
    function: str, forward_tensors: int, backward_tensors: int
) -> None:
    work = step(network(Linear("a", 8, 8), Pointwise("f", function, 8)), Run(4))
    assert only(work, function).dram_bytes == forward_tensors * 4 * 32
    assert only(work, f"{function}_grad").dram_bytes == backward_tensors * 4 * 32


def test_dropout_keeps_a_mask_of_a_byte_and_is_nothing_in_inference() -> None:
    dropped = network(Linear("a", 8, 8), Pointwise("drop", "dropout", 8))
    work = step(dropped, Run(4))
    assert (only(work, "dropout").read_bytes, only(work, "dropout").written_bytes) == (128, 128 + 32)
    assert (only(work, "dropout_grad").read_bytes, only(work, "dropout_grad").written_bytes) == (128 + 32, 128)
    assert not streaming(step(dropped, Run(4, "inference")), "dropout")


def test_multiplying_two_tensors_has_a_gradient_kernel_for_each() -> None:
    work = step(network(Linear("a", 8, 8), Pointwise("m", "mul", 8, 2)), Run(4))
    assert only(work, "mul").dram_bytes == 3 * 128
    assert [each.dram_bytes for each in streaming(work, "mul_grad")] == [
        3 * 128
    ] * 2  # gradient and the other factor in, one out


def test_a_max_pool_in_training_writes_and_reads_indices() -> None:
    pooled = network(conv("c", 3, 16), Pool("pool", "max", 16, (8, 8), (4, 4), (2, 2)))
    work = step(pooled, Run(4))
    assert only(work, "max_pool").written_bytes == (4 + 8) * VALUES / 4
    assert only(work, "max_pool_grad").read_bytes == (4 + 8) * VALUES / 4
    assert only(work, "max_pool_grad").written_bytes == 4 * VALUES
    assert only(step(pooled, Run(4, "inference")), "max_pool").written_bytes == 4 * VALUES / 4


def test_an_embedding_reads_each_row_once_and_its_gradient_writes_the_whole_table() -> None:
    work = step(network(Embedding("few", 2, 10, 6), Embedding("many", 1000, 10, 6)), Run(4))
    few, many = streaming(work, "embedding")
    assert few.read_bytes == 4 * 2 * 10 + 8 * 24  # two rows, however often they are asked for, and 24 indices
    assert many.read_bytes == 4 * 24 * 10 + 8 * 24
    assert many.written_bytes == 4 * 24 * 10
    gradient = streaming(work, "embedding_grad")[0]  # of `many`, the last forward
    assert gradient.written_bytes == 4 * 10 * (1000 + 24)


def test_layer_norm_and_softmax_read_once_forward_and_what_they_kept_backward() -> None:
    work = step(network(Linear("a", 8, 8, rows=3), Normalization("ln", "layernorm", 8, 24), Softmax("s", 3, 8)), Run(4))
    values = 4 * 24
    assert (only(work, "layernorm").rows, only(work, "layernorm").columns) == (12, 8)
    assert only(work, "layernorm").dram_bytes == 2 * 4 * values
    assert only(work, "layernorm_grad").dram_bytes == 3 * 4 * values
    assert only(work, "layernorm_weight_grad").read_bytes == 2 * 4 * values
    assert only(work, "softmax").dram_bytes == 2 * 4 * values
    assert only(work, "softmax_grad").dram_bytes == 3 * 4 * values


def test_biases_of_convolutions_are_kernels_and_all_biases_have_a_sum_for_their_gradient() -> None:
    work = step(network(conv("c", 3, 16, bias=True), Linear("fc", 1024, 10)), Run(4))
    assert only(work, "bias").dram_bytes == 2 * 4 * VALUES
    sums = {each.rows: each.read_bytes for each in streaming(work, "bias_grad")}
    assert sums == {16: 4 * VALUES, 10: 4 * 40}


def test_a_recurrent_layer_goes_back_through_time_for_its_weights_alone() -> None:
    work = products(step(network(RecurrentLayer("lstm", "lstm", 32, 64, steps=10)), Run(4)))
    assert [each.operator for each in work] == [
        Recurrent("lstm", operation, 32, 64, 4, 10)
        for operation in ("forward", "input_grad", "weight_grad")  # type: ignore[arg-type]  # literals
    ]


def test_the_loss_is_cross_entropy_of_a_last_linear_layer() -> None:
    work = step(RESIDUAL, Run(4))
    assert [each.operator.name for each in work if each.layer == "loss" and isinstance(each.operator, Streaming)] == [
        "log_softmax",
        "nll_loss",
        "nll_loss_grad",
        "log_softmax_grad",
    ]
    assert (only(work, "log_softmax").rows, only(work, "log_softmax").columns) == (4, 10)
    assert not [each for each in step(network(conv("c", 3, 4)), Run(4)) if each.layer == "loss"]


# --- the update ---


@pytest.mark.parametrize(("optimizer", "eager", "fused"), [("sgd", 44, 20), ("adam", 80, 28)])
def test_bytes_that_an_update_moves_per_parameter(optimizer: str, eager: int, fused: int) -> None:
    # SGD for each: decay (2 in, 1 out), momentum (1, 1), add (2, 1), update (2, 1): 11 tensors; fused: p, g, m in, p, m
    # out: 5.
    for fusion, expected in (("eager", eager), ("fused", fused)):
        work = step(network(Linear("a", 10, 10)), Run(1, fusion=fusion, optimizer=optimizer))  # type: ignore[arg-type]
        assert sum(each.operator.dram_bytes for each in work if each.phase == "update") == expected * 110


# --- mixed precision ---


def test_autocast_casts_weights_and_their_gradients_and_unscales() -> None:
    work = step(RESIDUAL, Run(4, precision="amp"))
    casts = [each for each in work if isinstance(each.operator, Streaming) and each.operator.name in CASTS]
    forward = [(each.layer, each.operator.dram_bytes) for each in casts if each.phase == "forward"]
    weights = [each for each in forward if each[0] != "conv1"]
    assert weights == [("conv2", 6 * 16 * 16 * 9), ("fc", 6 * 160), ("fc", 6 * 10)]  # the bias is cast apart
    # The image comes in fp32; nothing before conv1 wants its gradient, so it is not cast back.
    assert [each.operator.dram_bytes for each in casts if (each.layer, each.phase) == ("conv1", "forward")] == [
        6 * 4 * 192,
        6 * 432,
    ]
    assert sorted(each.layer for each in casts if each.phase == "weight_grad") == ["conv1", "conv2", "fc", "fc"]
    assert only(work, "unscale").dram_bytes == 8 * RESIDUAL.parameters


def test_autocast_runs_products_and_batch_norm_in_fp16_and_the_loss_in_fp32() -> None:
    work = step(RESIDUAL, Run(4, precision="amp"))
    assert {each.operator.number for each in products(work)} == {"fp16"}
    assert streaming(work, "batchnorm")[0].dram_bytes == 3 * 2 * VALUES
    assert only(work, "add").dram_bytes == 3 * 2 * VALUES
    assert (only(work, "log_softmax").read_bytes, only(work, "log_softmax").written_bytes) == (2 * 40, 4 * 40)


TRANSFORMER = network(
    Embedding("words", 100, 8, 3),
    Normalization("ln0", "layernorm", 8, 24),
    Linear("up", 8, 8, rows=3),
    MatMul("scores", 1, 3, 3, 8),
    Softmax("softmax", 3, 3),
    MatMul("use", 1, 3, 8, 3),
    Pointwise("residual", "add", 24, 2),
    Normalization("ln1", "layernorm", 8, 24),
    Linear("down", 8, 8, rows=3),
    Pointwise("residual2", "add", 24, 2),
)


def test_autocast_normalises_in_fp32_so_that_the_residual_stream_becomes_fp32() -> None:
    work = step(TRANSFORMER, Run(4, precision="amp"))
    values = 4 * 24
    casts = {
        (each.layer, each.phase): each.operator
        for each in work
        if isinstance(each.operator, Streaming) and each.operator.name in CASTS
    }
    softmax = only(work, "softmax")
    assert (softmax.read_bytes, softmax.written_bytes) == (2 * 36, 4 * 36)  # 36 = 4 x 3 x 3; it casts while it reads
    assert ("softmax", "forward") not in casts
    assert casts["use", "forward"].dram_bytes == 6 * 36  # probabilities back to fp16
    assert casts["use", "input_grad"].dram_bytes == 6 * 36
    # ln1 meets the first add's fp16 sum; its fp32 output is cast for `down`.
    assert (casts["ln1", "forward"].read_bytes, casts["ln1", "forward"].written_bytes) == (2 * values, 4 * values)
    assert streaming(work, "layernorm")[1].dram_bytes == 8 * values


def test_adding_to_an_fp32_stream_gives_fp32_and_casts_one_gradient_back() -> None:
    stream = network(
        Embedding("words", 100, 8, 3),
        Pointwise("positions", "add", 24, 2),
        Linear("up", 8, 8, rows=3),
        Pointwise("residual", "add", 24, 2),
    )
    work = step(stream, Run(4, precision="amp"))
    add = only(work, "add_mixed")  # of an fp16 and an fp32 tensor: vectors of neither fit both
    assert (add.read_bytes, add.written_bytes) == ((2 + 4) * 96, 4 * 96)
    casts = [
        each
        for each in work
        if each.layer == "residual" and isinstance(each.operator, Streaming) and each.operator.name in CASTS
    ]
    assert [(each.phase, each.operator.dram_bytes) for each in casts] == [("input_grad", 6 * 96)]


def test_query_key_and_value_each_cast_the_tensor_that_they_share() -> None:
    work = step(load_network("bert-base"), Run(1, "inference", "amp"))
    casts = [
        (each.layer, each.operator.dram_bytes)
        for each in work
        if isinstance(each.operator, Streaming) and each.operator.name in CASTS
    ]
    tokens = 6 * 128 * 768
    ends = [
        layer.removeprefix("encoder.layer.0.")
        for layer, size in casts
        if size == tokens and layer.startswith("encoder.layer.0.")
    ]
    # The merged heads, which `attention.output.dense` reads, are in fp16 already.
    assert ends == ["attention.self.query", "attention.self.key", "attention.self.value", "intermediate.dense"]


def test_fused_mixed_precision_keeps_every_activation_in_fp16() -> None:
    work = step(TRANSFORMER, Run(4, precision="amp", fusion="fused"))
    assert streaming(work, "layernorm")[1].dram_bytes == 4 * 4 * 24
    assert [each.layer for each in work if isinstance(each.operator, Streaming) and each.operator.name in CASTS] == [
        "up",
        "down",
    ]


@pytest.mark.parametrize(("precision", "size"), [("fp32", 4), ("fp16", 2), ("int8", 1)])
def test_inference_in_one_number_moves_all_values_in_it(precision: str, size: int) -> None:
    work = step(RESIDUAL, Run(4, "inference", precision))  # type: ignore[arg-type]
    assert {each.operator.number for each in work} == {precision}
    assert streaming(work, "relu")[0].dram_bytes == 2 * size * VALUES
    assert not streaming(work, "cast")
    assert {each.phase for each in work} == {"forward"}


def test_training_in_int8_is_refused() -> None:
    with pytest.raises(ShapeError, match="int8 is for inference"):
        Run(4, "training", "int8")


# --- fusion ---


def test_fused_inference_leaves_the_products_the_pool_and_the_residual_read() -> None:
    work = step(RESIDUAL, Run(4, "inference", fusion="fused"))
    assert [each.layer for each in work] == ["conv1", "conv2", "add", "pool", "fc"]
    add = only(work, "add")
    assert add.joined
    assert (add.read_bytes, add.written_bytes) == (4 * VALUES, 0)


def test_fused_training_keeps_batch_norm_and_joins_what_follows_it() -> None:
    work = step(RESIDUAL, Run(4, fusion="fused"))
    kernels = [
        each.operator.name
        for each in work
        if isinstance(each.operator, Streaming) and each.phase == "forward" and not each.operator.joined
    ]
    assert kernels == ["batchnorm", "batchnorm", "average_pool", "log_softmax", "nll_loss"]
    joined = {
        (each.layer, each.operator.name): each.operator
        for each in work
        if isinstance(each.operator, Streaming) and each.operator.joined
    }
    # relu2 follows an add, so its gradient reads its output; relu1 follows a batch norm, whose gradient knows the sign.
    assert set(joined) == {("add", "add"), ("relu2", "relu_grad"), ("input", "gradient_sum")}
    assert {each.dram_bytes for each in joined.values()} == {4.0 * VALUES}


def test_a_fused_gelu_writes_what_its_gradient_reads() -> None:
    work = step(network(Linear("a", 8, 8), Pointwise("gelu", "gelu", 8), Linear("b", 8, 8)), Run(4, fusion="fused"))
    assert (only(work, "gelu").read_bytes, only(work, "gelu").written_bytes) == (0, 128)
    assert (only(work, "gelu_grad").read_bytes, only(work, "gelu_grad").written_bytes) == (128, 0)


def test_an_elementwise_function_with_no_kernel_before_it_is_one() -> None:
    work = step(network(Pointwise("relu", "relu", 8), Linear("a", 8, 8)), Run(4, "inference", fusion="fused"))
    assert only(work, "relu").dram_bytes == 2 * 128
    assert not only(work, "relu").joined


def test_a_table_that_all_samples_share_makes_products_of_all_their_rows_and_wants_no_gradient() -> None:
    work = products(step(network(Linear("a", 8, 8), MatMul("qr", products=6, m=3, n=5, k=7, fixed=True)), Run(4)))
    shapes = [(each.phase, each.operator.m, each.operator.n, each.operator.k, each.operator.batch)
              for each in work if each.layer == "qr" and isinstance(each.operator, Gemm)]  # fmt: skip
    assert shapes == [("forward", 12, 5, 7, 6), ("input_grad", 12, 7, 5, 6)]


# --- every shipped network ---


@pytest.mark.parametrize("name", network_names())
def test_products_of_a_step_do_three_times_the_forward_arithmetic_but_for_the_first(name: str) -> None:
    shipped = load_network(name)
    forward = products(step(shipped, Run(2, "inference")))
    assert sum(each.operator.flops for each in forward) == 2 * 2 * shipped.macs
    training = products(step(shipped, Run(2)))
    first = next(layer for layer in shipped.layers if isinstance(layer, Conv | Linear))
    starts = isinstance(first, Conv)  # a transformer's first linear layer passes gradients to its embeddings
    # Tables want no gradient.
    tables = sum(layer.macs for layer in shipped.layers if isinstance(layer, MatMul) and layer.fixed)
    expected = 3 * shipped.macs - tables - (first.macs if starts else 0)
    assert sum(each.operator.flops for each in training) == 2 * 2 * expected


@pytest.mark.parametrize("name", network_names())
def test_fusing_never_moves_more(name: str) -> None:
    shipped = load_network(name)
    for mode in ("inference", "training"):
        for precision in ("fp32", "amp"):
            eager, fused = (step(shipped, Run(2, mode, precision, fusion)) for fusion in ("eager", "fused"))  # type: ignore[arg-type]
            assert sum(each.operator.dram_bytes for each in fused) < sum(each.operator.dram_bytes for each in eager)
            assert sum(isinstance(each.operator, Streaming) for each in fused) < sum(
                isinstance(each.operator, Streaming) for each in eager
            )


@pytest.mark.parametrize("name", network_names())
def test_twice_the_batch_moves_at_most_twice_as_much(name: str) -> None:
    shipped = load_network(name)
    small, large = (sum(each.operator.dram_bytes for each in step(shipped, Run(batch))) for batch in (4, 8))
    assert small < large < 2 * small


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"batch": 2.5}, "batch is 2.5"),
        ({"batch": "2"}, "batch is '2'"),
        ({"batch": True}, "batch is True"),
        ({"batch": None}, "batch is None"),
        ({"mode": "train"}, "mode is 'train'; give one of inference, training"),
        ({"precision": "bf17"}, "precision is 'bf17'; give one of fp32, amp, fp16, int8"),
        ({"fusion": "x"}, "fusion is 'x'; give one of eager, fused"),
        ({"optimizer": ["adam"]}, r"optimizer is \['adam'\]; give one of sgd, adam"),
    ],
)
def test_a_run_of_unknown_words_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        Run(**{"batch": 2, **wrong})
    assert Run(np.int64(2)).batch == 2  # type: ignore[arg-type]  # a whole number all the same
