"""Frechet distance: how far two sets of images are apart, seen through features.

Heusel et al. 2017 (with the features of an Inception network it is called FID).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ddpm_lesson.data import from_bytes, nearest, to_bytes
from ddpm_lesson.evaluate.classifier import (
    Classifier,
    EvaluationError,
    in_batches,
    load_classifier,
    shipped_classifiers,
)
from ddpm_lesson.pictures import markdown_table
from ddpm_lesson.runtime import get_device, needs
from ddpm_lesson.sample import eval_mode

RANGE_SLACK = 1e-3  # by how much values may leave [-1, 1]


# Features


class Extractor(nn.Module):
    """Images to features.

    Args:
        name: what a table calls it.
        num_features: how many numbers an image becomes.
        function: (B, C, H, W) in [-1, 1] -> (B, num_features).
        network: the module behind it, if there is one, without dropout; it moves to the device with the extractor.
    """

    def __init__(
        self, name: str, num_features: int, function: Callable[[Tensor], Tensor], network: nn.Module | None = None
    ):
        super().__init__()
        self.name, self.num_features = name, num_features
        self.function, self.network = function, network

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, num_features)."""
        return self.function(images)


def pixels(shape: Sequence[int]) -> Extractor:
    """The pixels themselves."""
    return Extractor("pixels", shape[0] * shape[1] * shape[2], lambda images: images.flatten(1))


def random_network(shape: Sequence[int], seed: int = 0) -> Extractor:
    """A classifier that has learned nothing, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(shape, n_channels=16, n_features=32).eval()
    return Extractor("random network", 32, network.features, network)


def features_of_classifier(classifier: Classifier, name: str) -> Extractor:
    """The last hidden layer of a classifier."""
    network = eval_mode(classifier)
    return Extractor(f"classifier ({name})", network.num_features, network.features, network)


def classifier_of(shape: Sequence[int]) -> Extractor:
    """The last hidden layer of the shipped classifier for images of this shape.

    Raises:
        EvaluationError: if none is shipped.
    """
    for name in shipped_classifiers():
        network = load_classifier(name, "cpu")
        if network.image_shape == tuple(shape):
            return features_of_classifier(network, name)
    raise EvaluationError(
        f"no classifier is shipped for images of shape {tuple(shape)}; train one with 'ddpm-lesson train-classifier' "
        f"and name it with --classifier, or take the features 'pixels', 'random' or 'inception'"
    )


def inception(shape: Sequence[int]) -> Extractor:
    """The features of FID: 2048 numbers of an Inception network, fetched on first use by torch-fidelity.

    Raises:
        ImportError: if torch-fidelity is not installed.
        EvaluationError: if its weights cannot be fetched.
    """
    needs("torchmetrics", "torch_fidelity", extra="inception")
    from torchmetrics.image.fid import FrechetInceptionDistance

    try:
        network = FrechetInceptionDistance(feature=2048).inception
    except (OSError, RuntimeError) as error:
        raise EvaluationError(
            f"could not fetch the weights of the Inception network ({error}); offline, the features 'classifier', "
            "'random' and 'pixels' work"
        ) from error

    def features(images: Tensor) -> Tensor:
        colour = images if shape[0] == 3 else images[:, :1].expand(-1, 3, -1, -1)
        return network(to_bytes(colour))

    return Extractor("Inception", 2048, features, network)


EXTRACTORS = {"classifier": classifier_of, "pixels": pixels, "random": random_network, "inception": inception}


def extractor(name: str, shape: Sequence[int]) -> Extractor:
    """The features called ``name`` for images of a shape (C, H, W).

    Args:
        name: ``"classifier"`` (shipped, for 8 x 8 and 28 x 28 digits and CIFAR-10), ``"pixels"``, ``"random"`` (a
            network that has learned nothing) or ``"inception"`` (those of the literature; needs torch-fidelity and,
            once, the network).
        shape: of an image.

    Raises:
        ValueError: if there is no such name.
        EvaluationError: if what it needs is not here.
    """
    if name not in EXTRACTORS:
        near = nearest(name, list(EXTRACTORS))
        raise ValueError(f"features must be one of {', '.join(EXTRACTORS)}; got {name!r}{near}")
    return EXTRACTORS[name](shape)


def features_of(features: Extractor, images: Tensor, device: str | torch.device = "cpu") -> Tensor:
    """Features of images as an image file would hold them, in bytes: (N, C, H, W) in [-1, 1] -> (N, D)."""
    device = get_device(device)
    features.to(device)
    return in_batches(lambda batch: features(from_bytes(to_bytes(batch))), images, device)


# Distance


class Moments(NamedTuple):
    """Mean and covariance of features."""

    mean: Tensor  # (D,)
    cov: Tensor  # (D, D)


def moments(features: Tensor) -> Moments:
    """Those of a set of features (N, D), in float64; the covariance divides by N - 1."""
    features = features.cpu().double()
    return Moments(features.mean(0), features.T.cov())


def gaussian_frechet(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """Squared Frechet distance of two Gaussians: |mean1 - mean2|^2 + tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)).

    Dowson and Landau 1982. Means (D,) and covariances (D, D); the result is a scalar, in squared units of the features.
    """
    root = matrix_root(cov1)
    cross = matrix_root(root @ cov2 @ root)  # has the trace of (cov1 cov2)^(1/2) and is symmetric
    return ((mean1 - mean2) ** 2).sum() + (cov1 + cov2 - 2 * cross).trace()


def frechet_map(x: Tensor, mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """The partner that makes the Frechet distance: the nearest way to carry one Gaussian into another.

    Dowson and Landau 1982. ``x`` is (N, D), drawn from the first; the result, (N, D), is distributed as the second.
    """
    root = matrix_root(cov1)
    inverse = torch.linalg.inv(root)
    return mean2 + (x - mean1) @ (inverse @ matrix_root(root @ cov2 @ root) @ inverse)


def matrix_root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a symmetric matrix (D, D) without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def expected_floor(cov: Tensor, n_real: int, n_generated: int) -> Tensor:
    """The squared Frechet distance to expect between two samples of one Gaussian, to first order in 1 / n.

    The means of the samples differ, and so do their covariances; the second part is Bures' metric around ``cov``
    (Bhatia, Jain and Lim 2019). For D features of variance 1 it is D (D + 5) / 4 times (1 / n_real + 1 / n_generated).

    Args:
        cov: (D, D), positive definite.
        n_real, n_generated: sizes of the two samples.
    """
    variance = torch.linalg.eigvalsh(cov).clamp(min=0)  # along the principal axes
    product = variance[:, None] * variance
    total = (variance[:, None] + variance).clamp(min=torch.finfo(cov.dtype).tiny)  # features may be constant
    spread = (product + torch.diag(variance**2)) / total  # N times the variance of each error of cov, over the sum
    return (variance.sum() + 0.5 * spread.sum()) * (1 / n_real + 1 / n_generated)


def floor_of_as_many(floor: float, cov: Tensor, n_real: int, n_generated: int, n_floor: int) -> float:
    """A floor measured on ``n_floor`` images, as it would be on ``n_generated``, to first order in 1 / n.

    Only what ``expected_floor`` says of the numbers is changed, not what sets the real images apart.
    """
    return floor + float(expected_floor(cov, n_real, n_generated) - expected_floor(cov, n_real, n_floor))


def distance_of_features(real: Tensor, generated: Tensor) -> float:
    """Squared Frechet distance of two sets of features (N, D) and (M, D), by torchmetrics.

    Raises:
        ImportError: if torchmetrics is not installed.
        ValueError: if a set has no more rows than there are features, so that its covariance has no inverse.
    """
    needs("torchmetrics", extra="evaluate")
    from torchmetrics.image.fid import FrechetInceptionDistance

    for name, features in (("real", real), ("generated", generated)):
        check_enough(name, len(features), features.shape[1])
    as_they_are: Any = nn.Identity()
    as_they_are.num_features = real.shape[1]
    metric = FrechetInceptionDistance(feature=as_they_are)
    metric.update(real.cpu().double(), real=True)
    metric.update(generated.cpu().double(), real=False)
    return float(metric.compute())


def check_enough(name: str, n: int, n_features: int) -> None:
    """Raise a ValueError unless ``n`` images are enough for a covariance of ``n_features`` features."""
    if n <= n_features:
        raise ValueError(
            f"{name} must hold more than {n_features} images, as many as there are features, or its covariance is "
            f"not determined; got {n}"
        )


class FrechetDistance(NamedTuple):
    """A squared Frechet distance with all that it takes to read it; renders as a table in a notebook."""

    value: float  # between the real and the generated images
    floor: float  # between the same real images and others, equally real, for as many of them as were generated
    features: str
    n_features: int
    n_real: int
    n_generated: int
    n_floor: int

    def row(self) -> tuple[str, ...]:
        """The cells of a table."""
        counts = f"{self.n_generated:,}", f"{self.n_real:,}", f"{self.n_floor:,}"
        return f"{self.features}, {self.n_features}", f"{self.value:.4g}", f"{self.floor:.4g}", *counts

    def _repr_markdown_(self) -> str:
        return markdown_table(FRECHET_HEADER, [self.row()])


FRECHET_HEADER = ("features", "Frechet distance", "floor: real against real", "generated", "real", "in the floor")


def frechet_distance(
    features: str | Extractor,
    real: Tensor,
    generated: Tensor,
    held_out: Tensor | None = None,
    *,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> FrechetDistance:
    """How far generated images are from real ones, beside how far real ones are from each other.

    Heusel et al. 2017. Two numbers compare only with the same features and the same numbers of images.

    Args:
        features: a name that ``extractor`` knows, or an ``Extractor``.
        real, generated: (N, C, H, W) and (M, C, H, W) in [-1, 1].
        held_out: other real images, for the floor; M of them are drawn, and if there are fewer, the floor is reckoned
            up to M by ``floor_of_as_many``. Unless given, M of ``real`` (at most half) are drawn and set aside.
        device: where the features are computed.
        seed: of that draw.

    Raises:
        ValueError: if the name is unknown, shapes or ranges do not fit, or there are too few images for a covariance.
        EvaluationError: if what the features need is not here.
    """
    check_images(real=real, generated=generated, **({} if held_out is None else {"held_out": held_out}))
    if isinstance(features, str):
        features = extractor(features, tuple(real.shape[1:]))
    if held_out is None:
        order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))
        n_aside = min(len(generated), len(real) // 2)
        real, held_out = real[order[n_aside:]], real[order[:n_aside]]
    held_out = random_subset(held_out, len(generated), seed)
    for name, images in (("generated", generated), ("held_out", held_out), ("real", real)):
        check_enough(name, len(images), features.num_features)
    seen = [features_of(features, images, device) for images in (real, generated, held_out)]
    distance, floor = (distance_of_features(seen[0], other) for other in seen[1:])
    if len(held_out) < len(generated):
        floor = floor_of_as_many(floor, moments(seen[0]).cov, *map(len, seen))
    return FrechetDistance(distance, floor, features.name, features.num_features, *map(len, seen))


def random_subset(images: Tensor, n: int, seed: int = 0) -> Tensor:
    """``n`` of the images (or all there are), drawn at random: data sets are often sorted, by writer or by class."""
    if n >= len(images):
        return images
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n]]


def check_images(**sets: Tensor) -> None:
    """Raise a ValueError unless every set of images is (N, C, H, W) in [-1, 1] and all have one shape and range."""
    first = next(iter(sets.values()))
    for name, images in sets.items():
        if images.ndim != 4 or len(images) == 0:
            raise ValueError(f"{name} must hold images (N, C, H, W); got shape {tuple(images.shape)}")
        if images.shape[1:] != first.shape[1:]:
            got, wanted = tuple(images.shape[1:]), tuple(first.shape[1:])
            raise ValueError(f"{name} must hold images of shape {wanted}, like the others; got {got}")
        low, high = float(images.min()), float(images.max())
        if not (images.is_floating_point() and low >= -1 - RANGE_SLACK and high <= 1 + RANGE_SLACK):
            raise ValueError(
                f"{name} must hold floating-point values in [-1, 1]; got {images.dtype} {low:g} .. {high:g}"
            )
    lows = {name: float(images.min()) for name, images in sets.items()}
    if max(lows.values()) >= 0 and min(lows.values()) < -0.5:
        name = max(lows, key=lows.__getitem__)
        raise ValueError(f"{name} must have the range of the others, [-1, 1]; it looks like [0, 1]: nothing is below 0")
