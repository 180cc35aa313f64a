"""What notebook 12 states, found anew; the sentences stand in the notebook word for word."""

from collections.abc import Callable
from functools import cache
from statistics import mean, stdev

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ddpm_lesson import checkpoint
from ddpm_lesson.data import ImageDataset, load_images
from ddpm_lesson.evaluate import (
    Judgement,
    distance_of_features,
    draw_samples,
    expected_floor,
    extractor,
    features_of,
    judge,
    load_classifier,
    moments,
    random_subset,
)
from ddpm_lesson.lesson.ch12_evaluation.degrade import degraded, gaussian_twin
from ddpm_lesson.lesson.ch12_evaluation.measures import coverage, kernel_distance, precision_recall
from ddpm_lesson.lesson.ch12_evaluation.stored import largest, race, records, with_floor
from ddpm_lesson.lesson.kit.claim import ClaimBook

BOOK = ClaimBook(12)
claim = BOOK.claim
N_LEVELS = 17  # of grey, in scikit-learn's digits


@cache
def digits() -> tuple[ImageDataset, ImageDataset]:
    """Training and test images."""
    return load_images("digits"), load_images("digits", "test")


def mean_of_five(find: Callable[[int], float], seed: int) -> float:
    """Of five seeds that no other seed has."""
    return mean(find(5 * seed + i) for i in range(5))


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


@claim("After 4 % of the bits the classifier reads about four guesses in five", low=0.775, high=0.86, seeds=range(5))
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


def beside_real(name: str, kind: str, amount: float, seed: int) -> tuple[Tensor, Tensor]:
    """Features of 797 digits, shuffled anew, and of the 1,000 others made worse."""
    images, labels = (torch.cat(pair) for pair in zip(*((d[:], d.labels) for d in digits()), strict=True))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1000 + seed))
    pool, labels, real = images[order[797:]], labels[order[797:]], images[order[:797]]
    worse = degraded(pool, labels, kind, amount, torch.Generator().manual_seed(seed))
    seen = extractor(name, digits()[0].shape)
    return features_of(seen, real), features_of(seen, worse)


@cache
def worsened(name: str, kind: str, amount: float, seed: int) -> float:
    """Frechet distance of 1,000 digits made worse from the 797 others."""
    return distance_of_features(*beside_real(name, kind, amount, seed))


@claim("blurred digits lose about 2", low=1.2, high=3.2, seeds=(0, 1), slow=True, kind="blur", amount=0.3)
@claim("and real ones 4", low=3.6, high=5.2, seeds=(0, 1), slow=True, kind="noise", amount=0.0)
def fall_with_n(seed: int, kind: str, amount: float) -> float:
    """By how much the distance of 150 is above that of 1,000, the mean of 40 shuffles."""
    falls = []
    for i in range(40):
        real, worse = beside_real("classifier", kind, amount, 40 * seed + i)
        falls.append(distance_of_features(real, worse[:150]) - distance_of_features(real, worse))
    return mean(falls)


@claim("though they are 80 off", low=75, high=85, seeds=range(5))
def blur_is_far(seed: int) -> float:
    """Distance of 1,000 digits after blur 0.3."""
    return worsened("classifier", "blur", 0.3, seed)


def missing_over_noise(name: str, seed: int) -> float:
    """Of amount 0.3."""
    return worsened(name, "missing classes", 0.3, seed) / worsened(name, "noise", 0.3, seed)


@claim("on average three to four times as bad as noise 0.3", low=3, high=4, name="classifier")
@claim("and about equally bad for the pixels", low=0.9, high=1.1, name="pixels")
def missing_classes(seed: int, name: str) -> float:
    """In multiples of noise, the mean over five shuffles."""
    return mean_of_five(lambda seed: missing_over_noise(name, seed), seed)


@claim("Noise 0.2 is worse than blur 0.2 for the pixels", low=1.1, seeds=range(5), name="pixels")
@claim("and better for the classifier's features", high=0.95, seeds=range(5), name="classifier")
def noise_over_blur(seed: int, name: str) -> float:
    """Their ratio."""
    return worsened(name, "noise", 0.2, seed) / worsened(name, "blur", 0.2, seed)


@claim("at 1000 it stands out", low=1.8, seeds=range(5))
def noise_over_the_floor(seed: int) -> float:
    """Noise 0.2 over none."""
    return worsened("classifier", "noise", 0.2, seed) / worsened("classifier", "noise", 0.0, seed)


@claim("splits differ by a factor of three to five", low=2.5, high=5.5, slow=True)
def splits_differ(seed: int) -> float:
    """The largest distance of 20 random splits in multiples of the smallest."""
    both, generator = torch.cat(features()), torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(both), generator=generator) for _ in range(20)]
    floors = [distance_of_features(both[order[:1500]], both[order[1500:]]) for order in orders]
    return max(floors) / min(floors)


@claim("happens in about a third of fair sets", low=0.3, high=0.38)
def a_bar_leaves_the_band(seed: int) -> float:
    """Share of 4,000 sets of 200 even draws in which at least one of ten bars lies outside its 95 %."""
    counts = torch.randint(10, (4000, 200), generator=torch.Generator().manual_seed(seed))
    shares = one_hot(counts, 10).double().mean(1)
    return float(((shares - 0.1).abs() > 1.96 * (0.09 / 200) ** 0.5).any(1).double().mean())


@claim("86 % of these digits have nothing in the last column", low=0.855, high=0.865, seeds=(0,))
def empty_edges(seed: int) -> float:
    """Share of the training images that lose nothing by a step to the right."""
    return float(loses_nothing().double().mean())


def loses_nothing() -> Tensor:
    """Which training images are black in their last column, (N,)."""
    return (digits()[0][:][..., -1] == -1).flatten(1).all(1)


@claim("those alone are just as far off", low=0.9, high=1.05, seeds=(0,))
def a_step_without_loss(seed: int) -> float:
    """Their distance after a step to the right over that of all training images."""
    images = digits()[0][:].roll(1, dims=-1)
    seen = (features_of(extractor("classifier", (1, 8, 8)), x) for x in (images[loses_nothing()], images))
    some, all_ = (distance_of_features(features()[0], moved) for moved in seen)
    return some / all_


@claim("the classifier is sure of 74 % of them", low=0.73, high=0.745, seeds=(0,))
def sure_of_a_step(seed: int) -> float:
    """Share of the same images, a step to the right, with a confidence above 0.9."""
    moved = digits()[0][:][loses_nothing()].roll(1, dims=-1)
    return judge(load_classifier("digits", "cpu"), moved).sure


@claim("200 training images have 3.1 on average", low=2.65, high=3.45)
def below_the_floor(seed: int) -> float:
    """Distance of 200 training images from all, the mean of ten draws."""
    draws = (of_two_hundred(digits()[0][:], 10 * seed + i) for i in range(10))
    return mean(distance_of_features(features()[0], draw) for draw in draws)


@claim("a floor of 12.6 give or take 1.7", low=12.55, high=12.65, seeds=(0,))
def mnist_floor(seed: int) -> float:
    """The mean over draws, as stored."""
    floor = records()["mnist"]["floor"]["classifier"]
    return floor["distance"][floor["n"].index(1000)]


def falls(sampler: str, n: int, more: int) -> list[float]:
    """By how much the distance falls from ``n`` steps to ``more``, one a seed."""
    return [before - after for before, after in zip(race(sampler, n), race(sampler, more), strict=True)]


@claim("from 10 to 20 steps the distance falls by 9.2", low=9.15, high=9.25, seeds=(0,), n=10, more=20)
@claim("from 20 to 50 by 4.8", low=4.75, high=4.85, seeds=(0,), n=20, more=50)
def steps_help(seed: int, n: int, more: int) -> float:
    """Mean of eight paired differences of DDIM, as stored."""
    return mean(falls("ddim", n, more))


@claim("with a standard deviation of 0.5", low=0.45, high=0.55, seeds=(0,), sampler="ddim")
@claim("the same difference of DDPM's steps scatters by 2.7", low=2.65, high=2.75, seeds=(0,), sampler="posterior")
def pairs_scatter(seed: int, sampler: str) -> float:
    """Standard deviation of eight paired differences from 20 to 50 steps, as stored."""
    return stdev(falls(sampler, 20, 50))


@claim("the distances are 50 and 7 times their floors", low=49.5, high=50.5, seeds=(0,), name="digits")
@claim("50 and 7 times their floors", low=6.5, high=7.5, seeds=(0,), name="mnist")
def multiples_of_the_floor(seed: int, name: str) -> float:
    """At N = 10,000, with the classifier's features, as stored."""
    value, floor = next(with_floor(name, largest(name)))
    return value / floor


@claim("the classes are far from even", low=100, seeds=(0,))
def classes_are_uneven(seed: int) -> float:
    """The smaller chi-squared of both models at N = 10,000, as stored; 28 comes once in a thousand times."""
    return min(Judgement(**largest(name)["judgement"]).chi_squared for name in ("digits", "mnist"))


def of_two_hundred(images: Tensor, seed: int) -> Tensor:
    """Features of 200 of them."""
    return features_of(extractor("classifier", (1, 8, 8)), random_subset(images, 200, seed))


def twenty(seed: int, times: int) -> Tensor:
    """Features of two training images of each class, repeated."""
    train, _ = digits()
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    two_each = torch.cat([order[train.labels[order] == digit][:2] for digit in range(10)])
    return features()[0][two_each.repeat(times)]


@claim("Once each, the twenty have a recall of 100 %", low=0.995, seeds=range(5), times=1)
@claim("ten times each, one of 1 %", low=0.005, high=0.015, seeds=range(5), times=10)
def recall_of_twenty(seed: int, times: int) -> float:
    """Share of the training images that lie among them."""
    return precision_recall(features()[0], twenty(seed, times)).recall


@claim("5 % however often they are repeated", low=0.045, high=0.06, seeds=range(5))
def coverage_of_twenty(seed: int) -> float:
    """Once each; infinite if that differs from ten times each."""
    once, often = (coverage(features()[0], twenty(seed, times)) for times in (1, 10))
    return once if once == often else float("inf")


@cache
def impostors(name: str, seed: int) -> Tensor:
    """Features of 200 images of a set of the line-up, drawn anew."""
    (train, test), rng = digits(), torch.Generator().manual_seed(2000 + seed)
    if name == "our model":
        images = draw_samples(checkpoint.load("digits", "cpu"), (200, 1, 8, 8), 20, 0.0, rng)
    elif name == "Gaussian twin":
        images = gaussian_twin(train[:], rng).clamp(-1, 1)
    else:
        kind, amount = {"unseen real": ("noise", 0.0), "noise": ("noise", 0.5), "blur": ("blur", 0.3)}[name]
        images = degraded(test[:], test.labels, kind, amount, rng)
    return of_two_hundred(images, seed)


@claim("noise gets 80 to 90 %", low=0.795, high=0.905, what="recall", of="noise")
@claim("a precision of about one half", low=0.46, high=0.56, what="precision", of="blur")
@claim("and a recall of 3 %", low=0.025, high=0.04, what="recall", of="blur")
@claim("a third of its samples lie", low=0.3, high=0.37, slow=True, what="precision", of="our model")
@claim("where 70 to 75 % of the unseen ones do", low=0.695, high=0.755, what="precision", of="unseen real")
@claim("on average some 85 % of the real ones lie", low=0.81, high=0.89, slow=True, what="recall", of="our model")
@claim("a coverage of 7 %", low=0.065, high=0.079, slow=True, what="coverage", of="our model")
@claim("where unseen digits have 22 %", low=0.21, high=0.23, what="coverage", of="unseen real")
def mean_share(seed: int, what: str, of: str) -> float:
    """Of 200 images against the training images, the mean over five sets."""
    return mean_of_five(lambda seed: share(seed, what, of), seed)


@claim("the twin's blotches 40 to 80 %", low=0.35, high=0.85, seeds=range(5), what="recall", of="Gaussian twin")
def share(seed: int, what: str, of: str) -> float:
    """Of one set of 200 images against the training images."""
    return MEASURES[what](features()[0], impostors(of, seed))


MEASURES = {  # of real features, and others
    "precision": lambda real, seen: precision_recall(real, seen).precision,
    "recall": lambda real, seen: precision_recall(real, seen).recall,
    "coverage": coverage,
}


@claim("For unseen digits it is 0 to within the spread of one subset", low=-1, high=1, seeds=range(5))
def kernel_sees_no_floor(seed: int) -> float:
    """KID of 200 test images in standard deviations of a subset."""
    kid = kernel_distance(features()[0], impostors("unseen real", seed), seed=seed)
    return kid.mean / kid.std
