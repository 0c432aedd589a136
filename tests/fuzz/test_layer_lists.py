"""Layer lists, tables and topologies damaged at random: each is read and predicted, or refused in one line.  Seeded;
120 by default.
"""

import random
from pathlib import Path

import pytest
import yaml

from simhw.roofline.device import load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.step.run import Run
from tests.mutations import accepted, fuzz, generators, mutated_bytes, mutated_text, mutated_tree

LIST = """
name: small
source: "made up"
sizes: {image: 16, tokens: 5, heads: 2, context: tokens}
most: {tokens: 8}
input: [3, image, image]
layers:
  - conv: {name: stem, out: 8, kernel: 3, padding: 1, stride: 2}
  - block: stage
    repeat: 2
    first: 1
    layers:
      - fork: {name: input}
      - conv: {name: conv, out: 8, kernel: [3, 1], padding: [1, 0], groups: 2, bias: true}
      - batchnorm: {name: norm}
      - add: {name: add}
      - relu: {name: relu}
  - maxpool: {name: pool, kernel: 2, stride: 2}
  - conv: {name: side, from: stem, out: 4, kernel: 1, dilation: 1}
  - avgpool: {name: mean}
  - linear: {name: fc, out: [tokens, 4]}
  - embedding: {name: words, vocabulary: 10, width: 6, rows: tokens}
  - layernorm: {name: ln}
  - matmul: {name: scores, products: heads, m: tokens, n: tokens, k: 3}
  - softmax: {name: softmax}
  - lstm: {name: lstm, in: 6, hidden: 4, steps: tokens}
  - gelu: {name: gelu, elements: [tokens, 4]}
  - weight: {name: positions, parameters: 12}
  - rmsnorm: {name: rms}
  - attention: {name: attention, heads: heads, queries: tokens, keys: context, width: 2, shared: 2, causal: true}
  - cache: {name: kept}
  - experts: {name: experts, experts: 3, out: 6, rows: [heads, tokens]}
  - linear: {name: head, out: 3, trainable: false}
  - linear: {name: tied, in: 6, rows: tokens, out: 10, bias: false, tied: true}
"""
TABLE = (
    "kind,name,in,out,size,kernel,stride,padding,bias\n"
    "conv,first,3,8,32,3x3,2,1,\nconv,second,,16,,1x3,,0x1,true\nlinear,fc,,10,,,,,\n"
)
CONVOLUTIONS = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides, Sparsity,\n"
    "# stem\nConv1, 22, 24, 7, 7, 3, 8, 2, 1:1,\nDPConv, 9, 9, 3, 3, 8, 1, 1, 2:4, // depthwise\nHead,\nfc, 1, 1, 1, "
    "1, 8, 10, 1,\n"
)
PRODUCTS = "Layer, M, N, K, Batch,\nscores, 5, 5, 3, 2,\nfc, 1, 10, 12, 1, #last\n"
DIALECTS = {
    "list.yaml": LIST,
    "table.csv": TABLE,
    "convolutions.csv": CONVOLUTIONS,
    "semicolons.csv": CONVOLUTIONS.replace(",", ";"),
    "tabs.csv": PRODUCTS.replace(", ", "\t").replace(",", "\t"),
    "products.csv": PRODUCTS,
    "headless.csv": "a,5,5,3,3,8,8,1\nb,5,5,1,1,8,8,1\n",
}
RUNS = (
    ("v100", Run(2, "training", "amp")),
    ("ascend910", Run(3, "training", "fp32", "fused", "adam")),
    ("ascend310", Run(1, "inference", "int8", "fused")),
    ("v100-pcie", Run(4, "inference", "fp16")),
)


def predict(path: Path, device: str, run: Run) -> None:
    made = estimate(load_network(path), load_device(device), run)
    assert made.samples_per_s > 0
    assert made.energy_j.low >= 0
    assert len(made.frame) == len(made.work)
    assert all(isinstance(caution, str) for caution in made.cautions)


@pytest.mark.parametrize("name", DIALECTS)
def test_what_is_damaged_is_good(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(DIALECTS[name], encoding="utf-8")
    predict(tmp_path / name, *RUNS[0])


@fuzz(120)
def test_a_damaged_list_is_predicted_or_refused_in_a_line(seeds: range, tmp_path: Path) -> None:
    predicted = 0
    names = list(DIALECTS)
    for seed, rng in generators(seeds):
        # Half of the lists are YAML, whose tree can be damaged too.
        name = names[seed % len(names)] if seed % 2 else names[0]
        content = damaged(rng, name)
        (tmp_path / name).write_bytes(content)
        device, run = RUNS[seed % len(RUNS)]
        predicted += accepted(
            lambda at=tmp_path / name, on=device, how=run: predict(at, on, how), f"{name}: {content!r:.2000}"
        )  # type: ignore[misc]  # called at once
    assert 0 < predicted < len(seeds)


def damaged(rng: random.Random, name: str) -> bytes:
    text = DIALECTS[name]
    if name.endswith(".yaml") and rng.random() < 0.6:
        return yaml.safe_dump(mutated_tree(rng, yaml.safe_load(text)), allow_unicode=True).encode(
            "utf-8", "surrogatepass"
        )
    return (
        mutated_text(rng, text).encode("utf-8", "surrogatepass")
        if rng.random() < 0.7
        else mutated_bytes(rng, text.encode())
    )
