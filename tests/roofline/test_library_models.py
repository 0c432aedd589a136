"""Shipped lists are what the libraries that they name run: layers with weights by name and shape, and all arithmetic.

Skipped where the libraries are not installed; they are no dependencies.
"""

from typing import Any

import pytest
import torch

from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Conv, Embedding, Experts, Linear, Network, Weight
from simhw.roofline.networks.catalogue import load_network

TOKENS = 64


def weights(network: Network) -> dict[str, tuple[int, ...]]:
    """Sizes of all layers with a matrix of weights, by name."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in network.layers:
        match layer:
            case Conv():
                found[layer.name] = (layer.in_channels, layer.out_channels, *layer.size, *layer.kernel, layer.groups)
            case Linear():
                found[layer.name] = (layer.in_features, layer.out_features, layer.rows, layer.bias, layer.tied)
            case Experts():
                found[layer.name] = (layer.experts, layer.in_features, layer.out_features, layer.rows)
            case Embedding() | Weight() if layer.parameters:
                found[layer.name] = (layer.parameters,)
    return found


IMAGES = {
    "alexnet": "alexnet",
    "convnext-t": "convnext_tiny",
    "efficientnet-b0": "efficientnet_b0",
    "mobilenet-v3-large": "mobilenet_v3_large",
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "squeezenet1_1": "squeezenet1_1",
    "swin-t": "swin_t",
    "vgg16": "vgg16",
}


@pytest.mark.parametrize(("name", "function"), IMAGES.items())
def test_networks_of_images_are_those_of_torchvision(name: str, function: str) -> None:
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        captured = network_of(getattr(models, function)().eval(), torch.empty(1, 3, 224, 224))
    shipped = load_network(name)
    assert (shipped.parameters, shipped.macs) == (captured.parameters, captured.macs)
    if "zoo" not in shipped.source and "names" in shipped.source:
        assert weights(shipped) == weights(captured)


def config(name: str) -> tuple[str, dict[str, Any]]:
    """Class of a model, and what of its configuration is not the default of transformers."""
    llama = {"num_key_value_heads": 8, "intermediate_size": 14336}
    return {
        "gpt2": ("GPT2LMHeadModel", {}),
        "gpt2-medium": ("GPT2LMHeadModel", {"n_embd": 1024, "n_head": 16, "n_layer": 24}),
        "opt-1.3b": (
            "OPTForCausalLM",
            {"hidden_size": 2048, "word_embed_proj_dim": 2048, "ffn_dim": 8192, "num_attention_heads": 32}
            | {"num_hidden_layers": 24},
        ),
        "llama-7b": ("LlamaForCausalLM", {}),
        "llama-3-8b": ("LlamaForCausalLM", {"vocab_size": 128256} | llama),
        "mixtral-8x7b": ("MixtralForCausalLM", {}),
        "t5-base": (
            "T5ForConditionalGeneration",
            {"d_model": 768, "num_heads": 12, "num_layers": 12, "num_decoder_layers": 12, "d_ff": 3072},
        ),
        "bert-base": ("BertModel", {}),
        "bert-large": (
            "BertModel",
            {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
        ),
    }[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["gpt2", "gpt2-medium", "opt-1.3b", "llama-7b", "llama-3-8b", "mixtral-8x7b", "t5-base", "bert-base", "bert-large"],
)
def test_language_models_are_those_of_transformers(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    called, given = config(name)
    model = getattr(transformers, called)
    with torch.device("meta"):
        made = model(model.config_class(**given)).eval()
        ids = torch.empty(1, TOKENS, dtype=torch.long)
    captured = network_of(made, [ids, None, ids] if name == "t5-base" else ids)
    shipped = load_network(name, sequence=TOKENS, sizes={"target": TOKENS} if name == "t5-base" else {})
    assert (shipped.parameters, shipped.macs) == (captured.parameters, captured.macs)
    ours, theirs = (
        {each: sizes for each, sizes in weights(network).items() if len(sizes) > 1} for network in (shipped, captured)
    )
    if name == "mixtral-8x7b" and int(transformers.__version__.split(".")[0]) < 5:  # experts stood apart
        ours, theirs = (
            {each: made[each] for each in made if ".mlp." not in each and "moe" not in each} for made in (ours, theirs)
        )
    assert ours == theirs
