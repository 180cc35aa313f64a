"""Other measures of two sets of features: what readers of the Frechet distance ask for next."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ddpm_lesson.evaluate import distance_of_features
from ddpm_lesson.runtime import needs


class KernelDistance(NamedTuple):
    """KID over many subsets: its mean, and the standard deviation of one subset."""

    mean: float
    std: float


def kernel_distance(real: Tensor, generated: Tensor, subset_size: int = 100, seed: int = 0) -> KernelDistance:
    """Kernel distance with the cubic kernel, by torchmetrics (Binkowski et al. 2018; KID on Inception's features).

    Args:
        real, generated: features, (N, D) and (M, D).
        subset_size: rows of each of the 100 pairs of subsets; at most N and M.
        seed: of the draw of subsets.

    Raises:
        ImportError: if torchmetrics is not installed.
        ValueError: if a set has fewer rows than a subset.
    """
    needs("torchmetrics", extra="evaluate")
    from torchmetrics.image.kid import KernelInceptionDistance

    if min(len(real), len(generated)) < subset_size:
        raise ValueError(f"subset_size must be at most {min(len(real), len(generated))}; got {subset_size}")
    as_they_are: Any = nn.Identity()
    as_they_are.num_features = real.shape[1]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save all")
        metric = KernelInceptionDistance(feature=as_they_are, subset_size=subset_size)
    metric.update(real.double(), real=True)
    metric.update(generated.double(), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KernelDistance(*map(float, metric.compute()))


def frechet_at_infinity(real: Tensor, generated: Tensor, n_sizes: int = 8, seed: int = 0) -> float:
    """The Frechet distance that endlessly many samples would have (Chong and Forsyth 2020).

    Its bias is proportional to 1 / N, so a straight line in 1 / N through distances of parts of the samples is
    followed to 0. What the number of real images adds stays in.

    Args:
        real, generated: features, (N, D) and (M, D).
        n_sizes: parts, from a third of the samples to all of them.
        seed: of the draw of parts.

    Raises:
        ValueError: if a third of the samples does not determine a covariance.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = np.linspace(len(generated) / 3, len(generated), n_sizes).astype(int)
    parts = [generated[torch.randperm(len(generated), generator=generator)[:n]] for n in sizes.tolist()]
    _, intercept = np.polyfit(1 / sizes, [distance_of_features(real, part) for part in parts], 1)
    return float(intercept)


class PrecisionRecall(NamedTuple):
    """Which part of one set lies where the other one is."""

    precision: float  # share of the samples that lie among the real images
    recall: float  # share of the real images that lie among the samples


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> PrecisionRecall:
    """Precision and recall by nearest neighbours (Kynkäänniemi et al. 2019).

    A point lies among a set if it is no farther from one of its points than that one's k-th nearest neighbour.

    Args:
        real, generated: features, (N, D) and (M, D), each with more than ``k`` rows.
        k: which neighbour.

    Raises:
        ValueError: if a set is too small.
    """
    among_real = torch.cdist(generated, real) <= radius(real, k)
    among_samples = torch.cdist(real, generated) <= radius(generated, k)
    return PrecisionRecall(*(float(among.any(1).double().mean()) for among in (among_real, among_samples)))


def coverage(real: Tensor, generated: Tensor, k: int = 3) -> float:
    """Share of the real images with a sample no farther than their own k-th real neighbour (Naeem et al. 2020).

    Only the real images have neighbourhoods, so outliers and copies among the samples cannot widen or shrink them.
    ``real``, ``generated``, ``k`` and errors are those of ``precision_recall``.
    """
    return float((torch.cdist(generated, real) <= radius(real, k)).any(0).double().mean())


def radius(points: Tensor, k: int) -> Tensor:
    """From each of ``points`` (N, D) to its k-th nearest neighbour among the others, (N,)."""
    if len(points) <= k:
        raise ValueError(f"k must be below the number of rows, {len(points)}; got {k}")
    return torch.cdist(points, points).kthvalue(k + 1, dim=1).values  # the nearest is the point itself


def measures_of(real: Tensor, sets: dict[str, Tensor]) -> Sequence[tuple[str, ...]]:
    """A row of a table for each set of features: Frechet distance, that at infinity, KID, precision, recall, coverage.

    The last three in percent.
    """
    rows = []
    for name, features in sets.items():
        kid, shares = kernel_distance(real, features), (*precision_recall(real, features), coverage(real, features))
        distances = f"{distance_of_features(real, features):.1f}", f"{frechet_at_infinity(real, features):.1f}"
        rows.append((name, *distances, f"{kid.mean:.2f} ± {kid.std:.2f}", *(f"{share:.0%}" for share in shares)))
    return rows
