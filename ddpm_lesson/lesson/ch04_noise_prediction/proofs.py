"""Notebook 04: the target of every step rewritten as the noise, the loss that this gives, and the bound put together.

Formulas that sympy checks are plain functions of numbers or symbols. Code counts t = 0 .. T-1.
"""

import math
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.bound import gaussian_kl, loss_weights
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.chain import ChainBound, GridChain, Reverse, log_normal, short_chain
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS, GaussianMixture
from ddpm_lesson.lesson.kit.proof import Formula, ProofBook, largest, root, symbolic
from ddpm_lesson.schedule import NoiseSchedule

BOOK = ProofBook(4)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger


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


# The loss in eps


def mean_gain(alpha: Any, alpha_bar: Any) -> Any:
    """What the square of an error in eps is multiplied by, to be that of an error in the mean."""
    return (1 - alpha) ** 2 / (alpha * (1 - alpha_bar))


@equation(
    "4.6",
    r"\lVert\tilde\mu_t - \mu_\theta\rVert^2 = "
    r"\frac{\beta_t^2}{\alpha_t(1-\bar\alpha_t)}\,\lVert\epsilon - \epsilon_\theta\rVert^2",
    "algebra (sympy)",
    0.0,
)
def error_of_mean(formula: Formula = mean_gain) -> float:
    """The mean of the true x0 against the mean of the x0 that another eps would mean."""
    import sympy

    alpha, alpha_bar, x0, eps, xt = symbols()
    guess = sympy.Symbol("g", real=True)  # eps_theta
    x0_hat = (xt - sympy.sqrt(1 - alpha_bar) * guess) / sympy.sqrt(alpha_bar)
    means = [mean_from_x0(xt, x, alpha, alpha_bar) for x in (x0, x0_hat)]
    return symbolic((means[0] - means[1]) ** 2 - formula(alpha, alpha_bar) * (eps - guess) ** 2)


@equation(
    "4.7",
    r"L_{t-1} - C_t = \mathbb{E}\Big[\frac{\beta_t^2}{2\sigma_t^2\alpha_t(1-\bar\alpha_t)}"
    r"\lVert\epsilon - \epsilon_\theta\rVert^2\Big]",
    "quadrature",
    1e-8,
)
def loss_in_noise(formula: Formula = loss_weights) -> float:
    """Against the integral of q log(q / p) for one x0, one eps and the wrong guess 0.8 eps + 0.1, at several t."""
    schedule, errors = NoiseSchedule.linear(50), []
    for sigma in ("beta", "posterior"):
        weights = formula(schedule, sigma)
        for t in (1, 10, 49):
            x0, eps = 0.4, -0.8
            guess = 0.8 * eps + 0.1
            least = step_kl(schedule, sigma, t, x0, eps, eps)  # C_t: the guess is right
            extra = step_kl(schedule, sigma, t, x0, eps, guess) - least
            errors.append(abs(float(weights[t] * (eps - guess) ** 2) - extra))
    return largest(errors)


def step_kl(schedule: NoiseSchedule, sigma: str, t: int, x0: float, eps: float, guess: float) -> float:
    """KL(q(x_{t-1} | x_t, x0) || p_theta(x_{t-1} | x_t)) by quadrature; q by Bayes, p with the noise ``guess``."""
    s = schedule.to(torch.float64)
    xt = s.alpha_bar[t].sqrt() * x0 + s.one_minus_alpha_bar[t].sqrt() * eps
    sigma2 = s.beta[t] if sigma == "beta" else s.beta_tilde[t]
    x0_hat = (xt - s.one_minus_alpha_bar[t].sqrt() * guess) / s.alpha_bar[t].sqrt()
    mean = mean_from_x0(xt, x0, s.alpha[t], s.alpha_bar[t])
    x = mean + s.beta_tilde[t].sqrt() * torch.linspace(-12, 12, 2001, dtype=torch.float64)
    log_q = log_normal(x, s.alpha_bar_prev[t].sqrt() * x0, s.one_minus_alpha_bar_prev[t])
    log_q = log_q + log_normal(xt, s.alpha[t].sqrt() * x, s.beta[t])
    dx = x[1] - x[0]
    log_q = log_q - log_q.logsumexp(0) - dx.log()
    log_p = log_normal(x, mean_from_x0(xt, x0_hat, s.alpha[t], s.alpha_bar[t]), sigma2)
    return float((log_q.exp() * (log_q - log_p)).sum() * dx)


# The weight dropped


@equation(
    "4.8",
    r"L_\mathrm{simple} = \frac1T\sum_{t=1}^{T}\mathbb{E}\,\lVert\epsilon - \epsilon_\theta(x_t, t)\rVert^2 = "
    r"\mathbb{E}_{t\sim\mathrm{U}}\,\lVert\epsilon - \epsilon_\theta(x_t, t)\rVert^2",
    "Monte Carlo, 5 standard errors",
    7.2e-3,
)
def simple_loss(formula: Formula = DenoiseDiffusion.loss) -> float:
    """One random t an image against the sum over all t, for eps_theta = 0.6 x_t where moments give it exactly.

    400,000 draws of a squared error with standard deviation 0.91: a standard error of 0.00144. The schedule is short,
    so that no single step can be left out unnoticed.
    """
    s = NoiseSchedule.linear(5, 1e-2, 0.5)
    diffusion = DenoiseDiffusion(lambda xt, t: 0.6 * xt, schedule=s)
    power = TWO_BUMPS.var + TWO_BUMPS.mean**2
    s = s.to(torch.float64)
    exact = 1 - 1.2 * s.one_minus_alpha_bar.sqrt() + 0.36 * (s.alpha_bar * power + s.one_minus_alpha_bar)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x0 = TWO_BUMPS.sample(400_000).float()[:, None]
        return abs(float(formula(diffusion, x0)) - float(exact.mean()))


def signal_to_noise(alpha_bar: Any) -> Any:
    """alpha_bar / (1 - alpha_bar), for data of unit power."""
    return alpha_bar / (1 - alpha_bar)


@equation(
    "4.9",
    r"\lVert\epsilon - \epsilon_\theta\rVert^2 = \mathrm{SNR}(t)\,\lVert x_0 - \hat x_0\rVert^2",
    "algebra (sympy)",
    0.0,
)
def error_of_data(formula: Formula = signal_to_noise) -> float:
    """The errors of an eps and of the x0 that it means, by the forward formula."""
    import sympy

    _, alpha_bar, x0, eps, xt = symbols()
    guess = sympy.Symbol("g", real=True)  # x0_hat
    eps_theta = (xt - sympy.sqrt(alpha_bar) * guess) / sympy.sqrt(1 - alpha_bar)
    return symbolic((eps - eps_theta) ** 2 - formula(alpha_bar) * (x0 - guess) ** 2)


def half_snr_drop(alpha: Any, alpha_bar: Any) -> Any:
    """The bound's weight of a squared error of x0 for sigma^2 = beta_tilde (Kingma et al. 2021, Eq. 13)."""
    return (signal_to_noise(alpha_bar / alpha) - signal_to_noise(alpha_bar)) / 2


@equation(
    "4.10",
    r"\frac{\beta_t^2}{2\tilde\beta_t\alpha_t(1-\bar\alpha_t)}\,\mathrm{SNR}(t) = "
    r"\tfrac12\big(\mathrm{SNR}(t-1) - \mathrm{SNR}(t)\big)",
    "algebra (sympy)",
    0.0,
)
def weight_of_data(formula: Formula = half_snr_drop) -> float:
    """Against the weight of the noise times the signal-to-noise ratio."""
    alpha, alpha_bar, *_ = symbols()
    beta_tilde = (1 - alpha) * (1 - alpha_bar / alpha) / (1 - alpha_bar)
    weight = (1 - alpha) ** 2 / (2 * beta_tilde * alpha * (1 - alpha_bar))
    return symbolic(weight * alpha_bar / (1 - alpha_bar) - formula(alpha, alpha_bar))


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
