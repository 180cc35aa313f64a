"""Notebook 11: the way back, with all steps or few, with noise or without.

Formulas that sympy checks are plain functions of numbers or symbols. ``prev`` is the earlier of two visited times.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.proof import Formula, ProofBook, largest, root, symbolic
from ddpm_lesson.sample import ddim_step, slerp, spaced_times
from ddpm_lesson.schedule import NoiseSchedule

BOOK = ProofBook(11)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger


# The mean, and what clipping needs


def mean_from_eps(xt: Any, eps: Any, alpha: Any, alpha_bar: Any) -> Any:
    """Ho et al. 2020, Algorithm 2, line 4."""
    return (xt - (1 - alpha) / root(1 - alpha_bar) * eps) / root(alpha)


@equation(
    "11.1",
    r"\frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t\,\hat x_0 + \sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})\,x_t}{1-\bar\alpha_t} "
    r"= \frac{1}{\sqrt{\alpha_t}}\Big(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta\Big)",
    "every t, in float64",
    1e-12,
)
def two_forms_of_the_mean(formula: Formula = mean_from_eps) -> float:
    """The mean that the package computes through x0_hat, against the paper's Algorithm 2."""
    diffusion = DenoiseDiffusion(nn.Identity(), schedule=NoiseSchedule.linear().to(torch.float64), clip_x0=False)
    xt, eps = torch.randn(2, 1000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.arange(1000)
    alpha, alpha_bar = diffusion.alpha[:, None], diffusion.alpha_bar[:, None]
    mean, _ = diffusion.q_posterior(diffusion.predict_x0(xt, t, eps), xt, t)
    return largest([mean - formula(xt, eps, alpha, alpha_bar)])


# The last step


def last_step(x0: Tensor, xt: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the step to the data, as the package computes them at index 0 of a schedule."""
    schedule = NoiseSchedule.from_betas(beta.repeat(2))
    posterior = DenoiseDiffusion(nn.Identity(), schedule=schedule.to(torch.float64)).q_posterior
    mean, var = posterior(x0[None], xt[None], torch.tensor([0]))
    return mean[0], var[0]


@equation("11.2", r"\tilde\mu_1 = x_0, \quad \tilde\beta_1 = 0", "the data, and nothing; and the limit of Bayes", 1e-9)
def nothing_left_to_draw(formula: Formula = last_step) -> float:
    """The package at index 0 against x_0 and 0, and these against Bayes where x_0 is known up to a variance of 1e-15.

    In the units of x; the limit is reached to within that variance over beta.
    """
    x0, xt = torch.tensor([-0.8, 0.1, 1.0]).double(), torch.tensor([-0.5, 0.4, 0.9]).double()
    errors = []
    for beta in torch.tensor([1e-4, 0.1], dtype=torch.float64):
        tiny = 1e-15
        precision = 1 / tiny + (1 - beta) / beta  # of two Gaussians multiplied: x0' about x0, and x1 about x0'
        mean = (x0 / tiny + (1 - beta).sqrt() * xt / beta) / precision
        step_mean, step_var = formula(x0, xt, beta)
        errors += [step_mean - x0, step_var, mean - x0, 1 / precision]
    return largest(errors)


# Fewer steps


def larger_beta(alpha_bar: Any, alpha_bar_prev: Any) -> Any:
    """Variance of the noise between two visited times (Nichol and Dhariwal 2021, section 4)."""
    return 1 - alpha_bar / alpha_bar_prev


@equation(
    "11.3",
    r"\beta'_i = 1 - \frac{\bar\alpha_{\tau_i}}{\bar\alpha_{\tau_{i-1}}}, \quad "
    r"q(x_{\tau_i} \mid x_{\tau_{i-1}}) = \mathcal{N}\big(\sqrt{1-\beta'_i}\,x_{\tau_{i-1}},\ \beta'_i I\big)",
    "small steps, one by one",
    1e-12,
)
def few_large_steps(formula: Formula = larger_beta) -> float:
    """Follow factor and variance through every small step between two visited times."""
    schedule = NoiseSchedule.linear().to(torch.float64)
    errors, times = [], spaced_times(1000, 7)[::-1]
    for before, after in zip([-1, *times[:-1]], times, strict=True):
        factor, var = 1.0, 0.0
        for beta in schedule.beta[before + 1 : after + 1].tolist():
            factor, var = (1 - beta) ** 0.5 * factor, (1 - beta) * var + beta
        found = float(formula(schedule.alpha_bar[after], schedule.alpha_bar[before] if before >= 0 else 1.0))
        errors += [found - var, (1 - found) - factor**2]
    return largest(errors)


def exact_variance(std: Tensor, alpha_bar: Tensor, alpha_bar_prev: Tensor) -> Tensor:
    """Variance of q(x_prev | x_t) for data N(0, std^2)."""
    return larger_beta(alpha_bar, alpha_bar_prev) * spread(std, alpha_bar_prev) / spread(std, alpha_bar)


def spread(std: Tensor, alpha_bar: Tensor) -> Tensor:
    """Var[x_t] for data N(0, std^2)."""
    return alpha_bar * std**2 + 1 - alpha_bar


@equation(
    "11.4",
    r"\mathrm{Var}[x_\mathrm{prev} \mid x_t] = "
    r"\frac{1-\bar\alpha_\mathrm{prev} + \bar\alpha_\mathrm{prev}\,s^2}{1-\bar\alpha_t + \bar\alpha_t\,s^2}\,\beta'",
    "Bayes on a grid",
    1e-9,
)
def variance_of_the_step_back(formula: Formula = exact_variance) -> float:
    """Prior times likelihood on a grid of x_prev, for thin, wide and very wide data."""
    errors = []
    for std in (0.01, 0.3, 1.0, 1.7):
        for a, a_prev in ((0.5, 0.9), (0.89, 0.99), (0.01, 0.2)):
            var_prev, beta = a_prev * std**2 + 1 - a_prev, 1 - a / a_prev
            x = var_prev**0.5 * torch.linspace(-12, 12, 4001, dtype=torch.float64)
            log_p = log_normal(x, torch.zeros(1), var_prev) + log_normal((a / a_prev) ** 0.5 * x, 0.3 * var_prev, beta)
            p = log_p.softmax(0)
            var = (p * x**2).sum() - (p * x).sum() ** 2
            errors.append(formula(*torch.tensor([std, a, a_prev], dtype=torch.float64)) - var)
    return largest(errors)


def excess(alpha_bar: Any, alpha_bar_prev: Any) -> Any:
    """How much more beta is than the posterior's variance."""
    return alpha_bar_prev * larger_beta(alpha_bar, alpha_bar_prev) ** 2 / (1 - alpha_bar)


@equation(
    "11.5",
    r"\beta' - \tilde\beta' = \frac{\bar\alpha_\mathrm{prev}\,\beta'^2}{1-\bar\alpha_t}",
    "algebra (sympy)",
    0.0,
)
def too_much_noise(formula: Formula = excess) -> float:
    """Against the difference of the two variances."""
    a, p = shorter_chain()
    beta = 1 - a / p
    return symbolic(formula(a, p) - (beta - beta * (1 - p) / (1 - a)))


def shorter_chain() -> tuple[Any, Any]:
    """Symbols for alpha_bar and alpha_bar_prev, with 0 < alpha_bar < alpha_bar_prev < 1."""
    import sympy

    u, v = sympy.symbols("u v", positive=True)
    prev = 1 / (1 + u)
    return prev / (1 + v), prev


# DDIM


def any_step(x0: Any, eps: Any, z: Any, alpha_bar_prev: Any, sigma2: Any) -> Any:
    """x_prev for data x0, the noise eps that is in x_t, and fresh noise z (Song et al. 2021, Eq. 7)."""
    return root(alpha_bar_prev) * x0 + root(1 - alpha_bar_prev - sigma2) * eps + root(sigma2) * z


@equation(
    "11.6",
    r"x_\mathrm{prev} = \sqrt{\bar\alpha_\mathrm{prev}}\,x_0 + \sqrt{1-\bar\alpha_\mathrm{prev}-\sigma^2}\,\epsilon "
    r"+ \sigma z \ \Rightarrow\ q(x_\mathrm{prev} \mid x_0) = "
    r"\mathcal{N}\big(\sqrt{\bar\alpha_\mathrm{prev}}\,x_0, (1-\bar\alpha_\mathrm{prev}) I\big)",
    "moments of independent Gaussians (sympy)",
    0.0,
)
def same_marginals(formula: Formula = any_step) -> float:
    """A sum of independent Gaussians is Gaussian; its mean and variance are read off the coefficients."""
    import sympy

    x0, eps, z = sympy.symbols("x0 eps z", real=True)
    p, share = sympy.symbols("p k", positive=True)
    p, sigma2 = p / (1 + p), share / (1 + share) / (1 + p)  # 0 < alpha_bar_prev < 1, 0 < sigma2 < 1 - alpha_bar_prev
    x_prev = sympy.expand(formula(x0, eps, z, p, sigma2))
    mean, var = x_prev.coeff(x0, 1), x_prev.coeff(eps, 1) ** 2 + x_prev.coeff(z, 1) ** 2
    return symbolic(mean - sympy.sqrt(p), var - (1 - p))


def full_noise(x0: Tensor, eps: Tensor, alpha_bar: float, alpha_bar_prev: float) -> Tensor:
    """Mean of the package's DDIM step with eta = 1: half the difference of two steps with the same fresh noise."""
    generators = (torch.Generator().manual_seed(0) for _ in range(2))
    plus, minus = (
        ddim_step(sign * x0, sign * eps, alpha_bar, alpha_bar_prev, 1.0, g)
        for sign, g in zip((1, -1), generators, strict=True)
    )
    return (plus - minus) / 2  # the same z in both: it cancels


@equation(
    "11.7",
    r"\eta = 1:\quad \sqrt{\bar\alpha_\mathrm{prev}}\,x_0 + \sqrt{1-\bar\alpha_\mathrm{prev}-\tilde\beta'}\,\epsilon "
    r"= \tilde\mu'(x_t, x_0)",
    "the posterior of the spaced chain, in float64",
    1e-9,
)
def full_noise_is_ddpm(formula: Formula = full_noise) -> float:
    """Against ``q_posterior`` on the chain that visits ten times."""
    schedule = NoiseSchedule.linear().to(torch.float64).spaced(spaced_times(1000, 10))
    chain = DenoiseDiffusion(nn.Identity(), schedule=schedule)
    x0, eps = torch.randn(2, 1, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    errors = []
    for i in range(1, 10):
        t = torch.tensor([i])
        mean, _ = chain.q_posterior(x0, chain.q_sample(x0, t, eps), t)
        errors.append(formula(x0, eps, float(schedule.alpha_bar[i]), float(schedule.alpha_bar[i - 1])) - mean)
    return largest(errors)


def euler(xt: Any, eps: Any, alpha_bar: Any, alpha_bar_prev: Any) -> Any:
    """x_prev by one Euler step of d y / d r = eps, with y = x / sqrt(alpha_bar), r = sqrt(1 / alpha_bar - 1)."""
    r, r_prev = root(1 / alpha_bar - 1), root(1 / alpha_bar_prev - 1)
    return root(alpha_bar_prev) * (xt / root(alpha_bar) + (r_prev - r) * eps)


@equation(
    "11.8",
    r"y_\mathrm{prev} = y_t + (r_\mathrm{prev} - r_t)\,\epsilon_\theta, \quad y = \frac{x}{\sqrt{\bar\alpha}}, \quad "
    r"r = \sqrt{\frac{1-\bar\alpha}{\bar\alpha}}",
    "the package's step, in float64",
    1e-12,
)
def ddim_is_euler(formula: Formula = euler) -> float:
    """Against ``ddim_step`` with eta = 0."""
    xt, eps = torch.randn(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    errors = []
    for a, a_prev in torch.tensor([[0.0001, 0.01], [0.3, 0.5], [0.5, 0.99], [0.99, 0.9999]], dtype=torch.float64):
        x0_hat = (xt - (1 - a).sqrt() * eps) / a.sqrt()
        errors.append(formula(xt, eps, a, a_prev) - ddim_step(x0_hat, eps, float(a), float(a_prev)))
    return largest(errors)


# Between two noises


def length_of_the_mean(weight: float) -> float:
    """Root mean square of (1 - weight) a + weight b for independent a and b of variance 1."""
    return ((1 - weight) ** 2 + weight**2) ** 0.5


def length_on_the_arc(weight: float) -> float:
    """The same on the arc."""
    return 1.0


@equation(
    "11.9",
    r"\mathrm{rms}\big((1-\lambda)\,a + \lambda\,b\big) \to \sqrt{(1-\lambda)^2 + \lambda^2}, \quad "
    r"\mathrm{rms}\big(\mathrm{slerp}(a, b; \lambda)\big) \to 1 \quad (n \to \infty)",
    "Monte Carlo, 4 standard errors",
    4e-3,
)
def lengths_between(linear: Formula = length_of_the_mean, arc: Formula = length_on_the_arc) -> float:
    """Two rows of half a million draws; the root mean square of a row has a standard error of 1e-3."""
    a, b = torch.randn(2, 1, 500_000, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    errors = []
    for weight in (0.0, 0.2, 0.5, 0.9):
        errors.append(float(torch.lerp(a, b, weight).square().mean().sqrt()) - linear(weight))
        errors.append(float(slerp(a, b, weight).square().mean().sqrt()) - arc(weight))
    return largest(errors)
