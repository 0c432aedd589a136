"""What cannot be captured faithfully is refused by name; a step is never under-counted in silence."""

import contextlib
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from simhw.capture.operators import NOTED, PRODUCTS, REFUSED, role
from simhw.errors import CaptureError
from tests.captured_steps import captured, coarse


def scripted_custom_operator() -> Tensor:
    library = torch.library.Library("simhw_test", "FRAGMENT")
    if not hasattr(torch.ops.simhw_test, "secret_gemm"):
        library.define("secret_gemm(Tensor a, Tensor b) -> Tensor")
        library.impl("secret_gemm", lambda a, b: a @ b, "CPU")
    return torch.ops.simhw_test.secret_gemm(torch.ones(2, 2), torch.ones(2, 2))


REFUSALS: dict[str, tuple[Callable[[], object], str]] = {
    "distances": (lambda: torch.cdist(torch.ones(3, 2), torch.ones(3, 2), p=1.0), "aten::_cdist_forward"),
    "addbmm": (lambda: torch.addbmm(torch.zeros(2, 2), torch.ones(3, 2, 2), torch.ones(3, 2, 2)), "aten::addbmm"),
    "sparse": (lambda: torch.sparse.mm(torch.eye(3).to_sparse(), torch.ones(3, 2)), "_sparse"),
    "integers": (lambda: torch.ones(2, 2, dtype=torch.int64) @ torch.ones(2, 2, dtype=torch.int64), "torch.int64"),
    "fused operator of another library": (scripted_custom_operator, "simhw_test::secret_gemm"),
    "fused recurrent layer": (
        lambda: torch.ops.aten.mkldnn_rnn_layer(
            *(
                torch.ones(2, 1, 4),
                torch.ones(16, 4),
                torch.ones(16, 4),
                torch.ones(16),
                torch.ones(16),
                torch.ones(1, 4),
                torch.ones(1, 4),
            ),
            *(False, [], 2, 4, 1, True, False, False, True),
        ),
        "aten::mkldnn_rnn_layer",
    ),
    "fused attention": (
        lambda: torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*(torch.ones(1, 1, 2, 4),) * 3),
        "aten::_scaled_dot_product_flash_attention_for_cpu",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_an_operator_that_hides_products_is_refused_by_name_and_module(case: str, tmp_path: Path):
    run, operator = REFUSALS[case]

    class Hidden(nn.Module):
        def forward(self) -> None:
            run()

    model = nn.ModuleDict({"inner": Hidden()})
    with pytest.raises(CaptureError, match=re.escape(operator)) as error:
        captured(model, lambda: model["inner"](), tmp_path)
    assert "'inner" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_operator_can_be_declared_harmless(tmp_path: Path):
    def step() -> None:
        torch.cdist(torch.ones(3, 2), torch.ones(3, 2), p=1.0)
        torch.ones(2, 2) @ torch.ones(2, 2)

    assert len(captured(nn.Identity(), step, tmp_path, ignore={"aten::_cdist_forward"}).layers) == 1


def test_solvers_are_counted_beside_the_layers(tmp_path: Path):
    def step() -> None:
        torch.linalg.svd(torch.ones(3, 2) @ torch.ones(2, 2))
        torch.linalg.svd(torch.eye(3))

    assert captured(nn.Identity(), step, tmp_path).metadata.extra["not_captured"] == {"aten::_linalg_svd": 2}


def test_every_operator_of_this_torch_that_may_multiply_is_decided_upon():
    """A new PyTorch with a new fused operator fails here, not in a user's silently incomplete trace."""
    suspicious = re.compile(
        r"(^|_)(mm|bmm|gemm|matmul|linear|conv|convolution|rnn|lstm|gru|attention|attn|dot|vdot|mv|bilinear|trilinear|cdist|pdist|"
        r"euclidean|einsum|addr|encoder|head|smm|hspmm)|(add|badd|addb|int4pack_|int8pack_|sspadd)mm|mm$|addmv|conv[123]d|matmul|attention"
    )
    # Named alike, but they multiply nothing: interpolation, packing, pointwise parts of cells, shape and set-up work.
    innocent = re.compile(
        r"upsample_|_upsample|pack_4bit|linear_quantize_weight|pack_gemm|_convert_weight|prepack|flatten_weight|reorder_conv|"
        r"thnn_(fused|differentiable)|lgamma|digamma|glu|_overrideable$|scaled_dot_product_attention_math$|grid_sampler|"
        r"leaky|relu$|_convert_indices|linspace|prod|isfinite|_linear_pointwise"
    )
    overloads: dict[str, list[str]] = {}
    for full in torch._C._dispatch_get_all_op_names():
        if full.startswith("aten::"):
            overloads.setdefault(full.removeprefix("aten::").partition(".")[0], []).append(full)
    undecided = []
    for name, full_names in sorted(overloads.items()):
        # What is made of other operators is never seen whole outside of inference mode, and is taken apart there.
        composite = all(
            torch._C._dispatch_has_kernel_for_dispatch_key(full, "CompositeImplicitAutograd") for full in full_names
        )
        if suspicious.search(name) and not innocent.search(name) and not composite and role("aten", name) == "harmless":
            undecided.append(name)
    assert undecided == []


def test_every_operator_that_capture_knows_exists():
    known = {name.partition(".")[0].removeprefix("aten::") for name in torch._C._dispatch_get_all_op_names()}
    assert {*REFUSED, *NOTED, *PRODUCTS} - known == set()


def test_a_backward_pass_of_an_earlier_forward_pass_is_refused(tmp_path: Path):
    model = nn.Linear(3, 2)
    loss = model(torch.ones(1, 3)).sum()
    with pytest.raises(CaptureError, match="put forward, backward and optimizer step all inside"):
        captured(model, loss.backward, tmp_path)


def test_a_forward_pass_in_another_thread_is_not_taken_for_one_that_was_seen(tmp_path: Path):
    model, x = nn.Linear(4, 4), coarse(4, 4)
    outputs = []

    def step() -> None:
        thread = threading.Thread(target=lambda: outputs.append(model(x)))
        thread.start()
        thread.join()
        nn.functional.conv1d(x[None], torch.ones(2, 4, 1, requires_grad=True))
        outputs[0].sum().backward()

    with pytest.raises(CaptureError, match="of a product that was not captured"):
        captured(model, step, tmp_path)


def in_a_thread(run: Callable[[], object]) -> None:
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def gradients_in_a_thread(loss: Tensor, wanted: list[Tensor]) -> None:
    in_a_thread(lambda: torch.autograd.grad(loss, wanted))


THREADED: dict[str, tuple[Callable[[nn.Module, Tensor], None], str]] = {
    "backward": (
        lambda model, x: in_a_thread(model(x).sum().backward),
        r"the gradient of parameter '0\.\w+' was computed in another",
    ),
    "gradients alone": (
        lambda model, x: gradients_in_a_thread(model(x).sum(), [*model.parameters()]),
        r"the gradient of parameter '0\.\w+' was computed in another",
    ),
    "a frozen model's": (
        lambda model, x: gradients_in_a_thread(model.requires_grad_(False)(x.requires_grad_()).sum(), [x]),
        "the gradient of the input of 'Sequential' was computed in another",
    ),
    "forward and backward": (
        lambda model, x: in_a_thread(lambda: model(x).sum().backward()),
        "module 'Sequential' ran in another",
    ),
    "one layer": (lambda model, x: [model(x), in_a_thread(lambda: model[0](x))][1], "module '0' ran in another"),
}


@pytest.mark.parametrize("case", THREADED)
def test_work_in_another_thread_is_refused_and_leaves_no_trace(case: str, tmp_path: Path):
    run, message = THREADED[case]
    model, x = nn.Sequential(nn.Linear(4, 4)), coarse(4, 4)
    with pytest.raises(CaptureError, match=message):
        captured(model, lambda: run(model, x), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not model[0].weight._backward_hooks


def test_modules_of_others_in_another_thread_are_nobody_s_business(tmp_path: Path):
    """Such as a loader's that prepare the next batch."""
    model, other, x = nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4)), coarse(4, 4)

    def step() -> None:
        model(x).sum().backward()
        in_a_thread(lambda: other(x))
        model(x)

    assert [layer.name for layer in captured(model, step, tmp_path).layers] == ["0", "0#2"]


def gradient_penalty(model: nn.Module) -> None:
    x = coarse(2, 3).requires_grad_()
    (grad,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    grad.square().sum().backward()


def functional_gradient(model: nn.Module) -> None:
    parameters = dict(model.named_parameters())
    torch.func.grad(lambda p: torch.func.functional_call(model, p, (coarse(2, 3),)).sum())(parameters)


@pytest.mark.parametrize("step", [gradient_penalty, functional_gradient])
def test_second_order_and_functional_gradients_are_refused(step: Callable[[nn.Module], None], tmp_path: Path):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    with pytest.raises(CaptureError, match=r"create_graph=True.*torch\.func.*leave out the term"):
        captured(model, lambda: step(model), tmp_path)


@pytest.mark.parametrize("size", [3, 4])
def test_a_hook_that_multiplies_a_gradient_is_refused(size: int, tmp_path: Path):
    """At size 4 the hook's product has the very shapes of the layer's input gradient: only its values tell it apart."""
    model, x = nn.Linear(size, 4), coarse(2, size).requires_grad_()

    def step() -> None:
        output = model(x)
        output.register_hook(lambda grad: grad @ torch.ones(4, 4))
        output.sum().backward()

    with pytest.raises(CaptureError, match="a hook on a gradient that multiplies"):
        captured(model, step, tmp_path)


def test_a_step_without_layers_is_refused(tmp_path: Path):
    with pytest.raises(CaptureError, match="step 1: no layer ran"):
        captured(nn.ReLU(), lambda: None, tmp_path)


class Scripted(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.mv(x, y)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_a_refusal_within_a_script_is_one_of_capture(tmp_path: Path):
    """TorchScript's interpreter makes a RuntimeError without a word of it."""
    model = torch.jit.script(Scripted())
    with pytest.raises(CaptureError, match=r"operator aten::mv.*give vectors as matrices of one row or column"):
        captured(nn.Identity(), lambda: model(coarse(3, 4), coarse(4)), tmp_path)


def test_a_refusal_that_a_program_goes_on_after_is_told_at_the_end_of_the_step(tmp_path: Path):
    model, x = nn.Linear(3, 3), coarse(3, 3)

    def step() -> None:
        with contextlib.suppress(CaptureError):
            torch.cdist(x, x, p=1.0)
        model(x).sum().backward()

    with pytest.raises(CaptureError, match="operator aten::_cdist_forward"):
        captured(model, step, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_after_a_refusal_goes_on(tmp_path: Path):
    def step() -> None:
        with contextlib.suppress(CaptureError):
            torch.cdist(torch.ones(3, 3), torch.ones(3, 3), p=1.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        captured(nn.Identity(), step, tmp_path)


# What a refusal advises works


def half_compressed(run: Callable[[], Tensor]) -> None:
    def pack(tensor: Tensor) -> Tensor:
        return (tensor * 4).round().to(torch.int8) if tensor.is_floating_point() else tensor

    def unpack(tensor: Tensor) -> Tensor:
        return tensor.float() / 4 if tensor.dtype == torch.int8 else tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        run().sum().backward()


@pytest.mark.parametrize(("model", "shape"), [(nn.Linear(4, 3), (5, 4)), (nn.Conv1d(4, 3, 2), (2, 4, 5))])
def test_a_compression_of_activations_is_refused_for_what_it_is(
    model: nn.Module, shape: tuple[int, ...], tmp_path: Path
):
    x = torch.randn(shape)
    with pytest.raises(CaptureError, match=r"saved-tensor hooks gave back other values .* without these hooks"):
        captured(model, lambda: half_compressed(lambda: model(x)), tmp_path)
    assert captured(model, lambda: model(x).sum().backward(), tmp_path).layers[0].operations == (
        "forward",
        "weight_grad",
    )


def test_hooks_that_give_back_the_same_values_are_let_be(tmp_path: Path):
    model, x = nn.Linear(4, 3), coarse(5, 4)

    def step() -> None:
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.clone(), lambda tensor: tensor.clone()):
            model(x).sum().backward()

    assert captured(model, step, tmp_path).layers[0].operations == ("forward", "weight_grad")


def sparse(layout: str) -> Callable[[], object]:
    def run() -> None:
        matrix = torch.eye(4)
        given = {"coo": matrix.to_sparse, "csr": matrix.to_sparse_csr, "csc": matrix.to_sparse_csc}
        dense = torch.ones(4, 4, requires_grad=True)
        (given[layout]() @ dense).sum().backward()

    return run


ADVISED: dict[str, Callable[[], object]] = {
    **{name: run for name, (run, _) in REFUSALS.items()},
    **{f"sparse {layout}": sparse(layout) for layout in ("coo", "csr", "csc")},
    "sparse by function": lambda: (
        torch.sparse.mm(torch.eye(4).to_sparse(), torch.ones(4, 4, requires_grad=True)).sum().backward()
    ),
    "sparse times sparse": lambda: torch.sparse.mm(torch.eye(3).to_sparse(), torch.eye(3).to_sparse()),
    "sparse batch": lambda: torch.bmm(torch.eye(4).repeat(2, 1, 1).to_sparse(), torch.ones(2, 4, 4)),
    "nested linear": lambda: nn.Linear(4, 2)(torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)])),
    "complex": lambda: torch.ones(2, 2, dtype=torch.complex64) @ torch.ones(2, 2, dtype=torch.complex64),
    "complex layer": lambda: (
        nn.Linear(2, 2, dtype=torch.complex64)(torch.ones(2, 2, dtype=torch.complex64)).abs().sum().backward()
    ),
    "integer vectors": lambda: torch.ones(3, dtype=torch.int32) @ torch.ones(3, dtype=torch.int32),
    "integer convolution": lambda: nn.functional.conv1d(
        torch.ones(1, 1, 4, dtype=torch.int64), torch.ones(1, 1, 2, dtype=torch.int64)
    ),
    "distances with a gradient": lambda: (
        torch.cdist(torch.ones(3, 2, requires_grad=True), torch.zeros(3, 2), p=1.0).sum().backward()
    ),
}


def advised(run: Callable[[], object]) -> str:
    """The operator that a refusal says can be ignored; empty where nothing is refused."""
    try:
        run()
    except CaptureError as error:
        return re.findall(r"ignore=\{'([^']*)'\}", str(error))[0]
    return ""


@pytest.mark.parametrize("case", ADVISED)
@pytest.mark.filterwarnings("ignore:Sparse", "ignore:The PyTorch API of nested")
def test_to_ignore_what_a_refusal_names_lets_the_step_run(case: str, tmp_path: Path):
    model, x = nn.Linear(4, 2), coarse(3, 4)

    def step() -> None:
        ADVISED[case]()
        model(x).sum().backward()

    ignored: set[str] = set()
    # A step may run several such operators; each is to be named but once.
    while advice := advised(lambda: captured(nn.ModuleDict({"seen": model}), step, tmp_path, ignore=ignored)):
        assert advice not in ignored, "refused again with the same advice"
        ignored.add(advice)
    assert ignored
    trace = captured(nn.ModuleDict({"seen": model}), step, tmp_path, ignore=ignored)
    assert ignored <= set(trace.metadata.extra["not_captured"])
    assert [layer.operations for layer in trace.layers if layer.name == "seen"] == [("forward", "weight_grad")]


def test_an_operator_that_runs_functions_is_refused_in_one_line(tmp_path: Path):
    from torch.nn.attention.flex_attention import flex_attention

    x = torch.ones(1, 1, 4, 16)
    for step in (
        lambda: flex_attention(x, x, x),
        lambda: torch.cond(torch.tensor(True), lambda y: y * 2, lambda y: y, (x,)),
    ):
        with pytest.raises(CaptureError, match="capture cannot see into an operator that runs functions") as error:
            captured(nn.Identity(), step, tmp_path)
        assert "\n" not in str(error.value)
