"""The loss in eps, and its weight dropped: (4.6) to (4.10)."""

from typing import Any

import torch

from ddpm_lesson.bound import loss_weights
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.ch04_noise_prediction.proofs.guesses import equation, mean_from_x0, symbols
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.mixture import TWO_BUMPS
from ddpm_lesson.lesson.kit.proof import Formula, largest, symbolic
from ddpm_lesson.schedule import NoiseSchedule

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
