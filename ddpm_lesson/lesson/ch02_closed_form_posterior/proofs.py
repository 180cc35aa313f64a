"""Proofs of notebook 02: from one step of noise to the posterior that undoes it.

A time t is code's: t = 0 .. T-1 is the paper's step t+1. Everything is in float64 and nats.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.bound import gaussian_kl
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
