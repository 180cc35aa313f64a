"""One step back where x_0 is known, from Bayes' rule: (2.7) to (2.12)."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.lesson.ch02_closed_form_posterior.proofs.forward import (
    FINE,
    STEPS,
    axis,
    cumulative,
    diffusion_of,
    equation,
    moments,
    one_time,
    symbols,
)
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.proof import largest, symbolic


@equation(
    "2.7",
    r"q(x_{t-1} \mid x_t, x_0) = \frac{q(x_t \mid x_{t-1})\, q(x_{t-1} \mid x_0)}{q(x_t \mid x_0)}",
    "the joint Gaussian of both states, conditioned by quadrature",
    1e-9,
)
def bayes(rule: Callable = lambda likelihood, prior, evidence: likelihood * prior / evidence) -> float:
    """The two-dimensional density of (x_{t-1}, x_t) given x0, cut along x_t and normalised."""
    x, errors = axis(-6, 6, 4801), []
    for x0, xt, t in ((0.5, -1.0, 5), (1.0, 1.5, 12), (-2.0, 0.2, 19)):
        beta, alpha, alpha_bar, alpha_bar_prev = cumulative(STEPS, t)
        mean = torch.tensor([math.sqrt(alpha_bar_prev) * x0, math.sqrt(alpha_bar) * x0], dtype=torch.float64)
        shared = math.sqrt(alpha) * (1 - alpha_bar_prev)  # Cov(x_{t-1}, x_t) given x0
        covariance = torch.tensor([[1 - alpha_bar_prev, shared], [shared, 1 - alpha_bar]], dtype=torch.float64)
        both = torch.stack([x, torch.full_like(x, xt)], dim=1)
        cut = torch.distributions.MultivariateNormal(mean, covariance).log_prob(both).exp()
        likelihood = log_normal(xt, math.sqrt(alpha) * x, beta).exp()
        prior, evidence = log_normal(x, mean[0], 1 - alpha_bar_prev).exp(), log_normal(xt, mean[1], 1 - alpha_bar).exp()
        errors.append((cut / torch.trapezoid(cut, x) - rule(likelihood, prior, evidence)).abs().max())
    return largest(errors)


@equation(
    "2.8",
    r"\mathcal{N}(x_t;\, \sqrt{\alpha_t}\,x_{t-1},\ \beta_t) \propto "
    r"\mathcal{N}(x_{t-1};\, x_t / \sqrt{\alpha_t},\ \beta_t / \alpha_t)",
    "quadrature",
    1e-9,
)
def likelihood_in_x_prev(
    formula: Callable = lambda xt, alpha, beta: (xt / math.sqrt(alpha), beta / alpha),
) -> float:
    """Mean and variance of the likelihood, seen as a function of x_{t-1}."""
    x, errors = axis(), []
    for xt, beta in ((0.7, 0.05), (-1.2, 0.3), (0.1, 0.5)):
        numbers = moments(x, log_normal(xt, math.sqrt(1 - beta) * x, beta).exp())
        errors += [a - b for a, b in zip(numbers, formula(xt, 1 - beta, beta), strict=True)]
    return largest(errors)


def precision_weighted(m1: Any, v1: Any, m2: Any, v2: Any) -> tuple[Any, Any]:
    """Mean and variance of the Gaussian that the product of two Gaussian densities is proportional to."""
    v = 1 / (1 / v1 + 1 / v2)
    return v * (m1 / v1 + m2 / v2), v


@equation(
    "2.9",
    r"\mathcal{N}(x; m_1, v_1)\,\mathcal{N}(x; m_2, v_2) \propto \mathcal{N}(x; m, v),\quad "
    r"\tfrac{1}{v} = \tfrac{1}{v_1} + \tfrac{1}{v_2},\quad m = v\left(\tfrac{m_1}{v_1} + \tfrac{m_2}{v_2}\right)",
    "algebra (sympy): nothing with x is left",
    1e-12,
)
def product_of_gaussians(formula: Callable = precision_weighted) -> float:
    """The two squares less the completed one: the coefficients of x^2 and x."""
    import sympy

    x, m1, v1, m2, v2 = symbols("x m1 v1 m2 v2")
    m, v = formula(m1, v1, m2, v2)
    left = sympy.expand((x - m1) ** 2 / v1 + (x - m2) ** 2 / v2 - (x - m) ** 2 / v)
    return symbolic(left.coeff(x, 2), left.coeff(x, 1))


def package_var(t: int, beta: Tensor) -> Tensor:
    """beta_tilde, from ``q_posterior``."""
    return diffusion_of(beta).q_posterior(torch.zeros(1, 1), torch.zeros(1, 1), one_time(t))[1]


def package_mean(x0: float, xt: float, t: int, beta: Tensor) -> Tensor:
    """mu_tilde, from ``q_posterior``."""
    both = torch.tensor([[x0], [xt]], dtype=torch.float64)
    return diffusion_of(beta).q_posterior(both[:1], both[1:], one_time(t))[0]


CASES = [(x0, xt, t, STEPS) for x0, xt in ((0.5, -1.0), (-2.0, 0.3)) for t in (1, 2, 6, 13, 19)]
CASES += [(0.9, 0.7, t, FINE) for t in (1, 10, 100, 999)]


def bayes_on_a_grid(x0: float, xt: float, t: int, beta: Tensor) -> tuple[float, float]:
    """Mean and variance of q(x_{t-1} | x_t, x_0) from likelihood times prior on a grid, for t >= 1."""
    now, alpha, _, alpha_bar_prev = cumulative(beta, t)
    x = axis()
    log_prior = log_normal(x, math.sqrt(alpha_bar_prev) * x0, 1 - alpha_bar_prev)
    log_product = log_prior + log_normal(xt, math.sqrt(alpha) * x, now)
    return moments(x, (log_product - log_product.max()).exp())


@equation(
    "2.10",
    r"\tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\,\beta_t",
    "Bayes on a grid; the package's `q_posterior`",
    1e-6,
)
def posterior_variance(var: Callable = package_var) -> float:
    """beta_tilde at many times; at the first step it is 0, because x_0 is given."""
    return largest([var(0, STEPS), *(var(t, beta) - bayes_on_a_grid(x0, xt, t, beta)[1] for x0, xt, t, beta in CASES)])


@equation(
    "2.11",
    r"\tilde\mu_t(x_t, x_0) = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1 - \bar\alpha_t}\,x_0 "
    r"+ \frac{\sqrt{\alpha_t}\,(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\,x_t",
    "Bayes on a grid; the package's `q_posterior`",
    1e-6,
)
def posterior_mean(mean: Callable = package_mean) -> float:
    """mu_tilde at many times; at the first step it is x_0, because x_0 is given."""
    errors = [mean(x0, xt, t, beta) - bayes_on_a_grid(x0, xt, t, beta)[0] for x0, xt, t, beta in CASES]
    return largest([mean(0.5, -1.0, 0, STEPS) - 0.5, *errors])


def posterior_coefficients(alpha: Any, alpha_bar_prev: Any) -> tuple[Any, Any, Any]:
    """The weights of x_0 and x_t in mu_tilde, and beta_tilde. Ho et al. 2020, Eqs. 6 and 7."""
    rest = 1 - alpha * alpha_bar_prev  # 1 - alpha_bar
    x0_coef = alpha_bar_prev**0.5 * (1 - alpha) / rest
    xt_coef = alpha**0.5 * (1 - alpha_bar_prev) / rest
    return x0_coef, xt_coef, (1 - alpha) * (1 - alpha_bar_prev) / rest


@equation(
    "2.12",
    r"a_t + b_t\sqrt{\bar\alpha_t} = \sqrt{\bar\alpha_{t-1}},\quad "
    r"b_t^2\,(1 - \bar\alpha_t) + \tilde\beta_t = 1 - \bar\alpha_{t-1}",
    "algebra (sympy)",
    1e-12,
)
def there_and_back(coefficients: Callable = posterior_coefficients) -> float:
    """A step forward and the step back leave q(x_{t-1} | x_0) as it was."""
    import sympy

    alpha, alpha_bar_prev = symbols("alpha alpha_bar_prev")
    a, b, var = (sympy.nsimplify(c) for c in coefficients(alpha, alpha_bar_prev))
    alpha_bar = alpha * alpha_bar_prev
    mean_error = a + b * sympy.sqrt(alpha_bar) - sympy.sqrt(alpha_bar_prev)
    return symbolic(mean_error, b**2 * (1 - alpha_bar) + var - (1 - alpha_bar_prev))
