"""What notebook 10 states, found anew; the sentences stand in the notebook word for word."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from ddpm_lesson import checkpoint
from ddpm_lesson.data import ImageDataset, load_images
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.evaluate import distance_of_features, draw_samples, extractor, features_of, load_classifier
from ddpm_lesson.lesson.ch10_training.diagnosis import SMALL, course_of
from ddpm_lesson.lesson.ch10_training.measure import losses_by_time, principal_variances, spread, straight_line_loss
from ddpm_lesson.lesson.ch10_training.record import load_curve
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.sample import ddpm_steps, final_samples, spaced_times

BOOK = ClaimBook(10)
claim = BOOK.claim
MIDDLES = ((torch.arange(16) + 0.5) * 1000 / 16).long()  # of 16 equal parts of 0 .. 999


@cache
def digits() -> tuple[DenoiseDiffusion, ImageDataset, ImageDataset]:
    """The shipped network, its training images and the test images."""
    return checkpoint.load("digits", "cpu"), load_images("digits"), load_images("digits", "test")


@cache
def by_time(seed: int) -> Tensor:
    """Losses at 16 times of 96 test images, others for each seed: (16, 96)."""
    diffusion, _, test = digits()
    chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[:96]
    return losses_by_time(diffusion, test[:][chosen], MIDDLES, seed=1000 + seed)


def over_the_line(seed: int) -> Tensor:
    """The loss in multiples of the best straight line's, at 16 times."""
    diffusion, train, _ = digits()
    return by_time(seed).mean(1) / straight_line_loss(principal_variances(train[:]), diffusion.schedule)[MIDDLES]


@claim("a twentieth after a thousand more, and a third after five thousand", low=0.9, high=1.1, seeds=(0,))
def steps_stay_small(seed: int) -> float:
    """A usual step of Adam so long after a gradient of 1,000 times the usual, in multiples of the claim; the worse."""
    v = 0.001 * 1000**2 + 0.999  # Adam's mean square, of which 1 is usual
    ratios = (claimed / (1 + 0.999**n * (v - 1)) ** 0.5 for n, claimed in ((1000, 20), (5000, 3)))
    return max(ratios, key=lambda ratio: abs(ratio - 1))


@cache
def thousand_before(end: int) -> np.ndarray:
    """Losses of the shipped run in the thousand steps before one."""
    steps, losses = map(np.array, load_curve("mnist"))
    return losses[(steps > end - 1000) & (steps <= end)]


@claim("and **jumps back** when the rate is full again", low=0.95, high=1.05, seeds=(0,))
def jumps_back(seed: int) -> float:
    """The loss after the first cool-down is undone, in multiples of that before."""
    before, cooled, undone = (thousand_before(end).mean() for end in (8250, 10_500, 11_500))
    return undone / before if cooled < 0.97 * before else float("nan")


@claim(
    "At the full rate it took four to seven thousand more steps to be as low again", low=4000, high=7000, seeds=(0, 1)
)
def steps_to_be_as_low(seed: int) -> float:
    """From the end of the first cool-down to a mean as low, for seed 0 within a standard error of the difference."""
    cooled = thousand_before(10_500)
    allowed = cooled.mean() + (2**0.5 * cooled.std() / len(cooled) ** 0.5 if seed == 0 else 0)
    return next(end for end in range(11_500, 18_001, 250) if thousand_before(end).mean() <= allowed) - 10_500


@claim("at $t$ below 300 this small network is better than the straight line", high=1)
def better_below_300(seed: int) -> float:
    """The worst of five times."""
    return float(over_the_line(seed)[:5].max())


@claim("nearly 3 times the error at 781", low=2.4, high=3.2, i=12)
@claim("about 50 times at 968", low=40, high=70, i=15)
def worse_than_the_line(seed: int, i: int) -> float:
    """The error at the i-th time in multiples of the line's."""
    return float(over_the_line(seed)[i])


@claim("all $t$ above 650 together make about 1 % of the loss", low=0.007, high=0.012)
def share_of_large_t(seed: int) -> float:
    """Share of the mean."""
    means = by_time(seed).mean(1)
    return float(means[MIDDLES > 650].sum() / means.sum())


@torch.no_grad()
def agreement(
    diffusion: DenoiseDiffusion, read: Callable[[Tensor], Tensor], shape: tuple[int, ...], t: int, seed: int
) -> float:
    """How often two runs that go on from the same x_t, with noise of their own, end in the same class.

    They take 40 steps with the posterior's variance, and part at the time that is nearest to t. ``read`` gives images
    their classes (B, classes), the largest of which counts.
    """
    steps = partial(ddpm_steps, diffusion, shape, torch.Generator().manual_seed(seed), sigma="posterior")
    times = spaced_times(diffusion.n_steps, 40)
    parting = min(times, key=lambda time: abs(time - t))
    xt, left = next(step.xt for step in steps(n_steps=40) if step.t == parting), 40 - times.index(parting)
    ends = (final_samples(steps(n_steps=left, start=xt, t_start=parting)) for _ in range(2))
    one, other = (read(images).argmax(1) for images in ends)
    return float((one == other).double().mean())


@claim("at 650 no oftener than chance, about once in ten", low=0.03, high=0.19, slow=True, t=650)
@claim("at 300 in three to four cases of ten", low=0.25, high=0.5, slow=True, t=300)
@claim("at 150 about seven times", low=0.6, high=0.82, slow=True, t=150)
def same_class(seed: int, t: int) -> float:
    """Share of 160 pairs of runs that part at t and end in one class; chance is 0.1, with a standard error of 0.024."""
    return agreement(digits()[0], load_classifier("digits", "cpu"), (160, 1, 8, 8), t, seed)


class StraightAbove(nn.Module):
    """A network up to some t, and from ``start`` on the best guess that is linear in x_t, (10.6), for ``images``."""

    def __init__(self, diffusion: DenoiseDiffusion, images: Tensor, start: int):
        super().__init__()
        self.network, self.alpha_bar, self.start = diffusion.eps_model, diffusion.alpha_bar, start
        flat = images.flatten(1).double()
        self.mean = flat.mean(0).float()
        self.variances, self.axes = (x.float() for x in torch.linalg.eigh(flat.T.cov(correction=0)))

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """Guess of eps, (B, C, H, W)."""
        a = self.alpha_bar[t][:, None]
        along = (xt.flatten(1) - a.sqrt() * self.mean) @ self.axes  # (B, D)
        line = (((1 - a).sqrt() / (a * self.variances + 1 - a)) * along) @ self.axes.T
        return torch.where((t >= self.start)[:, None, None, None], line.view_as(xt), self.network(xt, t))


def distance_from(start: int, seed: int) -> float:
    """Frechet distance of 500 samples whose guesses are a straight line from ``start`` on."""
    diffusion, train, _ = digits()
    model = DenoiseDiffusion(StraightAbove(diffusion, train[:], start), schedule=diffusion.schedule)
    samples = draw_samples(model, (500, 1, 8, 8), 20, 0.0, torch.Generator().manual_seed(seed))
    features = extractor("classifier", train.shape)
    return distance_of_features(*(features_of(features, images) for images in (train[:], samples)))


@claim("from $t = 600$ on, and the Frechet distance of the samples changes by less than a tenth", high=0.1, slow=True)
def straight_line_does_as_well(seed: int) -> float:
    """Change of the distance, as a share of it; the same starts for both."""
    return abs(distance_from(600, seed) / distance_from(1000, seed) - 1)


@claim("the standard deviation falls to about a third", low=0.28, high=0.4)
def spread_evenly(seed: int) -> float:
    """Standard deviation with t spread evenly, in multiples of that with t drawn freely."""
    parts = spread(by_time(seed))
    return (parts.of_batch(32, stratified=True) / parts.of_batch(32)) ** 0.5


@claim("Most of the wobble is the draw of $t$", low=0.8, high=1)
def wobble_is_the_draw_of_t(seed: int) -> float:
    """Share of the variance."""
    parts = spread(by_time(seed))
    return parts.between / (parts.between + parts.within)


@claim("the curve lies *below* the healthy one", high=0.95, slow=True)
def half_the_range_looks_better(seed: int) -> float:
    """Loss of the last 30 steps in multiples of the healthy one's."""
    courses = (course_of(name, replace(SMALL, seed=seed), 1, 2) for name in ("data in [0, 1]", "healthy"))
    ill, healthy = (np.mean(course.losses[-30:]) for course in courses)
    return float(ill / healthy)


@claim("Held-out loss near 1 for the average and small for the weights", low=4, slow=True)
def average_without_warm_up(seed: int) -> float:
    """Held-out loss of the average in multiples of that of the weights."""
    ill = course_of("average without warm-up", replace(SMALL, seed=seed), 1, 2)
    return ill.probe_ema / ill.probe
