"""The loss of single-shot detection: position of matched boxes, class of matched boxes and of the hardest background.

Source: Liu et al. (ECCV 2016), sections 2.2 and 2.3.
"""

import torch
from torch import Tensor, nn

from simhw_workloads.detection.boxes import encode, match

NEGATIVES_PER_POSITIVE = 3
EMPTY = -1
"""Class of a row of the targets that holds no object."""


def multibox_loss(outputs: Tensor, targets: Tensor, defaults: Tensor) -> Tensor:
    """Mean over images of the loss per matched box.

    Parameters
    ----------
    outputs : (B, N, 4 + classes + 1)
        Offsets from default boxes; logits, of which the first is the background's.
    targets : (B, M, 5)
        Boxes and classes; rows of class `EMPTY` hold none.
    defaults : (N, 4)

    Returns
    -------
    () Tensor
        Smooth L1 of the offsets of matched boxes, and cross-entropy of them and of the hardest boxes of background,
        three for each that is matched.
    """
    losses = [
        _loss_of(output, target[target[:, 4] != EMPTY], defaults)
        for output, target in zip(outputs, targets, strict=True)
    ]
    return torch.stack(losses).mean()


def _loss_of(output: Tensor, objects: Tensor, defaults: Tensor) -> Tensor:
    found = match(defaults, objects[:, :4])
    positive = found >= 0
    classes = torch.zeros(len(defaults), dtype=torch.int64)
    classes[positive] = 1 + objects[found[positive], 4].long()
    entropy = nn.functional.cross_entropy(output[:, 4:], classes, reduction="none")
    count = max(1, int(positive.sum()))
    hardest = hard_negatives(entropy.detach(), positive)
    where = nn.functional.smooth_l1_loss(
        output[positive, :4], encode(objects[found[positive], :4], defaults[positive]), reduction="sum"
    )
    return (where + entropy[positive].sum() + entropy[hardest].sum()) / count


def hard_negatives(entropy: Tensor, positive: Tensor) -> Tensor:
    """Indices of the boxes of background with the highest loss (N,): three for each positive, at least three."""
    count = NEGATIVES_PER_POSITIVE * max(1, int(positive.sum()))
    return entropy.masked_fill(positive, -1).topk(min(count, int((~positive).sum()))).indices
