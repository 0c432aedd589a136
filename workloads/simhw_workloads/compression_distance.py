"""Nearest neighbours by compression: two images are alike where one code for both is hardly longer than for one.

The length of a code is a variational autoencoder's bound, which was trained without labels.  Source: arXiv 2206.11573
(NeurIPS 2022); spec page techniques.md, 2.16.
"""

import torch
from torch import Tensor

from simhw_workloads.models.vae import Vae

_AT_ONCE = 5000
"""Pairs whose code is computed at a time."""


def normalised_distance(together: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Normalised compression distance of two things, from the length of the code of each and of both together."""
    return (together - torch.minimum(one, other)) / torch.maximum(one, other)


def code_lengths(model: Vae, images: Tensor, noise: Tensor) -> Tensor:
    """Nats (N,) of images (N, pixels), in the mean over draws of noise (draws, latents) that all images share."""
    return torch.stack([model.nats(images, draw.expand(len(images), -1)) for draw in noise]).mean(0)


def distances(model: Vae, images: Tensor, labelled: Tensor, noise: Tensor) -> Tensor:
    """Distances (N, M) of images (N, pixels) from labelled ones (M, pixels).

    Two images are put together as the mean of their pixels.
    """
    one, other = code_lengths(model, images, noise), code_lengths(model, labelled, noise)
    rows = []
    for part in torch.arange(len(images)).split(max(1, _AT_ONCE // len(labelled))):  # type: ignore[no-untyped-call]  # torch's
        pairs = ((images[part, None] + labelled) / 2).flatten(0, 1)
        together = code_lengths(model, pairs, noise).reshape(len(part), len(labelled))
        rows.append(normalised_distance(together, one[part, None], other))
    return torch.cat(rows)


def nearest_of_classes(distance: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Minus the distance of the nearest labelled thing of each class, (N, classes): the largest is the neighbour's.

    Parameters
    ----------
    distance : (N, M) Tensor
    labels : (M,) int64 Tensor
        Every class at least once.
    classes : int
    """
    return torch.stack([-distance[:, labels == each].amin(1) for each in range(classes)], dim=1)


def few_of_each(labels: Tensor, shots: int, seed: int) -> Tensor:
    """Rows (classes * shots,) of so many samples of each class, drawn with a seed."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[labels[order] == each][:shots] for each in range(int(labels.max()) + 1)])
