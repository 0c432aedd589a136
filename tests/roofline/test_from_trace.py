"""Networks of a trace's shapes: every kind of layer, a real step, and traces that tell too little."""

import numpy as np
import pytest

from simhw import Layer, Trace, load_trace
from simhw.errors import ShapeError
from simhw.roofline.layers.from_trace import network_from_trace
from simhw.roofline.layers.network import Conv, Linear, MatMul, RecurrentLayer
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import step
from simhw.trace.batch import captured_batch
from simhw.trace.metadata import Metadata


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint16)


def test_every_kind_of_layer_becomes_its_shape_for_one_sample() -> None:
    trace = Trace(
        [
            Layer(
                "conv",
                "conv2d",
                {"stride": 2, "padding": 1, "groups": 2},
                a=zeros(4, 6, 9, 9),
                w=zeros(8, 3, 3, 3),
                g=zeros(4, 8, 5, 5),
            ),
            Layer("fc", "linear", a=zeros(4, 7, 10), w=zeros(3, 10), g=zeros(4, 7, 3)),
            Layer("scores", "matmul", a=zeros(8, 7, 5), w=zeros(8, 5, 6), g=zeros(8, 7, 6)),
            Layer("rnn.weight_ih_l0", "lstm", a=zeros(11, 4, 3), w=zeros(20, 3), g=zeros(11, 4, 20)),
            Layer("rnn.weight_hh_l0", "lstm", a=zeros(11, 4, 5), w=zeros(20, 5), g=zeros(11, 4, 20)),
        ]
    )
    assert captured_batch(trace) == 4
    assert network_from_trace(trace).layers == (
        Conv("conv", 6, 8, (9, 9), (3, 3), (2, 2), (1, 1), (1, 1), 2),
        Linear("fc", 10, 3, 7, bias=False),
        MatMul("scores", 2, 7, 6, 5),
        Linear("rnn.weight_ih_l0", 3, 20, 11, bias=False),
        RecurrentLayer("rnn.weight_hh_l0", "lstm", 0, 5, 11),
    )


def test_layer_whose_weights_were_not_trained_is_frozen() -> None:
    layer = Layer("fc", "linear", a=zeros(4, 10), w=zeros(3, 10), g=zeros(4, 3), operations=["forward", "input_grad"])
    (frozen,) = network_from_trace(Trace([layer])).layers
    assert frozen == Linear("fc", 10, 3, 1, bias=False, trainable=False)


def test_bundled_step_has_the_products_of_resnet50() -> None:
    trace = load_trace("resnet50.npz")
    network = network_from_trace(trace)
    assert captured_batch(trace) == 4
    # The bundled step ran at 64 x 64 with ten classes: the same layers as at 224, of other sizes.
    whole = load_network("resnet50")
    convolutions = [layer for layer in whole.layers if isinstance(layer, Conv)]
    found = [layer for layer in network.layers if isinstance(layer, Conv)]
    assert [(c.in_channels, c.out_channels, c.kernel, c.stride) for c in sorted(found, key=lambda c: c.name)] == [
        (c.in_channels, c.out_channels, c.kernel, c.stride) for c in sorted(convolutions, key=lambda c: c.name)
    ]
    # 1.343 G multiply-accumulates for four images, as `simhw run` counts the forward operation.
    assert 4 * network.macs == pytest.approx(1.343e9, rel=1e-3)
    assert "products alone" in network.source
    assert {work.phase for work in step(network, Run(4))} >= {"forward", "input_grad", "weight_grad"}


def test_recorded_batch_tells_what_a_sample_is_and_an_optimizers_products_are_left_out_by_name() -> None:
    # Ten tokens, a batch of four: the greatest common divisor of the leading axes would be two.
    tokens = Layer("tokens", "linear", a=zeros(10, 4, 8), w=zeros(6, 8), g=zeros(10, 4, 6))
    scores = Layer("scores", "matmul", a=zeros(8, 10, 4), w=zeros(8, 4, 10), g=zeros(8, 10, 10))
    outside = Layer("matmul", "matmul", a=zeros(40, 8), w=zeros(8, 5), g=zeros(40, 5))
    update = Layer("matmul#2", "matmul", a=zeros(8, 6), w=zeros(6, 8))
    network = network_from_trace(Trace([tokens, scores, outside, update], Metadata(batch=4)))
    assert network.layers == (
        Linear("tokens", 8, 6, 10, bias=False),
        MatMul("scores", 2, 10, 10, 4),
        Linear("matmul", 8, 5, 10, bias=False),
    )
    assert "without 'matmul#2', which have no batch axis" in network.source


def test_product_across_samples_is_refused() -> None:
    contrast = Layer("matmul", "matmul", a=zeros(4, 12), w=zeros(12, 4), g=zeros(4, 4))
    code = Layer("code", "linear", a=zeros(4, 10), w=zeros(12, 10), g=zeros(4, 12))
    with pytest.raises(ShapeError, match="a product across samples"):
        network_from_trace(Trace([code, contrast], Metadata(batch=4)))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([], "has no layers"),
        ([Layer("fc", "linear", w=zeros(3, 10), g=zeros(4, 3))], "layer 'fc': tensor A has no shape"),
        (
            [
                Layer("a", "conv2d", a=zeros(8, 3, 4, 4), w=zeros(2, 3, 1, 1), g=zeros(8, 2, 4, 4)),
                Layer("b", "linear", a=zeros(4, 10), w=zeros(3, 10), g=zeros(4, 3)),
            ],
            "layer 'a': 2 images a sample",
        ),
    ],
)
def test_trace_that_tells_too_little_is_refused(layers: list[Layer], words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        network_from_trace(Trace(layers))
