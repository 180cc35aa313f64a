"""The way forward, step by step and at once: (2.1) to (2.6); and what all proofs of notebook 02 share."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.lesson.kit.proof import ProofBook, largest, symbolic
from ddpm_lesson.sample import forward_steps
from ddpm_lesson.schedule import NoiseSchedule

BOOK = ProofBook(2)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger

STEPS = torch.linspace(0.02, 0.4, 20, dtype=torch.float64)  # beta of a chain with large steps, where mistakes show
FINE = NoiseSchedule.linear().to(torch.float64).beta  # the paper's
DATA = GaussianMixture([0.6, 0.4], [-0.8, 1.1], [0.25, 0.15])
UNIT = GaussianMixture([0.5, 0.5], [-0.8, 0.8], [0.6, 0.6])  # variance 1
SHIFTED = GaussianMixture([0.5, 0.5], [0.2, 1.8], [0.6, 0.6])  # variance 1, E[x^2] = 2


def axis(low: float = -9, high: float = 9, n: int = 7201) -> Tensor:
    """Evenly spaced points to integrate over."""
    return torch.linspace(low, high, n, dtype=torch.float64)


def moments(x: Tensor, density: Tensor) -> tuple[float, float]:
    """Mean and variance of a density on a grid, whatever its normalisation."""
    mass = torch.trapezoid(density, x)
    mean = torch.trapezoid(density * x, x) / mass
    return float(mean), float(torch.trapezoid(density * (x - mean) ** 2, x) / mass)


def diffusion_of(beta: Tensor) -> DenoiseDiffusion:
    """The package's process with this noise, in float64 and without a network."""
    return DenoiseDiffusion(nn.Identity(), schedule=NoiseSchedule.from_betas(beta)).double()


def one_time(t: int) -> Tensor:
    """One time as a batch."""
    return torch.tensor([t])


def cumulative(beta: Tensor, t: int) -> tuple[float, float, float, float]:
    """beta, alpha, alpha_bar and alpha_bar_prev at code's t."""
    alpha_bar = (1 - beta).cumprod(0)
    return float(beta[t]), float(1 - beta[t]), float(alpha_bar[t]), float(alpha_bar[t - 1]) if t else 1.0


def symbols(names: str) -> Any:
    """Positive sympy symbols."""
    import sympy

    return sympy.symbols(names, positive=True)


@equation("2.1", r"\mu + \sigma\epsilon \sim \mathcal{N}(\mu, \sigma^2)", "quadrature", 1e-6)
def reparameterisation(draw: Callable = lambda mean, std, eps: mean + std * eps) -> float:
    """The mass of N(mean, std^2) up to the draw is the mass of N(0, 1) up to its eps."""
    eps, errors = axis(-4, 4, 17), []
    for mean, std in ((0.0, 1.0), (1.5, 0.3), (-2.0, 2.5)):
        x = axis(mean - 10 * std, mean + 10 * std, 40_001)
        mass = torch.cumulative_trapezoid(log_normal(x, mean, std**2).exp(), x)
        place = torch.searchsorted(x, draw(mean, std, eps)).clamp(1, len(mass)) - 1
        inside = draw(mean, std, eps) - x[place + 1]  # from the grid point to the draw
        errors.extend(mass[place] + inside * log_normal(x[place + 1], mean, std**2).exp() - torch.special.ndtr(eps))
    return largest(errors)


@equation("2.2", r"a\epsilon_1 + b\epsilon_2 \sim \mathcal{N}(0, a^2 + b^2)", "quadrature", 1e-10)
def sum_of_gaussians(var: Callable = lambda a, b: a**2 + b**2) -> float:
    """The convolution of two Gaussian densities."""
    x, total, errors = axis(), axis(-6, 6, 25), []
    for a, b in ((0.6, 0.8), (1.0, 0.2), (0.5, 1.5)):
        joint = log_normal(x, 0.0, a**2) + log_normal(total[:, None] - x, 0.0, b**2)
        errors.extend(torch.trapezoid(joint.exp(), x) - log_normal(total, 0.0, var(a, b)).exp())
    return largest(errors)


def one_step(x_prev: float, beta: float) -> tuple[float, float]:
    """Mean and variance of q(x_t | x_{t-1}). Ho et al. 2020, Eq. 2."""
    return math.sqrt(1 - beta) * x_prev, beta


def standard_errors(draws: Tensor, mean: float | Tensor, var: float | Tensor) -> list[float]:
    """How many standard errors the mean and the variance of Gaussian draws lie from what is claimed."""
    n, mean, var = len(draws), float(mean), float(var)
    return [
        (float(draws.mean()) - mean) / math.sqrt(var / n),
        (float(draws.var()) - var) / (var * math.sqrt(2 / n)),
    ]


@equation(
    "2.3",
    r"q(x_t \mid x_{t-1}) = \mathcal{N}(\sqrt{1 - \beta_t}\,x_{t-1},\ \beta_t)",
    "Monte Carlo of the package's chain, in standard errors",
    5,
)
def forward_step(formula: Callable = one_step) -> float:
    """One step of ``forward_steps`` from many copies of one value."""
    generator, errors = torch.Generator().manual_seed(0), []
    for x_prev, beta in ((1.0, 0.5), (-2.0, 0.1), (0.3, 0.02)):
        start = torch.full((100_000, 1), x_prev, dtype=torch.float64)
        (xt,) = forward_steps(diffusion_of(torch.tensor([beta])), start, generator)
        errors += standard_errors(xt, *formula(x_prev, beta))
    return largest(errors)


@equation(
    "2.4",
    r"\mathrm{Var}[x_t] = (1 - \beta_t)\,\mathrm{Var}[x_{t-1}] + \beta_t",
    "quadrature with two-peaked data",
    1e-9,
)
def variance_of_a_step(var: Callable = lambda var_prev, beta: (1 - beta) * var_prev + beta) -> float:
    """The density of x_t as an integral over x_{t-1}, and its variance."""
    x, errors = axis(n=601), []
    for data in (DATA, UNIT, GaussianMixture([1.0], [0.5], [0.3])):
        before = moments(x, data.prob(x))[1]
        for beta in (0.1, 0.5):
            step = log_normal(x[:, None], math.sqrt(1 - beta) * x, beta) + data.log_prob(x)
            errors.append(moments(x, torch.trapezoid(step.exp(), x))[1] - var(before, beta))
    return largest(errors)


@equation("2.5", r"\alpha_t(1 - \bar\alpha_{t-1}) + \beta_t = 1 - \bar\alpha_t", "algebra (sympy)", 1e-12)
def merged_noise(total: Callable = lambda alpha, alpha_bar_prev: 1 - alpha * alpha_bar_prev) -> float:
    """The variances of the old noise, shrunk, and of the new noise."""
    alpha, alpha_bar_prev = symbols("alpha alpha_bar_prev")
    return symbolic(alpha * (1 - alpha_bar_prev) + (1 - alpha) - total(alpha, alpha_bar_prev))


def package_closed_form(x0: float, t: int, beta: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of q(x_t | x_0), from ``q_xt_x0``."""
    return diffusion_of(beta).q_xt_x0(torch.tensor([x0], dtype=torch.float64), one_time(t))


@equation(
    "2.6",
    r"q(x_t \mid x_0) = \mathcal{N}(\sqrt{\bar\alpha_t}\,x_0,\ 1 - \bar\alpha_t)",
    "Monte Carlo of the chain in standard errors; its mean and variance step by step, in millionths",
    5,
)
def closed_form(formula: Callable = package_closed_form) -> float:
    """Many chains from one x0, looked at after every step, and the mean and the variance carried along by (2.4)."""
    generator, errors = torch.Generator().manual_seed(0), []
    for x0 in (-1.0, 0.5, 2.0):
        xt, mean, var = torch.full((40_000,), x0, dtype=torch.float64), x0, 0.0
        for t, beta in enumerate(STEPS.tolist()):
            eps = torch.randn(len(xt), dtype=torch.float64, generator=generator)
            xt = math.sqrt(1 - beta) * xt + math.sqrt(beta) * eps
            mean, var = math.sqrt(1 - beta) * mean, (1 - beta) * var + beta
            claimed = formula(x0, t, STEPS)
            errors += standard_errors(xt, *claimed)
            errors += [1e6 * (a - float(b)) for a, b in zip((mean, var), claimed, strict=True)]
    return largest(errors)
