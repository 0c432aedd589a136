"""Vision transformers, with grouped attention and with tokens that skip blocks.

Sources: Dosovitskiy et al., ICLR 2021; sizes of Touvron et al., ICML 2021.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.models.attention import TransformerBlock


@dataclass(frozen=True)
class Skip:
    """Tokens that pass by some blocks (arXiv 2401.15293; spec page techniques.md, 5.3).

    Before block `first` the patches that the class token attended to least in the block before leave; behind block
    `last` they join the others again, unchanged.

    Attributes
    ----------
    first, last : int
        Blocks that they skip.
    dropped : float
        Share of the patches.
    """

    first: int
    last: int
    dropped: float = 0.55


class VisionTransformer(nn.Module):
    """Patches as tokens, a class token, transformer blocks, and a classifier on the class token.

    Parameters
    ----------
    size, patch : int
        Of images and patches, in pixels.
    width, depth, heads : int
    classes, channels : int
    query_groups, key_groups : int, optional
        Of attention; as many as heads if not given.
    skip : Skip, optional
        No token skips anything if not given.

    Raises
    ------
    WorkloadError
        Sizes that do not fit.
    """

    def __init__(
        self,
        size: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        classes: int,
        channels: int = 3,
        query_groups: int | None = None,
        key_groups: int | None = None,
        skip: Skip | None = None,
    ) -> None:
        super().__init__()
        if size % patch or width % heads:
            raise WorkloadError(
                f"images of {size} pixels in patches of {patch}, {width} wide in {heads} heads: they must divide"
            )
        if skip is not None and not (1 <= skip.first <= skip.last < depth - 1 and 0 <= skip.dropped < 1):
            raise WorkloadError(
                f"{skip} in {depth} blocks: a block must stand before them, to score, and one behind, for all"
            )
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(channels, width, patch, stride=patch)})
        self.tokens = (size // patch) ** 2 + 1
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, self.tokens, width) * 0.02)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, query_groups, key_groups) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)
        self.skip = skip
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, size, size) images to (N, classes) logits."""
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        first, last = (self.skip.first, self.skip.last) if self.skip else (len(self.blocks), len(self.blocks))
        x = _through(self.blocks[:first], x)
        if self.skip is not None:
            x = self._skipped(x, self.skip)
        x = _through(self.blocks[last + 1 :], x)
        logits: Tensor = self.head(self.norm(x)[:, 0])
        return logits

    def _skipped(self, x: Tensor, skip: Skip) -> Tensor:
        order = self.ranking(skip.first - 1)
        kept = 1 + round((self.tokens - 1) * (1 - skip.dropped))
        order = torch.cat([torch.zeros_like(order[:, :1]), 1 + order], dim=1)
        staying, leaving = (part[:, :, None].expand(-1, -1, x.shape[2]) for part in (order[:, :kept], order[:, kept:]))
        inside = _through(self.blocks[skip.first : skip.last + 1], x.gather(1, staying))
        both = torch.cat([inside, x.gather(1, leaving)], dim=1)
        # Every token back to its place.
        return both.gather(1, _ascending(order)[:, :, None].expand_as(both))

    def ranking(self, block: int) -> Tensor:
        """(N, patches): patches in the order of the class token's attention in a block, averaged over heads, the
        highest first.
        """
        weights = self.blocks[block].attn.weights  # type: ignore[union-attr]  # of a TransformerBlock
        assert isinstance(weights, Tensor)
        return _ascending(-weights[:, :, 0, 1:].mean(dim=1))


def _ascending(values: Tensor) -> Tensor:
    """(N, T): where in each row (N, T) its values stand, the smallest first.

    Tensors without values have no order; any stands for theirs, since shapes are the same.
    """
    if values.is_meta:
        return torch.arange(values.shape[1], device=values.device).expand_as(values)
    return values.argsort(dim=1)


def _through(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


def vit_tiny(classes: int = 1000) -> VisionTransformer:
    """ViT-Ti/16 at 224 pixels; 5,717,416 parameters at 1000 classes, as published."""
    return VisionTransformer(224, 16, 192, 12, 3, classes)


def vit_small(
    classes: int = 1000, query_groups: int | None = None, key_groups: int | None = None, skip: Skip | None = None
) -> VisionTransformer:
    """ViT-S/16 at 224 pixels; 22,050,664 parameters at 1000 classes, as published."""
    return VisionTransformer(224, 16, 384, 12, 6, classes, 3, query_groups, key_groups, skip)
