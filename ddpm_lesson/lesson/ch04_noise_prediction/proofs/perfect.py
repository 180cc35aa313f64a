"""What a perfect network says, and the bound put together: (4.11) to (4.14)."""

import math

import torch
from torch import Tensor

from ddpm_lesson.lesson.ch04_noise_prediction.proofs.guesses import equation, mean_from_eps
from ddpm_lesson.lesson.kit.chain import ChainBound, GridChain, Reverse, log_normal, short_chain
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, GaussianMixture
from ddpm_lesson.lesson.kit.proof import Formula, largest
from ddpm_lesson.schedule import NoiseSchedule


def exact_reverse(data: GaussianMixture, schedule: NoiseSchedule, sigma: str = "beta") -> Reverse:
    """p_theta with the exact noise E[eps | x_t] in its mean and a fixed variance, for a ``GridChain``.

    Ho et al. 2020, Eq. 11 and section 3.2. Step 0 has the variance beta, whatever ``sigma`` is.
    """
    s = schedule.to(torch.float64)

    def reverse(xt: Tensor, t: int) -> tuple[Tensor, Tensor]:
        mean = mean_from_eps(xt, data.exact_eps(xt, float(s.alpha_bar[t])), s.alpha[t], s.alpha_bar[t])
        return mean, s.beta_tilde[t] if sigma == "posterior" and t > 0 else s.beta[t]

    return reverse


def bump_chain(n_steps: int = 8, sigma: str = "beta") -> GridChain:
    """The short chain with the perfect model for ``TWO_BUMPS``, every density on a grid."""
    schedule = short_chain(n_steps)
    grid = torch.linspace(-6, 6, 601, dtype=torch.float64)
    return GridChain(schedule, exact_reverse(TWO_BUMPS, schedule, sigma), grid)


# What a perfect network says


def joint_of_noise(alpha_bar: float) -> tuple[Tensor, Tensor, Tensor]:
    """Grids of x_t (a row) and eps (a column), and their joint density for the data of this notebook; no Bayes."""
    xt = torch.linspace(-6, 6, 241, dtype=torch.float64)
    eps = torch.linspace(-7, 7, 1401, dtype=torch.float64)[:, None]
    x0 = (xt - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)
    return xt, eps, TWO_BUMPS.prob(x0) / math.sqrt(alpha_bar) * log_normal(eps, 0.0, 1.0).exp()


def average(values: Tensor, density: Tensor, xt: Tensor, eps: Tensor) -> Tensor:
    """The expectation of ``values`` under a density on the grids of x_t and eps."""
    return (values * density).sum() * (xt[1] - xt[0]) * (eps[1, 0] - eps[0, 0])


@equation(
    "4.11",
    r"\mathbb{E}\,\lVert\epsilon - f(x_t)\rVert^2 = "
    r"\mathbb{E}\,\lVert\epsilon - \mathbb{E}[\epsilon \mid x_t]\rVert^2"
    r" + \mathbb{E}\,\lVert\mathbb{E}[\epsilon \mid x_t] - f(x_t)\rVert^2",
    "quadrature",
    1e-7,
)
def best_guess(formula: Formula = GaussianMixture.exact_eps) -> float:
    """With the mixture's E[eps | x_t], for guesses f from sensible to foolish; the joint density on a grid."""
    errors = []
    for alpha_bar in (0.9, 0.5, 0.1):
        xt, eps, density = joint_of_noise(alpha_bar)
        best = formula(TWO_BUMPS, xt, alpha_bar)
        for guess in (0.5 * xt, best + 0.3 * torch.sin(3 * xt), torch.zeros_like(xt)):
            left = average((eps - guess) ** 2, density, xt, eps)
            right = average((eps - best) ** 2 + (best - guess) ** 2, density, xt, eps)
            errors.append(abs(float(left - right)))
    return largest(errors)


def noise_by_slope(data: GaussianMixture, xt: Tensor, alpha_bar: float) -> Tensor:
    """-sqrt(1 - alpha_bar) d/dx log q(x_t), the derivative by autograd."""
    x = xt.clone().requires_grad_()
    (slope,) = torch.autograd.grad(data.noised(alpha_bar).log_prob(x).sum(), x)
    return -math.sqrt(1 - alpha_bar) * slope


@equation(
    "4.12",
    r"\mathbb{E}[\epsilon \mid x_t] = -\sqrt{1-\bar\alpha_t}\;\nabla_{x_t} \ln q(x_t)",
    "quadrature and autograd",
    1e-6,
)
def noise_is_slope(formula: Formula = noise_by_slope) -> float:
    """Against the integral of eps q(eps | x_t), where q(x_t) is not negligible."""
    errors = []
    for alpha_bar in (0.9, 0.5, 0.1):
        xt, eps, density = joint_of_noise(alpha_bar)
        likely = density.sum(0) * (eps[1, 0] - eps[0, 0]) > 1e-3
        mean = ((eps * density).sum(0) / density.sum(0))[likely]
        errors.append(float((formula(TWO_BUMPS, xt[likely], alpha_bar) - mean).abs().max()))
    return largest(errors)


# The bound put together


def sum_of_terms(bound: ChainBound) -> Tensor:
    """L_T + sum over t of L_{t-1} + L_0 (Ho et al. 2020, Eq. 5), (B,)."""
    return bound.L_T + bound.L_t[:, 1:].sum(1) + bound.L_0


@equation(
    "4.13",
    r"\mathbb{E}_q\Big[-\ln\frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\Big] = L_T + \sum_{t=2}^{T} L_{t-1} + L_0",
    "quadrature",
    1e-6,
)
def terms_make_the_bound(formula: Formula = sum_of_terms) -> float:
    """The sum of the terms against the expectation as it was before anything was rearranged."""
    chain, x0 = bump_chain(), torch.tensor([-0.6, 0.0, 0.9])
    return float((formula(chain.bound(x0)) - chain.direct_bound(x0)).abs().max())


def bound_minus_gap(chain: GridChain, x0: Tensor) -> Tensor:
    """The negative log-likelihood from the bound, (B,)."""
    return chain.bound(x0).total - chain.gap(x0)


@equation(
    "4.14",
    r"L(x_0) = -\ln p_\theta(x_0) + D_\mathrm{KL}\big(q(x_{1:T} \mid x_0) \,\Vert\, p_\theta(x_{1:T} \mid x_0)\big)",
    "quadrature",
    1e-6,
)
def gap_is_a_divergence(formula: Formula = bound_minus_gap) -> float:
    """Against -log p_theta(x0), with x_1 .. x_T integrated out."""
    chain, x0 = bump_chain(), torch.tensor([-0.6, 0.0, 0.9])
    return float((formula(chain, x0) - chain.nll(x0)).abs().max())
