"""Answers on a graph of low rank: what is known of some points spreads to those that cluster with them.

Two points are as alike as the share of clusterings that put them together.  That matrix W is A A^T, with a column of A
for each cluster, so that no (n, n) matrix is ever built.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-6
"""Draws every answer towards 0, so that a point without neighbours has one.  Ours; nothing else shows it."""


def co_association(features: Tensor, clusters: Sequence[int], seed: int) -> Tensor:
    """Factor A (N, sum of clusters) of the share of clusterings in which two points are together.

    Parameters
    ----------
    features : Tensor
        (N, F).
    clusters : sequence of int
        How many each clustering has; one k-means of a random start for each.
    seed : int
    """
    from sklearn.cluster import KMeans

    found = []
    for place, count in enumerate(clusters):
        means = KMeans(count, n_init=1, random_state=1000 * seed + place)
        found.append(torch.nn.functional.one_hot(torch.from_numpy(means.fit_predict(features.numpy())).long(), count))
    factor: Tensor = torch.cat(found, 1).to(features.dtype) / len(clusters) ** 0.5
    return factor


@dataclass(frozen=True)
class Known:
    """Normal distributions that are known of some points, as columns (N,) of a tensor.

    Attributes
    ----------
    there : Tensor
        1 where a point has a label, else 0.
    means, deviations : Tensor
        Of the labels, 0 where there is none.  An exact label has deviation 0.
    """

    there: Tensor
    means: Tensor
    deviations: Tensor

    def rows(self, indices: Tensor) -> "Known":
        """Of those points alone."""
        return Known(self.there[indices], self.means[indices], self.deviations[indices])

    @property
    def sides(self) -> Tensor:
        """The right sides (N, 2) of both systems."""
        return torch.stack([self.means, self.deviations], 1)


def spread(factor: Tensor, known: Known, smoothness: float) -> Tensor:
    """Means and deviations (N, 2) of normal distributions for all points.

    They are lowest in: sum over labels of w(label, answer) + smoothness / 2 * sum over i and j of W_ij w(answer i,
    answer j), and `RIDGE` times the squares of all.  Here w is the squared 2-Wasserstein distance of two normal
    distributions, the sum of the squared differences of means and of deviations.  So both are solutions of one system,
    (G + RIDGE + smoothness (D - A A^T)) x = G y, by Woodbury's identity: O(N m^2) for m columns of A.

    Parameters
    ----------
    factor : Tensor
        A (N, m) of the graph W = A A^T.
    known : Known
    smoothness : float
        At least 0.
    """
    degrees = factor @ factor.sum(0)[:, None]
    diagonal = known.there[:, None] + RIDGE + smoothness * degrees
    scaled = factor / diagonal
    inner = torch.eye(factor.shape[1], dtype=factor.dtype) - smoothness * (factor.T @ scaled)
    # Symmetric, and positive definite because G + RIDGE is.
    shares = torch.cholesky_solve(scaled.T @ known.sides, torch.linalg.cholesky(inner))
    answers: Tensor = known.sides / diagonal + smoothness * (scaled @ shares)
    return answers


def left_over(known: Known, answers: Tensor) -> Tensor:
    """What `spread` makes lowest, at its answers (N, 2): a square c - 2 b x + x S x is c - b x where S x = b."""
    return (known.sides * (known.sides - answers)).sum()


def solve_macs(columns: int) -> int:
    """Multiply-accumulates of `spread`'s small system, which no product holds: its Cholesky factor and two right
    sides.
    """
    return columns**3 // 6 + 2 * columns**2
