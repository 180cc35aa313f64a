"""Only the means matter, and three things to guess that give them: (4.1) to (4.5)."""

import math
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.bound import gaussian_kl
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.proof import Formula, ProofBook, largest, root, symbolic
from ddpm_lesson.schedule import NoiseSchedule

BOOK = ProofBook(4)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger


# Only the means matter


def squared_distance(mean: Tensor, var: float, model_mean: Tensor, sigma2: float) -> Tensor:
    """KL between Gaussians of fixed variances in n dimensions: a squared distance and a constant.

    Ho et al. 2020, Eq. 8. ``mean`` and ``model_mean`` are (..., n); the result is (...).
    """
    constant = 0.5 * mean.shape[-1] * (math.log(sigma2 / var) + var / sigma2 - 1)
    return ((mean - model_mean) ** 2).sum(-1) / (2 * sigma2) + constant


@equation(
    "4.1",
    r"D_\mathrm{KL}\big(\mathcal{N}(\mu_1,\sigma_1^2) \,\Vert\, \mathcal{N}(\mu_2,\sigma_2^2)\big) = "
    r"\tfrac12\big[\ln\tfrac{\sigma_2^2}{\sigma_1^2} + \tfrac{\sigma_1^2 + (\mu_1-\mu_2)^2}{\sigma_2^2} - 1\big]",
    "quadrature",
    1e-9,
)
def kl_of_gaussians(formula: Formula = gaussian_kl) -> float:
    """Against the integral of q log(q / p)."""
    errors = []
    for numbers in ((0.0, 1.0, 0.0, 1.0), (0.3, 0.5, -0.2, 0.8), (-1.0, 2.0, 0.5, 0.4), (0.1, 0.02, 0.12, 0.03)):
        mean1, var1, mean2, var2 = torch.tensor(numbers, dtype=torch.float64)
        x = mean1 + var1.sqrt() * torch.linspace(-12, 12, 2001, dtype=torch.float64)
        log_q, log_p = log_normal(x, mean1, var1), log_normal(x, mean2, var2)
        integral = torch.trapezoid(log_q.exp() * (log_q - log_p), x)
        errors.append(abs(float(formula(mean1, var1, mean2, var2) - integral)))
    return largest(errors)


@equation(
    "4.2",
    r"L_{t-1} = \mathbb{E}_q\Big[\tfrac{1}{2\sigma_t^2}\lVert\tilde\mu_t - \mu_\theta\rVert^2\Big] + C_t",
    "quadrature",
    1e-8,
)
def only_means_matter(formula: Formula = squared_distance) -> float:
    """Against the integral of q log(q / p) over the plane, for both fixed variances."""
    s = NoiseSchedule.linear(50).to(torch.float64)
    mean, model_mean = torch.tensor([[0.3, -0.4], [0.32, -0.43]], dtype=torch.float64)
    errors = []
    for t in (1, 10, 49):
        for sigma2 in (float(s.beta[t]), float(s.beta_tilde[t])):
            var = float(s.beta_tilde[t])
            axis = math.sqrt(var) * torch.linspace(-9, 9, 301, dtype=torch.float64)
            x = torch.cartesian_prod(mean[0] + axis, mean[1] + axis)
            log_q = log_normal(x, mean, var).sum(-1)
            log_p = log_normal(x, model_mean, sigma2).sum(-1)
            integral = (log_q.exp() * (log_q - log_p)).sum() * (axis[1] - axis[0]) ** 2
            errors.append(abs(float(formula(mean, var, model_mean, sigma2) - integral)))
    return largest(errors)


# Three things to guess


def x0_from_eps(xt: Any, eps: Any, alpha_bar: Any) -> Any:
    """Ho et al. 2020, Eq. 4 solved for x0."""
    return (xt - root(1 - alpha_bar) * eps) / root(alpha_bar)


def eps_from_x0(xt: Any, x0: Any, alpha_bar: Any) -> Any:
    """Ho et al. 2020, Eq. 4 solved for eps."""
    return (xt - root(alpha_bar) * x0) / root(1 - alpha_bar)


def mean_from_x0(xt: Any, x0: Any, alpha: Any, alpha_bar: Any) -> Any:
    """The posterior's mean (Ho et al. 2020, Eq. 7)."""
    alpha_bar_prev = alpha_bar / alpha
    x0_part = root(alpha_bar_prev) * (1 - alpha) * x0
    xt_part = root(alpha) * (1 - alpha_bar_prev) * xt
    return (x0_part + xt_part) / (1 - alpha_bar)


def mean_from_eps(xt: Any, eps: Any, alpha: Any, alpha_bar: Any) -> Any:
    """The posterior's mean, written with the noise (Ho et al. 2020, Eqs. 10 and 11)."""
    return (xt - (1 - alpha) / root(1 - alpha_bar) * eps) / root(alpha)


def eps_from_mean(xt: Any, mean: Any, alpha: Any, alpha_bar: Any) -> Any:
    """``mean_from_eps`` solved for eps."""
    return root(1 - alpha_bar) / (1 - alpha) * (xt - root(alpha) * mean)


def symbols() -> tuple[Any, ...]:
    """alpha = a, alpha_bar = a p, x0, eps and the x_t that they make."""
    import sympy

    a, p = sympy.symbols("a p", positive=True)
    x0, eps = sympy.symbols("x0 eps", real=True)
    return a, a * p, x0, eps, sympy.sqrt(a * p) * x0 + sympy.sqrt(1 - a * p) * eps


@equation(
    "4.3",
    r"x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\,\epsilon}{\sqrt{\bar\alpha_t}}, \quad "
    r"\epsilon = \frac{x_t - \sqrt{\bar\alpha_t}\,x_0}{\sqrt{1-\bar\alpha_t}}",
    "algebra (sympy)",
    0.0,
)
def data_and_noise(x0_formula: Formula = x0_from_eps, eps_formula: Formula = eps_from_x0) -> float:
    """Both must undo x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps."""
    _, alpha_bar, x0, eps, xt = symbols()
    return largest((symbolic(x0_formula(xt, eps, alpha_bar) - x0), symbolic(eps_formula(xt, x0, alpha_bar) - eps)))


@equation(
    "4.4",
    r"\tilde\mu_t = \frac{1}{\sqrt{\alpha_t}}\Big(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon\Big)",
    "algebra (sympy)",
    0.0,
)
def mean_by_noise(formula: Formula = mean_from_eps) -> float:
    """Against the posterior's mean of notebook 02 for the x0 behind the same x_t."""
    alpha, alpha_bar, x0, eps, xt = symbols()
    return symbolic(formula(xt, eps, alpha, alpha_bar) - mean_from_x0(xt, x0, alpha, alpha_bar))


@equation(
    "4.5",
    r"\epsilon = \frac{\sqrt{1-\bar\alpha_t}}{\beta_t}\big(x_t - \sqrt{\alpha_t}\,\tilde\mu_t\big)",
    "algebra (sympy)",
    0.0,
)
def noise_by_mean(formula: Formula = eps_from_mean) -> float:
    """The posterior's mean in, the noise must come out."""
    alpha, alpha_bar, x0, eps, xt = symbols()
    return symbolic(formula(xt, mean_from_x0(xt, x0, alpha, alpha_bar), alpha, alpha_bar) - eps)
