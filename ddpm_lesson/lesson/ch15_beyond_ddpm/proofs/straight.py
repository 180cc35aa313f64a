"""Straight paths from data to noise: (15.13) and (15.14)."""

import torch
from torch import Tensor

from ddpm_lesson.flow import FlowMatching, flow_steps
from ddpm_lesson.lesson.ch15_beyond_ddpm import experiments as ex
from ddpm_lesson.lesson.ch15_beyond_ddpm.proofs.flow import LINE, equation
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, GaussianMixture
from ddpm_lesson.lesson.kit.proof import Formula, largest
from ddpm_lesson.sample import final_samples


def velocity(xt: Tensor, x0: Tensor, t: float) -> Tensor:
    """E[eps - x0 | x_t] on straight paths, by the mean of x0."""
    return (xt - x0) / t


@equation(
    "15.13",
    r"u(x_t, t) = \mathbb{E}[\epsilon - x_0 \mid x_t] = \frac{x_t - \mathbb{E}[x_0 \mid x_t]}{t}",
    "the speed of every quantile of x_t",
    1e-5,
)
def velocity_of_the_marginals(formula: Formula = velocity) -> float:
    """Points that keep their rank among (1 - t) x0 + t eps, by central differences in t; E[x0 | x_t] by Bayes."""
    errors, h = [], 1e-4
    for t in (0.1, 0.5, 0.9):
        before, here, after = (straight(t + d).quantile(ex.RANKS) for d in (-h, 0, h))
        log_p = TWO_BUMPS.log_prob(LINE) + log_normal(here[:, None], (1 - t) * LINE, t * t)
        x0 = (log_p.softmax(-1) * LINE).sum(-1)
        errors.append(formula(here, x0, t) - (after - before) / (2 * h))
    return largest(errors)


def straight(t: float) -> GaussianMixture:
    """The distribution of x_t = (1 - t) x0 + t eps for the two bumps."""
    stds = ((1 - t) ** 2 * TWO_BUMPS.stds**2 + t * t).sqrt()
    return GaussianMixture(TWO_BUMPS.weights, (1 - t) * TWO_BUMPS.means, stds)


def same_rank(noise: Tensor) -> Tensor:
    """The value of the data with the rank that ``noise`` has."""
    return TWO_BUMPS.quantile(torch.special.ndtr(noise))


@equation(
    "15.14",
    r"\text{on a line:}\quad x_0 = F^{-1}\big(\Phi(\epsilon)\big), \qquad x_t = (1-t)\,F^{-1}\big(\Phi(\epsilon)\big) "
    r"+ t\,\epsilon "
    r"\ \text{after rectifying}",
    "the flow in 200 steps of Heun",
    1e-3,
)
def flow_keeps_ranks(formula: Formula = same_rank) -> float:
    """Where the exact velocity takes starts; pairs of equal rank never cross, so their straight lines are a flow."""
    start = torch.special.ndtri(ex.RANKS)[:, None]
    steps = flow_steps(FlowMatching(ex.ExactVelocity()), start.shape, 200, solver="heun", start=start)
    ends = formula(start.flatten())
    crossings = [((1 - t) * ends + t * start.flatten()).diff().clamp(max=0) for t in (0.0, 0.3, 0.7, 1.0)]
    return largest([final_samples(steps).flatten() - ends, *crossings])
