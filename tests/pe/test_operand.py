"""Which operand takes the X side: fewer terms for FPRaker, more zeros for TensorDash, both for an oracle, and the first
where equal.
"""

import numpy as np
import pytest

from simhw import Layer, Trace, load_machine, simulate_layer
from simhw.bfloat16 import from_float32, term_counts
from simhw.simulation.plan import lower_for
from simhw.trace.layer import OPERANDS
from simhw.trace.statistics import statistics_of
from tests.slow_engine import LAYERS, simulate_slowly, swapped_products, tensor

# 1.0000000 has one term under every encoder; 1.0001111 has three NAF terms (1 + 2^-3 - 2^-7) and five bits.
ONE, BITS = 0x3F80, 0x3F8F
# 1.0010101 has 4 NAF terms, 4 bits.
ALTERNATING = 0x3F95


def filled(shape, pattern):
    return np.full(shape, pattern, np.uint16)


def linear(a, w, g):
    return Layer("fc", "linear", a=filled((4, 8), a), w=filled((6, 8), w), g=filled((4, 6), g))


def chosen(layer, operation, machine="fpraker", **overrides):
    (choice,) = load_machine(machine, **overrides).pe.choose(layer, operation)
    return choice.tensor


def test_the_example_values_have_the_terms_that_the_tests_rest_on():
    assert [[int(term_counts(e)[v & 0x7F]) for v in (ONE, BITS, ALTERNATING)] for e in ("naf", "binary")] == [
        [1, 3, 4],
        [1, 5, 4],
    ]


@pytest.mark.parametrize(("operation", "sides"), OPERANDS.items())
def test_fpraker_takes_the_operand_with_fewer_terms_per_value(operation, sides):
    for fewer in sides:
        patterns = {name: ONE if name == fewer else BITS for name in "awg"}
        assert chosen(linear(**patterns), operation) == fewer


def test_terms_are_those_of_the_machines_encoder():
    layer = linear(a=ALTERNATING, w=BITS, g=ONE)
    assert chosen(layer, "forward", encoder="naf") == "w"  # 3 terms against 4
    assert chosen(layer, "forward", encoder="binary") == "a"  # 5 bits against 4


def test_zeros_count_as_values_without_terms():
    # W: four terms in half of the values is 2 a value, A: 3 in all of them.
    w = filled((6, 8), ALTERNATING)
    w[::2] = 0
    layer = Layer("fc", "linear", a=filled((4, 8), BITS), w=w)
    assert chosen(layer, "forward") == "w"


@pytest.mark.parametrize("machine", ["fpraker", "tensordash"])
@pytest.mark.parametrize(("operation", "sides"), OPERANDS.items())
def test_equal_operands_stay_as_lowered(machine, operation, sides):
    assert chosen(linear(a=BITS, w=BITS, g=BITS), operation, machine) == sides[0]


@pytest.mark.parametrize(("machine", "switch"), [("fpraker", "serial"), ("tensordash", "scheduled")])
def test_a_tensor_named_is_taken_where_the_operation_has_it_else_the_rule_decides(machine, switch):
    layer = Layer(
        "fc",
        "linear",
        a=tensor(np.random.default_rng(0), 4, 8, zeros=0),
        w=np.zeros((6, 8), np.uint16),
        g=filled((4, 6), 0),
    )
    assert chosen(layer, "forward", machine, **{switch: "a"}) == "a"
    assert chosen(layer, "weight_grad", machine, **{switch: "a"}) == "a"
    assert chosen(layer, "forward", machine, **{switch: "g"}) == "w"  # no G there: W's zeros win
    assert chosen(layer, "input_grad", machine, **{switch: "w"}) == "w"


def conv_with_zeros(images_a, w, images_g):
    """A convolution of three images whose A and G have the given fractions of zeros, image by image."""

    def part(shape, fraction, seed):
        values = tensor(np.random.default_rng(seed), *shape, zeros=0)
        values.reshape(-1)[: round(values.size * fraction)] = 0
        return values

    a = np.stack([part((4, 5, 5), fraction, i) for i, fraction in enumerate(images_a)])
    g = np.stack([part((4, 5, 5), fraction, 9 + i) for i, fraction in enumerate(images_g)])
    return Layer("c", "conv2d", {"padding": 1}, a=a, w=part((4, 4, 3, 3), w, 99), g=g)


def test_tensordash_schedules_image_by_image():
    layer = conv_with_zeros([0.9, 0.1, 0.4], 0.5, [0.2, 0.3, 0.8])
    machine = load_machine("tensordash")
    for operation, swapped in (("forward", [False, True, True]), ("input_grad", [True, True, False])):
        (choice,) = machine.pe.choose(layer, operation)
        assert choice.label == "mixed"
        assert choice.per_image.tolist() == swapped
        (family,) = lower_for(layer, operation, machine).families
        assert swapped_products(layer, operation, machine, family) == swapped
        groups = {s: products for s, products in choice.split(family)}
        assert groups == {s: tuple(i for i in range(3) if swapped[i] == s) for s in (False, True)}


def test_images_that_agree_make_one_choice():
    forward = load_machine("tensordash").pe.choose(conv_with_zeros([0.9, 0.8, 0.7], 0.5, [0, 0, 0]), "forward")[0]
    assert (forward.label, forward.swapped, forward.per_image) == ("a", False, None)
    layer = conv_with_zeros([0, 0, 0], 0.5, [0.1, 0.2, 0.4])
    (gradient,) = load_machine("tensordash").pe.choose(layer, "input_grad")
    assert (gradient.label, gradient.swapped, gradient.per_image) == ("w", True, None)


def test_an_image_whose_zeros_equal_those_of_the_weights_stays_as_lowered():
    layer = conv_with_zeros([0.5, 0.1, 0.9], 0.5, [0, 0, 0])  # 50 of 100 and 72 of 144
    (choice,) = load_machine("tensordash").pe.choose(layer, "forward")
    assert choice.per_image.tolist() == [False, True, False]


def test_a_weight_gradient_runs_over_all_images_and_chooses_once():
    # Image by image A wins twice; over the whole G does (mean 0.5 against 0.4).
    layer = conv_with_zeros([0.6, 0.6, 0.0], 0, [0.5, 0.5, 0.5])
    (choice,) = load_machine("tensordash").pe.choose(layer, "weight_grad")
    assert (choice.label, choice.swapped) == ("g", True)


def test_a_matmul_chooses_for_every_index_of_the_leading_axis():
    rng = np.random.default_rng(3)
    a = np.stack([tensor(rng, 2, 5, 16, zeros=z) for z in (0.9, 0.1)])
    w = np.stack([tensor(rng, 2, 16, 6, zeros=z) for z in (0.5, 0.5)])
    layer = Layer("m", "matmul", a=a, w=w)
    (choice,) = load_machine("tensordash").pe.choose(layer, "forward")
    (family,) = lower_for(layer, "forward", load_machine("tensordash")).families
    assert choice.split(family) == [(False, (0, 1)), (True, (2, 3))]  # two heads of either image


def test_a_mixed_operation_equals_the_oracles_with_each_images_own_operand():
    layer = conv_with_zeros([0.9, 0.1, 0.4], 0.5, [0.2, 0.3, 0.8])
    for operation in layer.operations:
        machine = load_machine("tensordash", **{"tile.rows": 2, "tile.cols": 3})
        result, slow = simulate_layer(layer, operation, machine), simulate_slowly(layer, operation, machine)
        assert result.tile_cycles == slow.tile_cycles
        assert {name: e.value for name, e in result.counters.items()} == {
            n: c for n, c in slow.counters.items() if n != "overflows"
        }
    assert simulate_layer(layer, "forward", "tensordash").operand == "mixed"


def test_a_dense_machine_has_no_reason_to_choose():
    layer = conv_with_zeros([0, 0, 0], 0.9, [0.9, 0.9, 0.9])
    assert [chosen(layer, operation, "bitparallel") for operation in layer.operations] == ["a", "g", "a"]


@pytest.mark.parametrize(("machine", "switch"), [("fpraker", "serial"), ("tensordash", "scheduled")])
@pytest.mark.parametrize("name", LAYERS)
def test_an_oracle_keeps_the_faster_operand_whole(machine, switch, name):
    layer = LAYERS[name]()
    for operation in layer.operations:
        each = {t: simulate_layer(layer, operation, load_machine(machine, **{switch: t})) for t in OPERANDS[operation]}
        best = simulate_layer(layer, operation, load_machine(machine, **{switch: "oracle"}))
        assert best.cycles == min(result.cycles for result in each.values())
        kept = each[best.operand]
        assert (best.cycles, best.tile_cycles, best.passes, best.simulated) == (
            kept.cycles,
            kept.tile_cycles,
            kept.passes,
            1,
        )
        assert best.counters == kept.counters


def test_an_oracle_of_equals_keeps_the_canonical_operand():
    best = simulate_layer(linear(ONE, ONE, ONE), "forward", load_machine("fpraker", serial="oracle"))
    assert best.operand == "a"


def test_recorded_statistics_decide_where_a_layer_has_them():
    layer = linear(a=BITS, w=ONE, g=ONE)
    assert chosen(layer, "forward") == "w"
    recorded = {"a": statistics_of(linear(ONE, ONE, ONE), "a"), "w": statistics_of(linear(ONE, BITS, ONE), "w")}
    other = Layer("fc", "linear", a=layer.a, w=layer.w, g=layer.g, statistics=recorded)
    assert chosen(other, "forward") == "a"


def test_statistics_are_measured_once():
    class Counting:
        shape = (4, 8)
        reads = 0

        def read(self):
            self.reads += 1
            return from_float32(np.ones(self.shape, np.float32))

    source = Counting()
    layer = Trace([Layer("fc", "linear", a=source, w=filled((6, 8), ONE))]).layers[0]
    for _ in range(3):
        chosen(layer, "forward")
    assert source.reads == 1
