"""Part 3: the forward process, its schedules, and what is left of the image at the end."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ddpm_lesson.bound import NATS_PER_BIT, prior_bits
from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.lesson.kit.proof import ProofBook, largest
from ddpm_lesson.sample import forward_steps
from ddpm_lesson.schedule import NoiseSchedule

BOOK = ProofBook(3)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger

N_DRAWS = 100_000  # simulated chains


def one_shot(x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of q(x_t | x_0) on a short linear schedule."""
    return short_diffusion().q_xt_x0(x0, t)


def short_diffusion() -> DenoiseDiffusion:
    """A chain of 20 steps that ends close to noise."""
    return DenoiseDiffusion(nn.Identity(), schedule=NoiseSchedule.linear(20, 0.01, 0.5))


@equation(
    "3.1",
    r"q(x_t \mid x_0) = \mathcal{N}(\sqrt{\bar\alpha_t}\, x_0,\; 1 - \bar\alpha_t)",
    "mean and variance step after step, and the shape by 100,000 chains of 20 steps",
    1e-6,
)
def chain_against_one_shot(formula: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = one_shot) -> float:
    """The closed form at every step: mean and variance by (2.3), one step after another; the shape by simulated chains.

    Ho et al. 2020, Eqs. 2 and 4. The share below one sigma, 84.1 % for a Gaussian, sees a wrong shape; what it and
    the simulated mean are off by counts as far as chance does not explain it, 5 standard errors.
    """
    diffusion, x0 = short_diffusion(), torch.full((N_DRAWS, 1), 0.8)
    mean, var, chance, errors = 0.8, 0.0, 5 / math.sqrt(N_DRAWS), []
    for t, xt in enumerate(forward_steps(diffusion, x0, torch.Generator().manual_seed(0))):
        beta = float(diffusion.schedule.beta[t])
        mean, var = math.sqrt(1 - beta) * mean, (1 - beta) * var + beta
        said_mean, said_var = map(float, formula(torch.tensor([[0.8]]), torch.tensor([t])))
        share = float((xt < mean + math.sqrt(var)).double().mean()) - 0.8413447
        errors += [said_mean - mean, said_var - var]
        errors += [max(0.0, abs(e) - chance) for e in (float(xt.mean()) - mean, share)]
    return largest(errors)


def preserved(var0: float, alpha_bar: Tensor) -> Tensor:
    """Variance of x_t for data of variance ``var0``."""
    return alpha_bar * var0 + 1 - alpha_bar


@equation(
    "3.2",
    r"\mathrm{Var}[x_t] = \bar\alpha_t\, \mathrm{Var}[x_0] + 1 - \bar\alpha_t",
    "algebra: the variance of one step, T times",
    1e-12,
)
def variance(formula: Callable[[float, Tensor], Tensor] = preserved) -> float:
    """Var[x_t] = alpha_t Var[x_{t-1}] + beta_t, step after step, for data of variance 0.25, 1 and 4."""
    schedule = NoiseSchedule.linear().to(torch.float64)
    errors = []
    for var0 in (0.25, 1.0, 4.0):
        var, expected = var0, formula(var0, schedule.alpha_bar)
        for t, beta in enumerate(schedule.beta.tolist()):
            var = (1 - beta) * var + beta
            errors.append(abs(var - float(expected[t])))
    return largest(errors)


def decibels(alpha_bar: Tensor) -> Tensor:
    """Signal-to-noise ratio in dB."""
    return 10 * torch.log10(alpha_bar / (1 - alpha_bar))


@equation(
    "3.3",
    r"\mathrm{SNR}(t) = \bar\alpha_t / (1 - \bar\alpha_t), \quad 10 \log_{10} \mathrm{SNR} \text{ in dB}",
    "a definition: the package's x_t keeps to it, in dB",
    1e-4,
)
def signal_to_noise(formula: Callable[[Tensor], Tensor] = decibels) -> float:
    """Power of the two parts of x_t, each made alone, for an image and a noise of power 1, in dB."""
    diffusion, one = short_diffusion(), torch.tensor([[-1.0, 1.0]])
    errors = []
    for t in range(diffusion.n_steps):
        signal = diffusion.q_sample(one, torch.tensor([t]), 0 * one)
        noise = diffusion.q_sample(0 * one, torch.tensor([t]), one)
        measured = 10 * math.log10(float(signal.square().mean() / noise.square().mean()))
        errors.append(abs(measured - float(formula(diffusion.alpha_bar[t]))))
    return largest(errors)


def linear_beta(T: int, t: int) -> float:
    """beta at the paper's step t = 1 .. T."""
    return 1e-4 + (0.02 - 1e-4) * (t - 1) / (T - 1)


@equation(
    "3.4",
    r"\beta_t = \beta_1 + \tfrac{t - 1}{T - 1}\,(\beta_T - \beta_1)",
    "a definition: numpy.linspace, as in the paper's code, and the package keep to it",
    1e-12,
)
def linear(formula: Callable[[int, int], float] = linear_beta) -> float:
    """The linear schedule at several T (Ho et al. 2020, section 4)."""
    errors = []
    for T in (2, 10, 1000):
        expected = np.array([formula(T, t) for t in range(1, T + 1)])
        for beta in (np.linspace(1e-4, 0.02, T), NoiseSchedule.linear(T).to(torch.float64).beta.numpy()):
            errors.append(np.abs(beta - expected).max())
    return largest(errors)


def log_end(T: int, mean_beta: float, mean_square: float) -> float:
    """log of alpha_bar at the end to second order in beta, from the averages of beta and of its square."""
    return -T * mean_beta - T / 2 * mean_square


@equation(
    "3.5",
    r"\ln \bar\alpha_T = \sum_t \ln(1 - \beta_t) \approx -T\,\overline{\beta} - \tfrac{T}{2}\,\overline{\beta^2}",
    "the exact product, up to third order in beta",
    2e-3,
)
def product_of_many_steps(formula: Callable[[int, float, float], float] = log_end) -> float:
    """The series against the product of 1 - beta."""
    errors = []
    for T, beta_end in ((1000, 0.02), (4000, 0.005), (1000, 0.01)):
        beta = np.linspace(1e-4, beta_end, T)
        errors.append(abs(math.log(np.prod(1 - beta)) - formula(T, beta.mean(), (beta**2).mean())))
    return largest(errors)


def cosine_f(u: Tensor, s: float) -> Tensor:
    """What alpha_bar is proportional to at the fraction ``u`` of the way."""
    return torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2


@equation(
    "3.6",
    r"\bar\alpha_t = f(t/T) / f(0), \quad f(u) = \cos^2\!\left(\tfrac{u + s}{1 + s} \cdot \tfrac{\pi}{2}\right)",
    "a definition: the package's product of 1 - beta keeps to it; only the last beta is clipped",
    1e-12,
)
def cosine(formula: Callable[[Tensor, float], Tensor] = cosine_f) -> float:
    """Products of alpha against the formula where no beta is clipped (Nichol and Dhariwal 2021, Eq. 17)."""
    errors = []
    for T in (10, 1000):
        schedule = NoiseSchedule.cosine(T).to(torch.float64)
        product = torch.cumprod(1 - schedule.beta, 0)[:-1]
        u = torch.arange(1, T, dtype=torch.float64) / T
        f0 = formula(torch.zeros(1, dtype=torch.float64), 0.008)
        errors.append(float((product - formula(u, 0.008) / f0).abs().max()))
        errors.append(abs(float(schedule.alpha_bar[-1] / product[-1]) - (1 - 0.999)))
    return largest(errors)


def end_bits(x0: Tensor, alpha_bar: float) -> float:
    """L_T in bits per dimension for data ``x0``."""
    power = float(x0.square().mean())
    return 0.5 * (alpha_bar * power - alpha_bar - math.log1p(-alpha_bar)) / NATS_PER_BIT


@equation(
    "3.7",
    r"L_T = \tfrac{1}{2 \ln 2} \left( \bar\alpha_T\, \mathbb{E}[x_0^2] - \bar\alpha_T - \ln(1 - \bar\alpha_T) \right)",
    "quadrature of the KL divergence, value by value, and the package's prior_bits",
    1e-9,
)
def end_of_the_chain(formula: Callable[[Tensor, float], float] = end_bits) -> float:
    """KL(q(x_T | x_0) || N(0, 1)) integrated on a grid for every value of x0 and averaged, and that of the package."""
    x0 = torch.tensor([[-1.0, 0.3, 0.9, 0.5]], dtype=torch.float64)
    errors = []
    for schedule in (NoiseSchedule.linear(1000), NoiseSchedule.linear(100), NoiseSchedule.cosine(50)):
        alpha_bar = float(schedule.to(torch.float64).alpha_bar[-1])
        value = formula(x0, alpha_bar)
        integrated = sum(integrated_bits(x, alpha_bar) for x in x0[0].tolist()) / x0.numel()
        errors += [abs(value - integrated), abs(value - float(prior_bits(schedule, x0)))]
    return largest(errors)


def integrated_bits(x0: float, alpha_bar: float) -> float:
    """KL(N(sqrt(alpha_bar) x0, 1 - alpha_bar) || N(0, 1)) in bits, by the trapezoidal rule."""
    x = torch.linspace(-14, 14, 40_001, dtype=torch.float64)
    log_q = -0.5 * ((x - alpha_bar**0.5 * x0) ** 2 / (1 - alpha_bar) + math.log(2 * math.pi * (1 - alpha_bar)))
    log_p = -0.5 * (x**2 + math.log(2 * math.pi))
    return float(torch.trapezoid(log_q.exp() * (log_q - log_p), x)) / NATS_PER_BIT


def rescaled(snr_db: float, scale: float) -> float:
    """Signal-to-noise ratio in dB of data that is multiplied by ``scale``."""
    return snr_db + 20 * math.log10(scale)


@equation(
    "3.8",
    r"\mathrm{SNR}_{c\,x_0} = c^2\, \mathrm{SNR}_{x_0}, \quad \text{that is } + 20 \log_{10} c \text{ dB}",
    "contrast and noise of scaled data in the package's x_t, in dB",
    1e-4,
)
def scaled_data(formula: Callable[[float, float], float] = rescaled) -> float:
    """Contrast (variance) of scaled and shifted data over that of the noise, each part of x_t made alone, in dB."""
    diffusion, one, t = DenoiseDiffusion(nn.Identity()), torch.tensor([[-1.0, 1.0]]), torch.tensor([400])
    errors = []
    for scale in (0.5, 1.0, 127.5):
        signal = diffusion.q_sample(scale * one + 3, t, 0 * one)
        noise = diffusion.q_sample(0 * one, t, one)
        measured = 10 * math.log10(float(signal.var() / noise.var()))
        errors.append(abs(measured - formula(float(diffusion.schedule.snr_db[400]), scale)))
    return largest(errors)
