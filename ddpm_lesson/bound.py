"""The variational bound on the negative log-likelihood, term by term, in bits per dimension.

Ho et al. 2020, Eq. 5: L_T + sum over t of L_{t-1} + L_0. A dimension is one value of one image.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion, check_batch, check_prediction, noise_like, pick, reverse_variance
from ddpm_lesson.sample import eval_mode
from ddpm_lesson.schedule import NoiseSchedule

NATS_PER_BIT = math.log(2)


def gaussian_kl(mean1: Tensor, var1: Tensor, mean2: Tensor, var2: Tensor) -> Tensor:
    """KL(N(mean1, var1) || N(mean2, var2)) for every value, in nats.

    The arguments broadcast; the variances are positive.
    """
    return 0.5 * ((var2 / var1).log() + (var1 + (mean1 - mean2) ** 2) / var2 - 1)


def prior_bits(schedule: NoiseSchedule, x0: Tensor) -> Tensor:
    """L_T = KL(q(x_T | x_0) || N(0, 1)) in bits per dimension, (B,): what the end of the chain still knows of x0.

    Ho et al. 2020, Eq. 5, first term. ``x0`` is (B, ...) in [-1, 1], the result in float64 on the CPU: Apple's GPUs
    have no float64.
    """
    schedule = schedule.to(torch.float64)
    alpha_bar, var = schedule.alpha_bar[-1], schedule.one_minus_alpha_bar[-1]
    mean = alpha_bar.sqrt() * x0.cpu().double()
    return per_dimension(gaussian_kl(mean, var, torch.zeros(()), torch.ones(()))) / NATS_PER_BIT


def loss_weights(schedule: NoiseSchedule, sigma: str = "beta") -> Tensor:
    """What multiplies ||eps - eps_theta||^2 in L_{t-1}: beta^2 / (2 sigma^2 alpha (1 - alpha_bar)), in nats, (T,).

    Ho et al. 2020, Eq. 12. L_simple sets it to 1. At t = 0 with ``sigma="posterior"`` it is infinite, because the
    posterior's variance vanishes there.

    Raises:
        ValueError: if ``sigma`` is neither ``"beta"`` nor ``"posterior"``.
    """
    s = schedule.to(torch.float64)
    return s.beta**2 / (2 * reverse_variance(s, sigma) * s.alpha * s.one_minus_alpha_bar)


def min_snr_weights(schedule: NoiseSchedule, prediction: str = "eps", gamma: float = 5.0) -> Tensor:
    """What an error of the network's target counts at each time, so that one of x0 counts min(SNR, gamma), (T,).

    Hang et al. 2023, Eq. 8 and section 3.4. For the ``weights`` of ``DenoiseDiffusion.loss``.

    Raises:
        ValueError: if ``gamma`` is not positive, or ``prediction`` does not fit the schedule.
    """
    check_prediction(prediction, schedule)
    if not gamma > 0:
        raise ValueError(f"gamma must be positive; got {gamma}")
    snr = schedule.to(torch.float64).snr
    return snr.clamp(max=gamma) / {"eps": snr, "x0": 1, "v": snr + 1}[prediction]


def decoder_log_likelihood(x0: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """log p(x0 | x_1) of bytes: the mass of N(mean, var) in the bin around each of the 256 values; nats, like ``x0``.

    Ho et al. 2020, Eq. 13. ``x0`` is in [-1, 1]; the first and the last bin reach to infinity.
    """
    std = var.sqrt()
    upper = ((x0 + 1 / 255 - mean) / std).masked_fill(x0 > 1 - 1e-4, torch.inf)
    lower = ((x0 - 1 / 255 - mean) / std).masked_fill(x0 < -1 + 1e-4, -torch.inf)
    flip = lower > 0  # use the tail where digits are left
    upper, lower = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    log_upper, log_lower = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
    return log_upper + torch.log1p(-(log_lower - log_upper).exp())


class Bound(NamedTuple):
    """The terms of the bound in bits per dimension, one row an image."""

    L_T: Tensor  # (B,) does the forward process end in the prior?
    L_t: Tensor  # (B, T) index t is the term of the step from x_t to x_{t-1}; index 0 is L_0, the decoder
    total: Tensor  # (B,)

    @property
    def L_0(self) -> Tensor:
        """(B,) the last step, from x_1 to bytes: the distortion of section 4.3, the rest being the rate."""
        return self.L_t[:, 0]


@torch.no_grad()
def variational_bound(diffusion: DenoiseDiffusion, x0: Tensor, generator: torch.Generator | None = None) -> Bound:
    """The bound for every image of a batch, with one draw of x_t for each t.

    Ho et al. 2020, Eqs. 5, 6, 7 and 13. Takes T passes of the network.

    Args:
        diffusion: the model, with at least two steps; dropout is off while it is asked.
        x0: images (B, ...) in [-1, 1], bytes scaled linearly.
        generator: where the noise comes from.

    Raises:
        ValueError: if the model has one step only, or ``x0`` is no batch.
    """
    check_batch(x0)
    if diffusion.n_steps < 2:
        raise ValueError(f"n_steps must be at least 2 for a bound with all its terms; got {diffusion.n_steps}")
    model = eval_mode(diffusion)
    terms = [bound_term(model, x0, t, generator)[0] for t in range(model.n_steps)]
    L_T = prior_bits(diffusion.schedule, x0).float().to(x0)
    L_t = torch.stack(terms, dim=1)
    return Bound(L_T, L_t, L_T + L_t.sum(1))


def bound_term(
    diffusion: DenoiseDiffusion, x0: Tensor, t: int | Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """One draw of the term of step t, (B,) in bits per dimension, and the guess x0_hat behind it, (B, ...).

    ``t`` is one time for all images, or (B,).
    """
    t = torch.as_tensor(t, device=x0.device).expand(len(x0))
    xt = diffusion.q_sample(x0, t, noise_like(x0, generator))
    x0_hat = diffusion.denoise(xt, t)
    return guess_bits(diffusion, x0, xt, x0_hat, t), x0_hat


def guess_bits(diffusion: DenoiseDiffusion, x0: Tensor, xt: Tensor, x0_hat: Tensor, t: Tensor) -> Tensor:
    """What the step from ``xt`` costs with the guess ``x0_hat``, (B,) in bits per dimension; ``t`` is (B,).

    Ho et al. 2020, Eq. 5: a KL divergence between two Gaussians, or at t = 0 the decoder's logarithm.
    """
    mean, var = diffusion.q_posterior(x0, xt, t)
    model_mean, _ = diffusion.q_posterior(x0_hat, xt, t)
    bits = per_dimension(gaussian_kl(mean, var, model_mean, pick(diffusion.sigma2, t, x0.ndim))) / NATS_PER_BIT
    last = t == 0
    if last.any():
        var = diffusion.schedule.beta_tilde[1].to(x0.dtype)  # as in the paper's code: the smallest variance above 0
        log_p = decoder_log_likelihood(x0[last].cpu(), model_mean[last].cpu(), var)  # where log_ndtr is sure to be
        bits[last] = -per_dimension(log_p).to(bits) / NATS_PER_BIT
    return bits


def per_dimension(values: Tensor) -> Tensor:
    """The mean over everything but the batch, (B,)."""
    return values.flatten(1).mean(1)
