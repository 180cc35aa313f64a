"""What notebook 12 states, found anew; the sentences stand in the notebook word for word."""

import json
from functools import cache
from statistics import stdev
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ddpm_lesson import checkpoint, runtime
from ddpm_lesson.data import ImageDataset, load_images
from ddpm_lesson.evaluate import (
    Judgement,
    distance_of_features,
    draw_samples,
    expected_floor,
    extractor,
    features_of,
    load_classifier,
    moments,
    random_subset,
)
from ddpm_lesson.lesson.ch12_evaluation.degrade import degraded
from ddpm_lesson.lesson.ch12_evaluation.measures import coverage, kernel_distance
from ddpm_lesson.lesson.kit.claim import ClaimBook

BOOK = ClaimBook(12)
claim = BOOK.claim
N_LEVELS = 17  # of grey, in scikit-learn's digits


@cache
def digits() -> tuple[ImageDataset, ImageDataset]:
    """Training and test images."""
    return load_images("digits"), load_images("digits", "test")


def stored(name: str) -> dict[str, Any]:
    """What was measured of a shipped model."""
    return json.loads((runtime.assets_folder() / "evaluation.json").read_text(encoding="utf-8"))[name]


def levels() -> tuple[Tensor, Tensor]:
    """Index of the grey level of every pixel, of training and test images: (N, D)."""
    train, test = digits()
    known = train.images.unique()
    return tuple(torch.searchsorted(known, images).flatten(1) for images in (train.images, test.images))


@claim("who has also counted how often each level occurs, 2.9", low=2.85, high=2.95, seeds=(0,))
def bits_of_one_histogram(seed: int) -> float:
    """Bits a value; every level is counted once more than it occurs."""
    train, test = levels()
    counts = torch.bincount(train.flatten(), minlength=N_LEVELS).double() + 1
    return float(-(counts / counts.sum()).log2()[test].mean())


@claim("who has counted at every pixel by itself, 2.4", low=2.35, high=2.45, seeds=(0,))
def bits_of_a_histogram_a_pixel(seed: int) -> float:
    """Bits a value; every level is counted once more than it occurs."""
    train, test = levels()
    counts = one_hot(train, N_LEVELS).sum(0).double() + 1  # (D, levels)
    shares = counts / counts.sum(1, keepdim=True)
    return float(-shares.gather(1, test.T).log2().mean())


@cache
def features(name: str = "classifier") -> tuple[Tensor, Tensor]:
    """Of training and test images."""
    return tuple(features_of(extractor(name, digits()[0].shape), images[:]) for images in digits())


@claim("After 4 % of the bits the classifier reads about four guesses in five", low=0.72, high=0.88)
def read_at_200(seed: int) -> float:
    """Share of the test images that the classifier reads from the guess at t = 200."""
    diffusion, test = checkpoint.load("digits", "cpu"), digits()[1]
    eps = torch.randn(test[:].shape, generator=torch.Generator().manual_seed(seed))
    times = torch.full((len(test),), 200)
    with torch.no_grad():
        guess = diffusion.denoise(diffusion.q_sample(test[:], times, eps), times).clamp(-1, 1)
        answers = load_classifier("digits", "cpu")(guess).argmax(1)
    return float((answers == test.labels).double().mean())


@claim("the 16 that vary least add 7 % to the bracket", low=0.065, high=0.075, seeds=(0,))
def calm_features_add_little(seed: int) -> float:
    """Share that the second half of the principal axes adds."""
    variances = torch.linalg.eigvalsh(moments(features()[0]).cov)  # ascending
    whole, half = (float(expected_floor(torch.diag(v), 1, 1)) for v in (variances, variances[16:]))
    return whole / half - 1


@cache
def worsened(name: str, kind: str, amount: float, seed: int) -> float:
    """Frechet distance of 1,000 digits made worse from 797 others, shuffled anew."""
    images, labels = (torch.cat(pair) for pair in zip(*((d[:], d.labels) for d in digits()), strict=True))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1000 + seed))
    pool, labels, real = images[order[797:]], labels[order[797:]], images[order[:797]]
    worse = degraded(pool, labels, kind, amount, torch.Generator().manual_seed(seed))
    seen = extractor(name, digits()[0].shape)
    return distance_of_features(features_of(seen, real), features_of(seen, worse))


def missing_over_noise(name: str, seed: int) -> float:
    """Of amount 0.3."""
    return worsened(name, "missing classes", 0.3, seed) / worsened(name, "noise", 0.3, seed)


@claim("three to four times as bad as noise 0.3 for the classifier's features", low=2.6, high=4.4)
def missing_classes_for_the_classifier(seed: int) -> float:
    """In multiples of noise."""
    return missing_over_noise("classifier", seed)


@claim("and about equally bad for the pixels", low=0.75, high=1.2)
def missing_classes_for_the_pixels(seed: int) -> float:
    """In multiples of noise."""
    return missing_over_noise("pixels", seed)


@claim("Noise 0.2 is worse than blur 0.2 for the pixels", low=1.1)
def noise_over_blur_for_the_pixels(seed: int) -> float:
    """Their ratio."""
    return worsened("pixels", "noise", 0.2, seed) / worsened("pixels", "blur", 0.2, seed)


@claim("and better for the classifier's features", high=1)
def noise_over_blur_for_the_classifier(seed: int) -> float:
    """Their ratio."""
    return worsened("classifier", "noise", 0.2, seed) / worsened("classifier", "blur", 0.2, seed)


@claim("at 1000 it stands out", low=2)
def noise_over_the_floor(seed: int) -> float:
    """Noise 0.2 over none."""
    return worsened("classifier", "noise", 0.2, seed) / worsened("classifier", "noise", 0.0, seed)


@claim("splits differ by a factor of four", low=2.5, high=7, slow=True)
def splits_differ(seed: int) -> float:
    """The largest distance of 20 random splits in multiples of the smallest."""
    both, generator = torch.cat(features()), torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(both), generator=generator) for _ in range(20)]
    floors = [distance_of_features(both[order[:1500]], both[order[1500:]]) for order in orders]
    return max(floors) / min(floors)


@claim("a floor of 12.6 give or take 1.7", low=12.5, high=12.7, seeds=(0,))
def mnist_floor(seed: int) -> float:
    """The mean over draws, as stored."""
    floor = stored("mnist")["floor"]["classifier"]
    return floor["distance"][floor["n"].index(1000)]


@claim("Seeds alone differ by about 2 (one standard deviation", low=0.8, high=3.5, seeds=(0,), slow=True)
def seeds_differ(seed: int) -> float:
    """Of four new runs of 1,000 samples; four tell a standard deviation to a factor of about two."""
    diffusion, found = checkpoint.load("digits", "cpu"), []
    for i in range(100, 104):
        drawn = draw_samples(diffusion, (1000, 1, 8, 8), 20, 0.0, torch.Generator().manual_seed(i))
        found.append(distance_of_features(features()[0], features_of(extractor("classifier", (1, 8, 8)), drawn)))
    return stdev(found)


@claim("the classes are far from even", low=100, seeds=(0,))
def classes_are_uneven(seed: int) -> float:
    """The smaller chi-squared of both models at N = 10,000, as stored; 28 comes once in a thousand times."""
    rows = [max(stored(name)["samplers"], key=lambda row: row["n"]) for name in ("digits", "mnist")]
    return min(Judgement(**row["judgement"]).chi_squared for row in rows)


def of_two_hundred(images: Tensor, seed: int) -> Tensor:
    """Features of 200 of them."""
    return features_of(extractor("classifier", (1, 8, 8)), random_subset(images, 200, seed))


@claim("all of them lie among the real images, and one real image in a hundred lies among them", low=0.005, high=0.015)
def twenty_cover_little(seed: int) -> float:
    """Recall of two training images a class, repeated; infinite if one of them does not lie among the real ones."""
    train, _ = digits()
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    twenty = torch.cat([order[train.labels[order] == digit][:2] for digit in range(10)])
    found = coverage(features()[0], features()[0][twenty[torch.arange(200) % 20]])
    return found.recall if found.precision == 1 else float("inf")


def blurred(seed: int) -> Tensor:
    """Features of 200 blurred test images."""
    test = digits()[1]
    return of_two_hundred(degraded(test[:], test.labels, "blur", 0.3), seed)


@claim("keeps a precision of more than one half", low=0.5, high=0.62)
def blur_is_precise(seed: int) -> float:
    """Of 200 test images."""
    return coverage(features()[0], blurred(seed)).precision


@claim("and a recall of 3 or 4 %", low=0.025, high=0.05)
def blur_covers_little(seed: int) -> float:
    """Of 200 test images."""
    return coverage(features()[0], blurred(seed)).recall


@cache
def own(seed: int) -> Tensor:
    """Features of 200 samples."""
    rng = torch.Generator().manual_seed(1000 + seed)
    drawn = draw_samples(checkpoint.load("digits", "cpu"), (200, 1, 8, 8), 20, 0.0, rng)
    return features_of(extractor("classifier", (1, 8, 8)), drawn)


@claim("a third of its samples lie among the real images", low=0.27, high=0.4, slow=True)
def precision_of_samples(seed: int) -> float:
    """Of 200 samples."""
    return coverage(features()[0], own(seed)).precision


@claim("where 70 to 75 % of the unseen ones do", low=0.68, high=0.77)
def precision_of_unseen(seed: int) -> float:
    """Of 200 test images."""
    return coverage(features()[0], of_two_hundred(digits()[1][:], seed)).precision


@claim("eight in ten of the real images lie among its samples", low=0.73, high=0.92)
def recall_of_samples(seed: int) -> float:
    """Of 200 samples."""
    return coverage(features()[0], own(seed)).recall


@claim("For unseen digits it is 0 to within the spread of one subset", low=-1, high=1)
def kernel_sees_no_floor(seed: int) -> float:
    """KID of 200 test images in standard deviations of a subset."""
    kid = kernel_distance(features()[0], of_two_hundred(digits()[1][:], seed), seed=seed)
    return kid.mean / kid.std
