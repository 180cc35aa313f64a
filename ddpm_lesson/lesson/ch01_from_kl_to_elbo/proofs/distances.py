"""Distances between distributions, and what they have to do with the likelihood: (1.1) to (1.5)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, Laplace, Normal, kl_divergence

from ddpm_lesson.bound import gaussian_kl
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.lesson.kit.proof import ProofBook, largest
from ddpm_lesson.lesson.kit.quadrature import LINE, TWO_PEAKS, fit_gaussian, integral, kl

BOOK = ProofBook(1)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger


def excess(*differences: Tensor | float) -> float:
    """By how much the largest number is above 0: the error of a claim "not above 0"."""
    return float(torch.cat([torch.as_tensor(d, dtype=torch.float64).flatten() for d in differences]).max().clamp(min=0))


def beyond_draws(value: Tensor, draws: Tensor) -> float:
    """By how much a value is more than 4 standard errors away from the average of draws."""
    return excess((value - draws.mean()).abs() - 4 * draws.std() / math.sqrt(len(draws)))


def double(value: float) -> Tensor:
    """One number in float64."""
    return torch.tensor(value, dtype=torch.float64)


# Distances between distributions


def pairs() -> list[tuple[Distribution, Distribution]]:
    """Pairs of distributions whose divergence torch knows in closed form."""
    normal, wide = Normal(double(0.3), double(0.8)), Normal(double(-0.5), double(1.4))
    return [(normal, wide), (wide, normal), (Laplace(double(0.2), double(0.9)), wide)]


@equation(
    "1.1",
    r"\mathrm{KL}(p \parallel q) = \mathbb{E}_{p}[\log p(x) - \log q(x)]",
    "quadrature against torch.distributions",
    1e-4,
)
def definition(log_ratio: Callable = lambda log_p, log_q: log_p - log_q) -> float:
    """The integral of p times the log-ratio against closed forms (Kullback and Leibler 1951)."""
    errors = []
    for p, q in pairs():
        log_p, log_q = p.log_prob(LINE), q.log_prob(LINE)
        errors.append(integral(log_p.exp() * log_ratio(log_p, log_q)) - kl_divergence(p, q))
    return largest([*errors])


@equation(
    "1.2",
    r"\mathrm{KL}(p \parallel q) = \mathbb{E}_p[-\log \tfrac{q}{p}] \geq \mathbb{E}_p[1 - \tfrac{q}{p}] = 0",
    "pointwise, and quadrature",
    1e-9,
)
def never_negative(below: Callable = lambda ratio: 1 - ratio) -> float:
    """``below`` lies under -log everywhere, and its expectation is 0."""
    ratio = torch.logspace(-6, 6, 10_001, dtype=torch.float64)
    errors = [excess(below(ratio) + ratio.log())]
    line = LINE[LINE.abs() < 10]  # so far that q has no mass beyond, and not so far that p is 0 in float64
    for q in (GaussianMixture([1], [0.5], [1.2]), GaussianMixture([0.7, 0.3], [-1.0, 1.5], [0.5, 0.6])):
        log_p, log_q = TWO_PEAKS.log_prob(line), q.log_prob(line)
        errors.append(torch.trapezoid(log_p.exp() * below((log_q - log_p).exp()), line))
        errors.append(excess(-torch.trapezoid(log_p.exp() * (log_p - log_q), line)))
    return largest([*errors])


def kl_of_stds(mean1: float, std1: float, mean2: float, std2: float) -> float:
    """The package's closed form, with standard deviations."""
    return float(gaussian_kl(double(mean1), double(std1) ** 2, double(mean2), double(std2) ** 2))


@equation(
    "1.3",
    r"\mathrm{KL}(\mathcal{N}(m_1, s_1^2) \parallel \mathcal{N}(m_2, s_2^2)) = "
    r"\log \frac{s_2}{s_1} + \frac{s_1^2 + (m_1 - m_2)^2}{2 s_2^2} - \frac{1}{2}",
    "quadrature",
    1e-9,
)
def between_gaussians(formula: Callable[..., float] = kl_of_stds) -> float:
    """The closed form against the integral of its definition."""
    errors = []
    for m1, s1, m2, s2 in ((0.3, 0.8, -0.5, 1.4), (-0.5, 1.4, 0.3, 0.8), (1.0, 0.5, 1.0, 0.5), (2.0, 1.0, -1.0, 1.0)):
        errors.append(formula(m1, s1, m2, s2) - kl(log_normal(LINE, m1, s1**2), log_normal(LINE, m2, s2**2)))
    return largest([*errors])


@equation(
    "1.4",
    r"\arg\min_{m, s} \mathrm{KL}(p \parallel \mathcal{N}(m, s^2)) = (\mathbb{E}_p[x], \mathrm{Std}_p[x])",
    "descent from three starts, on two targets",
    1e-6,
)
def moment_matching(best: Callable = lambda p: (p.mean, math.sqrt(p.var))) -> float:
    """Where the descent ends against the mean and standard deviation of the target."""
    errors = []
    for p in (TWO_PEAKS, GaussianMixture([0.2, 0.5, 0.3], [-2.0, 0.0, 1.5], [0.4, 0.3, 0.6])):
        mean, std = best(p)
        for start in (-2.0, 0.0, 2.0):
            found = fit_gaussian(p, "forward", mean=start)
            errors += [found[0] - mean, found[1] - std]
    return largest([*errors])


# Likelihood


@equation(
    "1.5",
    r"\mathrm{KL}(p_\mathrm{data} \parallel p_\theta) = "
    r"\mathbb{E}_{p_\mathrm{data}}[-\log p_\theta(x)] - H(p_\mathrm{data})",
    "quadrature, and 200,000 draws within 4 standard errors",
    1e-9,
)
def cross_entropy(combine: Callable = lambda cross_entropy, entropy: cross_entropy - entropy) -> float:
    """The divergence against cross-entropy and entropy; the draws add what exceeds 4 standard errors."""
    draws = TWO_PEAKS.sample(200_000, torch.Generator().manual_seed(0))
    log_p = TWO_PEAKS.log_prob(LINE)
    entropy = -integral(log_p.exp() * log_p)
    errors = []
    for mean, std in ((0.06, 1.08), (0.9, 0.8), (-1.0, 2.0)):
        log_model = log_normal(LINE, mean, std**2)
        errors.append(combine(-integral(log_p.exp() * log_model), entropy) - kl(log_p, log_model))
        errors.append(beyond_draws(kl(log_p, log_model), combine(-log_normal(draws, mean, std**2), entropy)))
    return largest([*errors])
