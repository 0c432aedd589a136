"""Definitions of published convolutional networks, from which the shipped layer lists are captured; evaluation mode,
shapes alone.

Each follows the paper and the implementation that its entry in `ZOO` names; the parameter count published with that
implementation tells whether it does.  ``python -m tests.roofline.zoo_models`` writes the layer lists anew.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from simhw.roofline.from_model import network_of
from simhw.roofline.layers.compact import write_compact_list
from simhw.roofline.layers.network import Network
from simhw_workloads.models.alexnet import alexnet
from simhw_workloads.models.squeezenet import squeezenet1_1
from tests.places import ROOT
from tests.roofline import zoo_branches as branches
from tests.roofline import zoo_networks as networks
from tests.roofline.zoo_layers import ConvBN


def mobilenet_v1() -> nn.Module:
    """MobileNet (Howard 2017), width 1: depthwise 3x3 and 1x1 convolutions in turn."""
    widths = [
        (32, 64, 1),
        (64, 128, 2),
        (128, 128, 1),
        (128, 256, 2),
        (256, 256, 1),
        (256, 512, 2),
        *[(512, 512, 1)] * 5,
    ]
    widths += [(512, 1024, 2), (1024, 1024, 1)]
    blocks = [nn.Sequential(ConvBN(a, a, 3, stride, groups=a), ConvBN(a, b)) for a, b, stride in widths]
    return nn.Sequential(ConvBN(3, 32, 3, 2), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))


@dataclass(frozen=True)
class ZooEntry:
    """A published network.

    Attributes
    ----------
    build : callable
        Makes the model.
    parameters : int
        As published with the implementation.
    source : str
        Paper, implementation, and the input's size.
    size : tuple of int
        Channels and spatial size of the input.
    rounded : int
        `parameters` is published as a multiple of this.
    gmacs : tuple of float, optional
        Multiply-accumulates in 10^9 as published, and how far they may be off by their rounding.
    """

    build: Callable[[], nn.Module]
    parameters: int
    source: str
    size: tuple[int, ...] = (3, 224, 224)
    rounded: int = 1
    gmacs: tuple[float, float] | None = None


_TORCHVISION = "layers and parameters as torchvision's"
_TIMM = "layers and parameters as timm's"
ZOO = {
    "alexnet": ZooEntry(
        alexnet, 61_100_840, f"Krizhevsky, One weird trick (arXiv 1404.5997); {_TORCHVISION} alexnet", gmacs=(0.71,
        0.005)
    ),
    "c3d": ZooEntry(
        branches.c3d, 78_410_000, "Tran et al., C3D (ICCV 2015), one clip of 16 frames, 101 classes; layers and "
                                  "parameters as mmaction2's",
        (3, 16, 112, 112), rounded=10_000, gmacs=(38.5, 0.05),
    ),
    "cspresnext50": ZooEntry(networks.cspresnext50, 20_569_896, f"Wang et al., CSPNet (arXiv 1911.11929); {_TIMM} "
                                                                "cspresnext50"),
    "dncnn": ZooEntry(
        branches.dncnn, 560_000, "Zhang et al., DnCNN (TIP 2017), DnCNN-S of 17 layers, grey images of 481 x 481",
        (1, 481, 481), rounded=10_000,
    ),
    "dpn131": ZooEntry(networks.DPN131, 79_254_504, f"Chen et al., Dual path networks (NIPS 2017); {_TIMM} dpn131"),
    "efficientnet-b3": ZooEntry(
        networks.efficientnet_b3, 12_233_232, f"Tan and Le, EfficientNet (ICML 2019), at 300 x 300; {_TORCHVISION} "
                                              "efficientnet_b3",
        (3, 300, 300), gmacs=(1.83, 0.005),
    ),
    "hrnet-w18": ZooEntry(
        branches.HRNet, 21_299_004, f"Wang et al., HRNet-W18-C (TPAMI 2020); {_TIMM} hrnet_w18"
    ),
    "inception-resnet-v2": ZooEntry(
        networks.inception_resnet_v2, 55_843_464, f"Szegedy et al., Inception-v4 (AAAI 2017), at 299 x 299; {_TIMM} "
                                                  "inception_resnet_v2",
        (3, 299, 299),
    ),
    "mobilenet-v1": ZooEntry(
        mobilenet_v1, 4_231_976, "Howard et al., MobileNets (arXiv 1704.04861), table 1, width 1.0", gmacs=(0.569,
        0.0005)
    ),
    "osnet_x1_0": ZooEntry(
        branches.osnet_x1_0, 2_193_616,
        "Zhou et al., Omni-scale networks (ICCV 2019), features of 256 x 128 images; the gate that four streams "
        "share counts in each",
        (3, 256, 128), gmacs=(0.9789, 0.00005),
    ),
    "regnetx-1.6gf": ZooEntry(
        networks.regnetx_1_6gf, 9_190_136, f"Radosavovic et al., RegNet (CVPR 2020); {_TORCHVISION} regnet_x_1_6gf",
        gmacs=(1.6, 0.05)
    ),
    "reid-strong-baseline": ZooEntry(
        branches.reid_strong_baseline, 25_557_032 - 2_049_000,
        "Luo et al., Bag of tricks for person re-identification (CVPRW 2019): ResNet-50 without its classifier, last "
        "stride 1, 256 x 128",
        (3, 256, 128),
    ),
    "res2net101-v1b": ZooEntry(
        networks.res2net101_v1b, 45_230_000, f"Gao et al., Res2Net (TPAMI 2021), v1b, 26w x 4s; {_TIMM} res2net101d",
        rounded=10_000
    ),
    "se-resnext101": ZooEntry(
        networks.se_resnext101_32x4d, 48_955_416, f"Hu et al., Squeeze-and-excitation (CVPR 2018); {_TIMM} "
                                                  "legacy_seresnext101_32x4d"
    ),
    "shufflenetv2-plus-small": ZooEntry(
        branches.shufflenetv2_plus_small, 5_100_000, "Ma et al., ShuffleNet V2 (ECCV 2018), V2+ Small of its "
                                                     "repository", rounded=100_000,
        gmacs=(0.156, 0.0005),
    ),
    "sk-resnet50": ZooEntry(
        branches.sk_resnet50, 26_154_000,
        "Li et al., Selective kernel networks (CVPR 2019), as PytorchInsight's sk_resnet50: one of both 3x3 "
        "convolutions is dense",
        rounded=1000,
    ),
    "spnasnet_100": ZooEntry(networks.spnasnet_100, 4_421_616, f"Stamoulis et al., Single-Path NAS (2019); {_TIMM} "
                                                               "spnasnet_100"),
    "squeezenet1_1": ZooEntry(
        squeezenet1_1, 1_235_496, f"Iandola et al., SqueezeNet (arXiv 1602.07360), version 1.1; {_TORCHVISION} "
                                  "squeezenet1_1",
        gmacs=(0.35, 0.005),
    ),
    "xception": ZooEntry(networks.xception, 22_855_952, f"Chollet, Xception (CVPR 2017), at 299 x 299; {_TIMM} "
                                                        "xception", (3, 299, 299)),
}  # fmt: skip


def captured(name: str) -> Network:
    """The network captured from its definition, with its source."""
    entry = ZOO[name]
    with torch.device("meta"):
        model = entry.build().eval()
        inputs = torch.empty(1, *entry.size)
    return replace(network_of(model, inputs, name), source=entry.source)


if __name__ == "__main__":
    for zoo_name in ZOO:
        write_compact_list(
            captured(zoo_name),
            ROOT / "simhw" / "roofline" / "networks" / f"{zoo_name}.yaml",
            ZOO[zoo_name].size,
        )
