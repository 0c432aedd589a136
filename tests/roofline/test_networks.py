"""The networks that come with simhw: their parameters and arithmetic are the published ones, and their shapes those of
PyTorch models.
"""

from typing import Any

import pytest

from simhw.errors import ShapeError
from simhw.roofline.layers.network import Conv, Linear, MatMul, Network, Pointwise
from simhw.roofline.networks.catalogue import load_network, network_names
from tests.roofline.zoo_models import ZOO

# Parameters: torchvision's model pages (ResNets, VGG16, ConvNeXt, EfficientNet, MobileNet, Swin), Hugging Face's models
# (BertModel with pooler; the others with their heads, tied ones counted once), timm's vit_small_patch16_224.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "vgg16": 138_357_544,
    "bert-base": 109_482_240,
    "bert-large": 335_141_888,
    "vit-s": 22_050_664,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "opt-1.3b": 1_315_758_080,
    "llama-7b": 6_738_415_616,
    "llama-3-8b": 8_030_261_248,
    "mixtral-8x7b": 46_702_792_704,
    "t5-base": 222_903_552,
    "convnext-t": 28_589_128,
    "efficientnet-b0": 5_288_548,
    "mobilenet-v3-large": 5_483_032,
    "swin-t": 28_288_354,
}
# Multiply-accumulates of an image of 224 x 224, in 10^9, as printed: torchvision's model pages ("GFLOPS": 1.81, 3.66,
# 4.09, 7.80, 11.51, 15.47; 4.46, 0.39, 0.22, 4.49) and Touvron et al. 2021, table 1 (ViT-S/DeiT-S 4.6).
GMACS = {
    "resnet18": 1.81,
    "resnet34": 3.66,
    "resnet50": 4.09,
    "resnet101": 7.80,
    "resnet152": 11.51,
    "vgg16": 15.47,
    "vit-s": 4.60,
    "convnext-t": 4.46,
    "efficientnet-b0": 0.39,
    "mobilenet-v3-large": 0.22,
    "swin-t": 4.49,
}
DECODERS = ("opt-1.3b", "llama-7b", "llama-3-8b", "mixtral-8x7b")


def test_every_shipped_network_has_a_published_count() -> None:
    # Those of the zoo: tests/roofline/test_zoo.py; NEZHA's follow from BERT's.
    assert network_names() == sorted({*PARAMETERS, *ZOO, "bert-nezha-large"})


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_parameters_are_the_published_ones(name: str, parameters: int) -> None:
    assert load_network(name).parameters == parameters


@pytest.mark.parametrize(("name", "published"), GMACS.items())
def test_arithmetic_is_the_published_one(name: str, published: float) -> None:
    assert load_network(name).macs / 1e9 == pytest.approx(published, abs=0.006)


@pytest.mark.parametrize(
    ("name", "hidden", "layers", "inner"), [("bert-base", 768, 12, 3072), ("bert-large", 1024, 24, 4096)]
)
@pytest.mark.parametrize("sequence", [128, 512])
def test_arithmetic_of_bert_by_its_formula(name: str, hidden: int, layers: int, inner: int, sequence: int) -> None:
    # Per layer and token: query, key, value, output 4 h^2; feed-forward 2 h inner; scores and their use 2 s h.  And the
    # pooler.
    expected = layers * sequence * (4 * hidden**2 + 2 * hidden * inner + 2 * sequence * hidden) + hidden**2
    assert load_network(name, sequence=sequence).macs == expected


def test_nezha_is_bert_of_another_vocabulary_with_relative_positions() -> None:
    nezha, bert = load_network("bert-nezha-large"), load_network("bert-large")
    # 9,394 words and 512 positions fewer; heads: two sentences, a dense layer with its norm, biases of the words.
    heads = (2 * 1024 + 2) + (1024 * 1024 + 3 * 1024) + 21_128
    assert nezha.parameters == bert.parameters - (30_522 - 21_128 + 512) * 1024 + heads
    # A query meets the encodings of 128 distances, and its weights those of 128: twice what its head does with keys
    # and values, over again.
    relative = sum(layer.macs for layer in nezha.layers if "relative" in layer.name)
    assert relative == 24 * 2 * 128 * 128 * 1024


def test_sequence_length_changes_no_parameter() -> None:
    assert load_network("bert-base", sequence=384).parameters == PARAMETERS["bert-base"]


def test_other_sizes_can_be_set() -> None:
    large = load_network("resnet50", sizes={"image": 448, "classes": 10})
    assert large.parameters == PARAMETERS["resnet50"] - 990 * 2049
    # Every size doubles exactly, so the convolutions do four times as much.
    assert large.macs - 20_480 == 4 * (load_network("resnet50").macs - 2_048_000)


def test_a_size_that_the_list_does_not_have_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"no size called 'sequence'.*image, classes"):
        load_network("resnet50", sequence=128)


def test_an_unknown_network_names_those_there_are() -> None:
    with pytest.raises(ShapeError, match=r"no network 'lenet'.*resnet18"):
        load_network("lenet")
    with pytest.raises(ShapeError, match="no network"):
        load_network("x" * 5000 + ".yaml")


def test_a_residual_block_runs_in_the_order_of_its_forward_pass() -> None:
    names = [layer.name for layer in load_network("resnet50").layers]
    block = [name.removeprefix("layer2.0.") for name in names if name.startswith("layer2.0.")]
    assert block == (
        "input conv1 bn1 relu1 conv2 bn2 relu2 conv3 bn3 downsample.0 downsample.1 add relu3".split()  # noqa: SIM905 - easier to read
    )


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_residual_has_a_fork(name: str) -> None:
    adds = [layer for layer in load_network(name).layers if isinstance(layer, Pointwise) and layer.function == "add"]
    # Embeddings are added, none of them parts; a bias for all samples is no residual.
    residuals = [
        layer.name
        for layer in adds
        if layer.inputs == 2 and not layer.name.startswith(("embeddings", "transformer.add", "model.decoder.add"))
    ]
    forks = [layer for layer in load_network(name).layers if isinstance(layer, Pointwise) and layer.function == "fork"]
    shared = name in DECODERS or name in ("t5-base", "efficientnet-b0", "mobilenet-v3-large")  # normalised, gates
    assert len(forks) > len(residuals) if shared else len(forks) == len(residuals)


@pytest.mark.parametrize("name", [name for name in PARAMETERS if "resnet" in name or name == "vgg16"])
def test_every_layer_of_a_convolutional_network_reads_what_flows(name: str) -> None:
    # A branch's convolution reads the block's input; every other one reads as many channels as the last one wrote.
    channels = 3
    for layer in load_network(name).layers:
        if isinstance(layer, Conv):
            assert layer.in_channels == channels or layer.name.endswith("downsample.0")
            channels = layer.out_channels


def _shapes(network: Network) -> dict[str, tuple[int, ...]]:
    convolutions = {
        each.name: (each.out_channels, *each.out_size, each.in_channels, *each.kernel)
        for each in network.layers
        if isinstance(each, Conv)
    }
    return convolutions | {
        each.name: (each.out_features, each.in_features) for each in network.layers if isinstance(each, Linear)
    }


def test_resnet50_is_the_torch_model_layer_by_layer() -> None:
    torch = pytest.importorskip("torch")
    from simhw_workloads.models.resnet import resnet50

    with torch.device("meta"):
        model = resnet50()
        image = torch.empty(1, 3, 224, 224)
    found: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):

            def note(module, _inputs, output, name=name):  # type: ignore[no-untyped-def]
                found[name] = (*output.shape[1:], module.in_channels, *module.kernel_size)

            module.register_forward_hook(note)
        elif isinstance(module, torch.nn.Linear):
            found[name] = (module.out_features, module.in_features)
    model.eval()(image)
    network = load_network("resnet50")
    assert _shapes(network) == found
    assert network.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_attention_multiplies_all_heads() -> None:
    scores, context = (
        next(
            each
            for each in load_network("bert-large", sequence=512).layers
            if isinstance(each, MatMul) and each.name.endswith(end)
        )
        for end in ("layer.0.attention.self.scores", "layer.0.attention.self.context")
    )
    assert (scores.products, scores.m, scores.n, scores.k) == (16, 512, 512, 64)
    assert (context.products, context.m, context.n, context.k) == (16, 512, 64, 512)


@pytest.mark.parametrize(
    ("network", "sizes", "told"),
    [
        (None, None, "a network is None; give a name or the path of a file"),
        (b"vgg16", None, "a network is b'vgg16'"),
        ("vgg16", [1], r"sizes are \[1\]; give a mapping"),
        ("vgg16", {"image": [64]}, r"size 'image' is \[64\]; give names and whole numbers"),
        ("vgg16", {1: 2, "image": 64}, "size 1 is 2"),
        ("vgg16", {"image": None}, "size 'image' is None"),
    ],
)
def test_networks_and_sizes_of_other_types_are_refused(network: Any, sizes: Any, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        load_network(network, sizes=sizes)
