"""From a network's outputs to detections: one box per object, out of many that overlap it.

Non-maximum suppression keeps the most confident box and drops all that overlap it by some threshold.  Clustering by
affinity propagation instead lets boxes choose the one that stands for them, by how much they overlap and how far apart
they lie; no threshold decides over each pair.  Source: arXiv 1808.05730; spec page techniques.md, 5.7.
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from sklearn.cluster import AffinityPropagation
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from simhw_workloads.detection.boxes import decode, overlap

CONFIDENT = 0.05
"""Probability from which a box is a candidate."""
CANDIDATES = 50
"""At most so many of a class in an image, the most confident."""
SUPPRESSED = 0.45
"""Overlap from which non-maximum suppression drops a box (Liu et al. 2016)."""
PREFERENCE = -0.9
"""A box's affinity to itself at confidence 0.  Boxes with a higher affinity to each other share an exemplar."""
TRUST = 0.3
"""What a confidence of 1 adds to `PREFERENCE`, so that confident boxes become exemplars."""

Reduce = Callable[[Tensor, Tensor], Tensor]
"""Indices of the boxes (K, 4) with confidences (K,) that stay."""


class Detections(NamedTuple):
    """Boxes (K, 4), confidences (K,) and classes (K,) of one image."""

    boxes: Tensor
    confidences: Tensor
    classes: Tensor


def suppress(boxes: Tensor, confidences: Tensor) -> Tensor:
    """Non-maximum suppression; what stays comes most confident first."""
    order = confidences.argsort(descending=True)
    shared = overlap(boxes, boxes)
    kept: list[int] = []
    for index in order.tolist():
        if all(shared[index, other] < SUPPRESSED for other in kept):
            kept.append(index)
    return torch.tensor(kept, dtype=torch.int64)


def affinities(boxes: Tensor) -> Tensor:
    """(K, K): overlap less one, less the distance of the centres in sides of the image; 0 for boxes that
    are the same.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return overlap(boxes, boxes) - 1 - torch.cdist(centres, centres)


def cluster(boxes: Tensor, confidences: Tensor) -> Tensor:
    """Affinity propagation; of each cluster the most confident box stays."""
    if len(boxes) < 2:
        return torch.arange(len(boxes))
    preference = PREFERENCE + TRUST * confidences.double().numpy()
    affinity = affinities(boxes.double()).numpy()
    with warnings.catch_warnings():
        # Where the messages do not settle there is no clustering: fall back to non-maximum suppression.
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            labels = (
                AffinityPropagation(affinity="precomputed", preference=preference, damping=0.7, random_state=0)
                .fit(affinity)
                .labels_
            )
        except ConvergenceWarning:
            return suppress(boxes, confidences)
    return torch.tensor(
        [
            int(max(np.flatnonzero(labels == label), key=lambda index: float(confidences[index])))
            for label in np.unique(labels)
        ]
    )


def detections(output: Tensor, defaults: Tensor, reduce: Reduce) -> Detections:
    """What is seen in one image, class by class.

    Parameters
    ----------
    output : (N, 4 + classes + 1)
        As `multibox_loss` takes it.
    defaults : (N, 4)
    reduce : callable
        `suppress` or `cluster`.
    """
    boxes, probabilities = decode(output[:, :4], defaults), torch.softmax(output[:, 4:], dim=1)
    found = []
    for number in range(probabilities.shape[1] - 1):
        confidences, order = probabilities[:, number + 1].topk(min(CANDIDATES, len(boxes)))
        order = order[confidences >= CONFIDENT]
        kept = order[reduce(boxes[order], probabilities[order, number + 1])] if len(order) else order
        found.append(Detections(boxes[kept], probabilities[kept, number + 1], torch.full((len(kept),), number)))
    return Detections(*(torch.cat(parts) for parts in zip(*found, strict=True)))
