"""Boxes (x1, y1, x2, y2) in shares of the image: how much they overlap, and how a network's outputs stand for them.

Source: Liu et al., SSD (ECCV 2016), sections 2.2 and 2.3.
"""

import torch
from torch import Tensor

CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
"""Units of a network's outputs: of a default box's sides, and of the logarithm of a ratio (the published
implementation's).
"""
MATCHING = 0.5
"""Overlap from which a default box stands for an object."""


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """(A, 4) and (B, 4) boxes to (A, B) intersections over unions."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    inside = (high - low).clamp(min=0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - inside
    return inside / union.clamp(min=1e-12)


def encode(boxes: Tensor, defaults: Tensor) -> Tensor:
    """(N, 4) boxes as offsets (N, 4) from their default boxes."""
    centre, size = _centre_and_size(boxes)
    default_centre, default_size = _centre_and_size(defaults)
    shift = (centre - default_centre) / default_size / CENTRE_VARIANCE
    return torch.cat([shift, torch.log(size / default_size) / SIZE_VARIANCE], dim=-1)


def decode(offsets: Tensor, defaults: Tensor) -> Tensor:
    """(..., N, 4) offsets from (N, 4) default boxes to boxes."""
    default_centre, default_size = _centre_and_size(defaults)
    centre = default_centre + offsets[..., :2] * CENTRE_VARIANCE * default_size
    size = default_size * torch.exp((offsets[..., 2:] * SIZE_VARIANCE).clamp(max=10))
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def match(defaults: Tensor, boxes: Tensor) -> Tensor:
    """The object (M, 4) of each default box (N, 4): (N,) int64, -1 for none.

    Every object has a default box of its own: the pair of all that overlaps most, then the one of all the others, and
    so on. Any other box takes the object that it overlaps most, if by at least `MATCHING`.
    """
    if not len(boxes):
        return torch.full((len(defaults),), -1)
    shared = overlap(defaults, boxes)
    most, found = shared.max(1)
    found[most < MATCHING] = -1
    left = shared.clone()
    for _ in range(min(shared.shape)):
        row, number = divmod(int(left.argmax()), len(boxes))
        found[row] = number
        left[row], left[:, number] = -1, -1
    return found


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
