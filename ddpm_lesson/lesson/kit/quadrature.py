"""Kullback-Leibler divergences and evidence lower bounds on a line, as sums over a fine grid; float64, nats."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.mixture import GaussianMixture

LINE = torch.linspace(-16, 16, 3201, dtype=torch.float64)
TWO_PEAKS = GaussianMixture([0.4, 0.6], [-1.2, 0.9], [0.25, 0.35])  # the data of notebook 01


def integral(values: Tensor) -> Tensor:
    """The integral of ``values`` on ``LINE``, over the last dimension."""
    return torch.trapezoid(values, LINE)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of two log-densities on ``LINE`` (Kullback and Leibler 1951)."""
    return integral(log_p.exp() * (log_p - log_q))


def both_kl(p: GaussianMixture, mean: float, std: float) -> tuple[float, float]:
    """Forward KL(p || q) and reverse KL(q || p) for q = N(mean, std^2)."""
    log_p, log_q = p.log_prob(LINE), log_normal(LINE, mean, std**2)
    return float(kl(log_p, log_q)), float(kl(log_q, log_p))


def fit_gaussian(p: GaussianMixture, direction: str, mean: float = 0.0, std: float = 1.0) -> tuple[float, float]:
    """The mean and standard deviation of the Gaussian q nearest to ``p``, downhill along the natural gradient.

    Args:
        p: the target.
        direction: ``"forward"`` minimises KL(p || q), ``"reverse"`` KL(q || p).
        mean, std: where to start; the reverse direction may end in another minimum from another start.

    Raises:
        ValueError: if the direction is neither.
    """
    if direction not in ("forward", "reverse"):
        raise ValueError(f"direction must be 'forward' or 'reverse'; got {direction!r}")
    log_p = p.log_prob(LINE)
    at = torch.tensor([mean, math.log(std)], dtype=torch.float64, requires_grad=True)  # mean and log of the std
    for _ in range(200):
        log_q = log_normal(LINE, at[0], (2 * at[1]).exp())
        loss = kl(log_p, log_q) if direction == "forward" else kl(log_q, log_p)
        (slope,) = torch.autograd.grad(loss, at)
        with torch.no_grad():  # the Fisher information of a Gaussian is (1 / std^2, 2) in mean and log of the std
            step = slope * torch.stack(((2 * at[1]).exp(), torch.tensor(0.5)))
            at -= (step / 2).clamp(-0.3, 0.3)
    return float(at[0].detach()), float(at[1].detach().exp())


class LatentModel:
    """One latent: z ~ N(0, 1), x | z ~ N(decoder(z), noise^2), and the integrals over z on ``LINE``.

    Args:
        decoder: from z to the mean of x, value by value.
        noise: standard deviation of x given z, positive.
    """

    def __init__(self, decoder: Callable[[Tensor], Tensor], noise: float):
        self.decoder = decoder
        self.noise = noise

    def log_likelihood(self, x: float, z: Tensor) -> Tensor:
        """log p(x | z), the shape of ``z``."""
        return log_normal(torch.tensor(x, dtype=torch.float64), self.decoder(z), self.noise**2)

    def log_joint(self, x: float, z: Tensor) -> Tensor:
        """log p(x, z), the shape of ``z``."""
        return log_normal(z, 0.0, 1.0) + self.log_likelihood(x, z)

    def log_evidence(self, x: float) -> float:
        """log p(x), the integral over z."""
        return float(integral(self.log_joint(x, LINE).exp()).log())

    def log_posterior(self, x: float) -> Tensor:
        """log p(z | x) on ``LINE``, by Bayes."""
        return self.log_joint(x, LINE) - self.log_evidence(x)

    def elbo(self, x: float, mean: float, std: float) -> float:
        """E_q[log p(x, z) - log q(z)] for q = N(mean, std^2)."""
        log_q = log_normal(LINE, mean, std**2)
        return float(integral(log_q.exp() * (self.log_joint(x, LINE) - log_q)))

    def gap(self, x: float, mean: float, std: float) -> float:
        """KL(q(z) || p(z | x)) for q = N(mean, std^2)."""
        return float(kl(log_normal(LINE, mean, std**2), self.log_posterior(x)))


STRAIGHT = LatentModel(lambda z: z, 0.6)  # its posterior is a Gaussian
BENT = LatentModel(lambda z: z**2, 0.6)  # z and -z give the same x, so its posterior has two peaks
