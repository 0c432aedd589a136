"""Default boxes: in every cell of every feature map one box of each aspect ratio, by rule or as the training set has
them.

The published detector takes the ratios 1, 2 and 1/2.  Objects of other shapes then match few boxes; ratios that are
clustered from the training set's boxes fit them.  Source: Liu et al. (ECCV 2016), section 2.2; arXiv 1808.05730 and
1808.05727; techniques.md, 5.7.
"""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

FIXED_RATIOS = (1.0, 2.0, 0.5)
"""Width over height."""


def default_boxes(cells: Sequence[int], scales: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """(sum of cells^2 * ratios, 4) boxes, map by map, row by row, cell by cell, ratio by ratio.

    Parameters
    ----------
    cells : sequence of int
        Cells along a side of each feature map.
    scales : sequence of float
        Root of the area of each map's boxes, as a share of the image.
    ratios : sequence of float
        Width over height.
    """
    maps = []
    for count, scale in zip(cells, scales, strict=True):
        place = (torch.arange(count) + 0.5) / count
        centre = torch.stack(torch.meshgrid(place, place, indexing="xy"), dim=-1).reshape(-1, 1, 2)
        size = torch.tensor([[scale * ratio**0.5, scale / ratio**0.5] for ratio in ratios])
        maps.append(torch.cat([centre - size / 2, centre + size / 2], dim=2).reshape(-1, 4))
    return torch.cat(maps)


def adaptive_ratios(boxes: Tensor, count: int) -> tuple[float, ...]:
    """As many aspect ratios as the training set's boxes (N, 4) fall into, from wide to tall.

    Clusters are those of k-means on the logarithm of the ratio, on which twice as wide and twice as tall are equally
    far.
    """
    sizes = (boxes[:, 2:] - boxes[:, :2]).numpy().astype(np.float64)
    logarithms = np.log(sizes[:, :1] / sizes[:, 1:])
    found = KMeans(count, n_init=4, random_state=0).fit(logarithms)
    return tuple(float(ratio) for ratio in sorted(np.exp(found.cluster_centers_[:, 0]), reverse=True))


def adaptive_scales(boxes: Tensor, count: int) -> tuple[float, ...]:
    """As many scales as the training set's boxes (N, 4) fall into, the smallest first: quantiles of the root of the
    area.
    """
    roots = torch.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1)).numpy()
    return tuple(float(value) for value in np.quantile(roots, (np.arange(count) + 0.5) / count))
