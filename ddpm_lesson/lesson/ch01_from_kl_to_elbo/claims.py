"""What notebook 01 says it found, and how to find it anew."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.distributions import Normal

from ddpm_lesson import NoiseSchedule
from ddpm_lesson.lesson.kit.chain import ChainBound, GridChain, data_nodes, fitted_reverse
from ddpm_lesson.lesson.kit.claim import ClaimBook
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.lesson.kit.quadrature import TWO_PEAKS, LatentModel, both_kl, fit_gaussian

BOOK = ClaimBook(1)
claim = BOOK.claim


@claim("about 0.58 nats, near mean 0.06", low=0.575, high=0.585, seeds=(0,))
def least_forward_kl(seed):
    return both_kl(TWO_PEAKS, *fit_gaussian(TWO_PEAKS, "forward"))[0]


@claim("about 0.51 nats at mean 0.90", low=0.505, high=0.515, seeds=(0,))
def least_reverse_kl(seed):
    return both_kl(TWO_PEAKS, *fit_gaussian(TWO_PEAKS, "reverse", mean=2))[1]


@claim("the distance is the entropy of the data, about 0.9 nats", low=0.87, high=0.95, seeds=range(5))
def distance_of_the_curves(seed):
    draws, model = TWO_PEAKS.sample(5000, torch.Generator().manual_seed(100 + seed)), GaussianMixture([1], [0.3], [1])
    return float(-model.log_prob(draws).mean()) - both_kl(TWO_PEAKS, 0.3, 1.0)[0]


def missed(seed: int, D: int) -> Tensor:
    """How much the estimate from 10,000 blind draws falls short in D dimensions, in nats, on average over 20 x."""
    generator = torch.Generator().manual_seed(1000 * seed + D)
    x = math.sqrt(1.04) * torch.randn(20, 1, D, generator=generator)
    z = torch.randn(10_000, D, generator=generator)
    estimate = Normal(z, 0.2).log_prob(x).sum(-1).logsumexp(1) - math.log(10_000)
    return (Normal(0, math.sqrt(1.04)).log_prob(x).sum(-1) - estimate[:, None]).mean()


@claim("A handful of dimensions, and then it breaks down", low=-0.2, high=2)
def nats_missed_in_5_dimensions(seed):
    return missed(seed, 5)


@claim("by more than ten nats at $D = 10$", low=10)
def nats_missed_in_10_dimensions(seed):
    return missed(seed, 10)


@claim("and by about a hundred at $D = 20$", low=80, high=120)
def nats_missed_in_20_dimensions(seed):
    return missed(seed, 20)


@claim("sits on one of them, near 1.28 or $-1.28$, with a gap of\n0.73", low=0.725, high=0.735, seeds=(0,))
def gap_on_one_peak(seed):
    bent = LatentModel(torch.square, 0.6)
    return min(bent.gap(2.0, 1.28, std / 100) for std in range(10, 60))


@claim("Over both peaks (mean 0, standard deviation 0.84) it is 2.03", low=2.025, high=2.035, seeds=(0,))
def gap_over_both_peaks(seed):
    return LatentModel(torch.square, 0.6).gap(2.0, 0.0, 0.84)


@lru_cache
def chain(name: str, shrink: float = 1.0) -> GridChain:
    """A model of section 6; the variances of its steps may be multiplied."""
    schedule = NoiseSchedule.from_betas([0.2, 0.3, 0.4, 0.5]).to(torch.float64)
    one = GaussianMixture([1], [TWO_PEAKS.mean], [math.sqrt(TWO_PEAKS.var)])
    if name == "naive":
        return GridChain(schedule, lambda xt, t: (xt, schedule.beta[t]))
    fitted = fitted_reverse(schedule, TWO_PEAKS if name == "two peaks" else one)

    def step(xt: Tensor, t: int) -> tuple[Tensor, Tensor]:
        mean, var = fitted(xt, t)
        return mean, shrink * var

    return GridChain(schedule, step)


MODELS = ("naive", "one Gaussian", "two peaks")
X0, WEIGHT = data_nodes(TWO_PEAKS)


def exact(name: str, shrink: float = 1.0) -> float:
    """-log p(x_0) on average over the data."""
    return float(WEIGHT @ chain(name, shrink).nll(X0))


@lru_cache
def bound(name: str, shrink: float = 1.0) -> ChainBound:
    """The terms of its bound, for every x_0."""
    return chain(name, shrink).bound(X0)


@claim("But the smallest gap belongs to *one Gaussian*", low=0, high=0.01, seeds=(0,))
def smallest_gap(seed):
    gaps = {name: float(WEIGHT @ chain(name).gap(X0)) for name in MODELS}
    return gaps["one Gaussian"] if gaps["one Gaussian"] == min(gaps.values()) else float("nan")


@claim("the exact value falls to\n0.968", low=0.9675, high=0.9685, seeds=(0,))
def exact_value_of_narrower_steps(seed):
    return exact("two peaks", 0.95)


@claim("while the bound rises to 1.051", low=1.0505, high=1.0515, seeds=(0,))
def bound_of_narrower_steps(seed):
    return WEIGHT @ bound("two peaks", 0.95).total


@claim("so it is the same in all rows: 0.105", low=0.1045, high=0.1055, seeds=(0, 1, 2))
def last_term(seed):
    return WEIGHT @ bound(MODELS[seed]).L_T


@claim("The models differ most in $L_0$, by up to 0.38 nats", low=0.375, high=0.385, seeds=(0,))
def difference_in_the_terms(seed):
    terms = torch.stack([WEIGHT @ bound(name).L_t for name in MODELS])  # (3, T), L_0 first
    spread = terms.amax(0) - terms.amin(0)
    return spread[0] if spread.argmax() == 0 else float("nan")


@claim("For two of the models the sum alone is below the entropy of the data", low=2, high=2, seeds=(0,))
def sums_below_the_entropy(seed):
    entropy = float(-WEIGHT @ TWO_PEAKS.log_prob(X0))
    return sum(float(WEIGHT @ bound(name).L_t[:, 1:].sum(1)) < entropy for name in MODELS)


@claim("for none\nof them is it above the exact value", high=0, seeds=(0, 1, 2))
def excess_of_the_sum(seed):
    name = MODELS[seed]
    return float(WEIGHT @ bound(name).L_t[:, 1:].sum(1)) - exact(name)
