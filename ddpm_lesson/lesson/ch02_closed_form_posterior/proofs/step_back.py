"""One step back where only the distribution of x_0 is known, and its best Gaussian: (2.13) to (2.17)."""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_lesson.bound import gaussian_kl
from ddpm_lesson.lesson.ch02_closed_form_posterior.proofs.forward import (
    DATA,
    SHIFTED,
    STEPS,
    UNIT,
    axis,
    cumulative,
    equation,
    moments,
)
from ddpm_lesson.lesson.ch02_closed_form_posterior.proofs.posterior import posterior_coefficients
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.lesson.kit.proof import largest


def gaussian_step_back(beta: float, alpha_bar_prev: float, s2: float) -> float:
    """Var[x_{t-1} | x_t] for data N(0, s2)."""
    var_prev = alpha_bar_prev * s2 + 1 - alpha_bar_prev
    return beta * var_prev / ((1 - beta) * var_prev + beta)


@equation(
    "2.13",
    r"x_0 \sim \mathcal{N}(0, s^2):\quad \mathrm{Var}[x_{t-1} \mid x_t] = \beta_t\,\frac{V_{t-1}}{V_t},\quad "
    r"V_t = \bar\alpha_t s^2 + 1 - \bar\alpha_t",
    "Bayes on a grid, with the prior as an integral over the data",
    1e-8,
)
def variance_for_gaussian_data(var: Callable = gaussian_step_back) -> float:
    """The step back for Gaussian data, and its two ends: beta_tilde for a point, beta for unit variance."""
    x, z, errors = axis(n=1801), axis(n=361), []  # x_0 = s z
    for beta, alpha_bar_prev, s2 in ((0.3, 0.5, 0.0), (0.3, 0.5, 1.0), (0.1, 0.9, 0.2), (0.5, 0.6, 4.0)):
        centres = math.sqrt(alpha_bar_prev * s2) * z
        log_joint = log_normal(z, 0.0, 1.0) + log_normal(x[:, None], centres, 1 - alpha_bar_prev)
        step = torch.trapezoid(log_joint.exp(), z) * log_normal(0.8, math.sqrt(1 - beta) * x, beta).exp()
        errors.append(moments(x, step)[1] - var(beta, alpha_bar_prev, s2))
    beta_tilde = float(posterior_coefficients(1 - 0.3, 0.5)[2])
    return largest([*errors, var(0.3, 0.5, 0.0) - beta_tilde, var(0.3, 0.5, 1.0) - 0.3])


def step_entropy(prev: GaussianMixture, beta: float) -> float:
    """Entropy of x_{t-1} given x_t in nats, from their joint density on a grid."""
    x = axis(-8, 8, 1201)
    log_joint = prev.log_prob(x) + log_normal(x[:, None], math.sqrt(1 - beta) * x, beta)  # rows x_t, columns x_{t-1}
    log_after = torch.trapezoid(log_joint.exp(), x).log()[:, None]
    return -float(torch.trapezoid(torch.trapezoid(log_joint.exp() * (log_joint - log_after), x), x))


def gaussian_entropies(beta: float, beta_tilde: float) -> tuple[float, float]:
    """Entropies in nats of Gaussians with the two variances, the smaller first."""
    return 0.5 * math.log(2 * math.pi * math.e * beta_tilde), 0.5 * math.log(2 * math.pi * math.e * beta)


@equation(
    "2.14",
    r"\tfrac{1}{2}\log(2\pi e\,\tilde\beta_t) \le H(x_{t-1} \mid x_t) \le \tfrac{1}{2}\log(2\pi e\,\beta_t)"
    r"\quad\text{if } \mathrm{Var}[x_0] \le 1",
    "quadrature: two-peaked data strictly between, both ends reached",
    1e-8,
)
def entropy_bounds(bounds: Callable = gaussian_entropies) -> float:
    """Whether two-peaked data lie strictly between, and how far a point and a Gaussian are from the ends."""
    errors = []
    for beta, alpha_bar_prev in ((0.1, 0.9), (0.4, 0.5), (0.2, 0.1)):
        low, high = bounds(beta, float(posterior_coefficients(1 - beta, alpha_bar_prev)[2]))
        between = [step_entropy(data.noised(alpha_bar_prev), beta) for data in (DATA, UNIT, SHIFTED)]
        point = GaussianMixture([1.0], [math.sqrt(alpha_bar_prev)], [math.sqrt(1 - alpha_bar_prev)])  # x_0 = 1
        noise = GaussianMixture([1.0], [0.0], [1.0])
        errors += [0.0 if low < entropy < high else math.inf for entropy in between]
        errors += [step_entropy(point, beta) - low, step_entropy(noise, beta) - high]
    return largest(errors)


def averaged_posterior(x0_mean: float, x0_var: float, xt: float, t: int, beta: Tensor) -> tuple[float, float]:
    """Mean and variance of q(x_{t-1} | x_t) from those of q(x_0 | x_t)."""
    _, alpha, _, alpha_bar_prev = cumulative(beta, t)
    x0_coef, xt_coef, var = posterior_coefficients(alpha, alpha_bar_prev)
    return x0_coef * x0_mean + xt_coef * xt, var + x0_coef**2 * x0_var


@equation(
    "2.15",
    r"\mathbb{E}[x_{t-1} \mid x_t] = \tilde\mu_t(x_t,\, \mathbb{E}[x_0 \mid x_t]),\quad "
    r"\mathrm{Var}[x_{t-1} \mid x_t] = \tilde\beta_t + a_t^2\,\mathrm{Var}[x_0 \mid x_t]",
    "quadrature with two-peaked data",
    1e-8,
)
def moments_of_the_step_back(formula: Callable = averaged_posterior) -> float:
    """The density of x_{t-1} given x_t, by Bayes with the data's own density."""
    x, errors = axis(), []
    for xt, t in ((0.3, 1), (-0.5, 6), (0.1, 12), (2.0, 19)):
        beta, alpha, alpha_bar, alpha_bar_prev = cumulative(STEPS, t)
        x0_mean, x0_var = moments(x, DATA.prob(x) * log_normal(xt, math.sqrt(alpha_bar) * x, 1 - alpha_bar).exp())
        step = DATA.noised(alpha_bar_prev).prob(x) * log_normal(xt, math.sqrt(alpha) * x, beta).exp()
        claimed = formula(x0_mean, x0_var, xt, t, STEPS)
        errors += [a - b for a, b in zip(moments(x, step), claimed, strict=True)]
    return largest(errors)


@equation(
    "2.16",
    r"\arg\min_{m, v} \mathrm{KL}(q \,\Vert\, \mathcal{N}(m, v)) = (\mathbb{E}[x],\ \mathrm{Var}[x])",
    "the KL divergence by quadrature: its gradient, and its value beside the minimum",
    1e-8,
)
def best_gaussian(best: Callable = lambda mean, var: (mean, var)) -> float:
    """At the best Gaussian the divergence changes in no direction, and its neighbours are worse."""
    errors = []
    for q in (DATA, UNIT, DATA.step_back(0.2, 0.6, 0.8)):
        m, v = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in best(q.mean, q.var))
        least = kl_to_gaussian(q, m, v)
        least.backward()
        beside = ((m - 0.05, v), (m + 0.05, v), (m, 0.9 * v), (m, 1.1 * v))
        errors += [m.grad, v.grad, *((least - kl_to_gaussian(q, *fit)).detach().clamp(min=0) for fit in beside)]
    return largest(errors)


def kl_to_gaussian(q: GaussianMixture, mean: Tensor, var: Tensor) -> Tensor:
    """KL(q || N(mean, var)) in nats, by quadrature."""
    x = axis()
    log_fit = -0.5 * ((x - mean) ** 2 / var + var.log() + math.log(2 * math.pi))
    return torch.trapezoid(q.prob(x) * (q.log_prob(x) - log_fit), x)


def entropy(q: GaussianMixture) -> float:
    """-E[log q(x)] in nats, by quadrature."""
    x = axis(-8, 8, 1201)
    return -float(torch.trapezoid(q.prob(x) * q.log_prob(x), x))


def average_gap(data: GaussianMixture, beta: float, alpha_bar_prev: float) -> float:
    """KL(q(x_{t-1} | x_t) || its best Gaussian) in nats, averaged over x_t.

    By (2.16) it is what the entropies of the best Gaussians, one for each x_t, exceed H(x_{t-1} | x_t) by.
    """
    prev, after = data.noised(alpha_bar_prev), data.noised((1 - beta) * alpha_bar_prev)
    xt, gain = axis(-8, 8, 1201), math.sqrt(1 - beta) * (prev.stds / after.stds) ** 2
    weights = after.responsibilities(xt)  # (x_t, K)
    means = prev.means + gain * (xt[:, None] - after.means)
    mean = (weights * means).sum(1, keepdim=True)
    var = (weights * (beta * (prev.stds / after.stds) ** 2 + (means - mean) ** 2)).sum(1)
    fits = torch.trapezoid(after.prob(xt) * 0.5 * (2 * math.pi * math.e * var).log(), xt)
    forward = 0.5 * math.log(2 * math.pi * math.e * beta)  # H(x_t | x_{t-1})
    return float(fits) - (entropy(prev) + forward - entropy(after))


def teachers_average(cross_entropy: float, beta_tilde: float, beta: float) -> float:
    """The average KL divergence from the teachers to the model: what the model's logarithm costs, and a constant."""
    return cross_entropy - 0.5 * math.log(2 * math.pi * math.e * beta_tilde)


@equation(
    "2.17",
    r"\mathbb{E}_{q(x_0 \mid x_t)}[\mathrm{KL}(q(x_{t-1} \mid x_t, x_0) \,\Vert\, p_\theta)] = "
    r"-\tfrac{1}{2}\log(2\pi e\,\tilde\beta_t) - \mathbb{E}_{q(x_{t-1} \mid x_t)}[\log p_\theta]",
    "quadrature over the data against quadrature over the step back, for several models",
    1e-8,
)
def teacher_and_pupil(formula: Callable = teachers_average) -> float:
    """Gaussian KL divergences averaged over x_0, and the exact step back of two-peaked data without any x_0."""
    x, errors = axis(), []
    for (xt, t), (mean, var) in itertools.product(((0.3, 1), (-0.5, 6), (2.0, 19)), ((0.0, 0.3), (0.7, 1.0))):
        beta, alpha, alpha_bar, alpha_bar_prev = cumulative(STEPS, t)
        x0_coef, xt_coef, beta_tilde = posterior_coefficients(alpha, alpha_bar_prev)
        origin = DATA.prob(x) * log_normal(xt, math.sqrt(alpha_bar) * x, 1 - alpha_bar).exp()  # of x_0 = x
        width, m, v = torch.tensor([beta_tilde, mean, var], dtype=torch.float64)
        kl = gaussian_kl(x0_coef * x + xt_coef * xt, width, m, v)
        teachers = torch.trapezoid(origin * kl, x) / torch.trapezoid(origin, x)
        step = DATA.step_back(xt, beta, alpha_bar_prev).prob(x)
        cross_entropy = -float(torch.trapezoid(step * log_normal(x, mean, var), x))
        errors.append(teachers - formula(cross_entropy, beta_tilde, beta))
    return largest(errors)
