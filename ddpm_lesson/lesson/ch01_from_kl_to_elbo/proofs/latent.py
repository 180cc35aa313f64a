"""One latent: what it hides, and the ELBO that lies below: (1.6) to (1.9)."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ddpm_lesson.lesson.ch01_from_kl_to_elbo.proofs.distances import equation, excess
from ddpm_lesson.lesson.kit.chain import data_nodes, log_normal
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.lesson.kit.proof import largest
from ddpm_lesson.lesson.kit.quadrature import BENT, STRAIGHT, LatentModel

LATENT_QS = [(0.88, 0.51), (0.0, 1.0), (1.0, 0.3), (-1.5, 0.7)]  # mean and std of q(z | x)


def hermite_nodes(mean: float, std: float, n: int = 120) -> tuple[Tensor, Tensor]:
    """Nodes and weights for expectations over N(mean, std^2)."""
    return data_nodes(GaussianMixture([1], [mean], [std]), n)


@equation(
    "1.6",
    r"p_\theta(x) = \int p(z)\, p_\theta(x \mid z)\, dz",
    "closed form, and Gauss-Hermite nodes of the prior",
    1e-7,
)
def marginal(log_density: Callable = LatentModel.log_evidence) -> float:
    """The integral over z: a known Gaussian if the decoder is straight, an average over the prior if it is bent."""
    errors = [math.exp(log_density(STRAIGHT, x)) - normal(x, 1 + STRAIGHT.noise**2) for x in (-1.0, 0.3, 1.2)]
    z, weight = hermite_nodes(0.0, 1.0, 300)
    for x in (0.3, 1.2, 3.0):
        errors.append(math.exp(log_density(BENT, x)) - float(weight @ BENT.log_likelihood(x, z).exp()))
    return largest([*errors])


def normal(x: float, var: float) -> float:
    """N(x; 0, var)."""
    return math.exp(-(x**2) / (2 * var)) / math.sqrt(2 * math.pi * var)


@equation(
    "1.7",
    r"\log \mathbb{E}[w] \geq \mathbb{E}[\log w]",
    "closed forms, and draws",
    1e-9,
)
def jensen(lower: Callable = lambda w, weight: (weight * w.log()).sum()) -> float:
    """The lower side never exceeds the upper one; both are known where log w is Gaussian or exponential.

    If log w is N(m, s^2) they are m + s^2 / 2 and m, if it has the mean r < 1 and falls off exponentially -log(1 - r)
    and r.
    """
    errors = []
    for m, s in ((0.0, 0.2), (0.9, 0.7), (-1.3, 1.0)):
        z, weight = hermite_nodes(m, s)
        errors += [lower(z.exp(), weight) - m, (weight @ z.exp()).log() - m - s**2 / 2]
    z, weight = map(torch.from_numpy, np.polynomial.laguerre.laggauss(40))
    for r in (0.2, 0.5):
        w = (r * z).exp()
        errors += [lower(w, weight) - r, (weight @ w).log() + math.log(1 - r)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        w = torch.rand(50, dtype=torch.float64, generator=generator) + 0.01
        weight = torch.rand(50, dtype=torch.float64, generator=generator)
        weight = weight / weight.sum()
        errors.append(excess(lower(w, weight) - (weight * w).sum().log()))
    return largest([*errors])


def expected_log_ratio(log_joint: Tensor, log_q: Tensor, weight: Tensor) -> Tensor:
    """E_q[log p(x, z) - log q(z | x)], the ELBO."""
    return weight @ (log_joint - log_q)


def elbo_by_nodes(model: LatentModel, x: float, mean: float, std: float, elbo: Callable) -> float:
    """``elbo`` on nodes of q = N(mean, std^2)."""
    z, weight = hermite_nodes(mean, std)
    return float(elbo(model.log_joint(x, z), log_normal(z, mean, std**2), weight))


@equation(
    "1.8",
    r"\log p_\theta(x) \geq \mathbb{E}_{q(z \mid x)}[\log p_\theta(x, z) - \log q(z \mid x)]",
    "quadrature; closed form for a straight decoder; equality where q is the posterior",
    1e-9,
)
def lower_bound(elbo: Callable = expected_log_ratio) -> float:
    """Never above log p(x); for the straight model its closed form for every q, and log p(x) for the posterior."""
    x, noise2 = 1.2, STRAIGHT.noise**2
    errors = []
    for model in (STRAIGHT, BENT):
        errors += [excess(elbo_by_nodes(model, x, *q, elbo) - model.log_evidence(x)) for q in LATENT_QS]
    errors += [elbo_by_nodes(STRAIGHT, x, *q, elbo) - straight_elbo(x, *q) for q in LATENT_QS]
    posterior = x / (1 + noise2), math.sqrt(noise2 / (1 + noise2))
    errors.append(elbo_by_nodes(STRAIGHT, x, *posterior, elbo) - math.log(normal(x, 1 + noise2)))
    return largest([*errors])


def straight_elbo(x: float, mean: float, std: float) -> float:
    """The ELBO of the straight model for q = N(mean, std^2): E_q[log p(z)] + E_q[log p(x | z)] + entropy of q."""
    noise2 = STRAIGHT.noise**2
    prior = -0.5 * (mean**2 + std**2) - 0.5 * math.log(2 * math.pi)
    likelihood = -0.5 * math.log(2 * math.pi * noise2) - ((x - mean) ** 2 + std**2) / (2 * noise2)
    return prior + likelihood + 0.5 * math.log(2 * math.pi * math.e * std**2)


@equation(
    "1.9",
    r"\log p_\theta(x) = \mathrm{ELBO}(q) + \mathrm{KL}(q(z \mid x) \parallel p_\theta(z \mid x))",
    "quadrature, each part on its own",
    1e-9,
)
def evidence(gap: Callable = LatentModel.gap) -> float:
    """ELBO by Gauss and Hermite under q, gap by Bayes on a grid, evidence by Gauss and Legendre over z in (-8, 8)."""
    z, weight = (8 * torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(400))
    errors = []
    for model, x in ((STRAIGHT, 1.2), (STRAIGHT, -0.7), (BENT, 1.2), (BENT, 0.2)):
        log_evidence = math.log(weight @ model.log_joint(x, z).exp())
        for q in LATENT_QS:
            errors.append(elbo_by_nodes(model, x, *q, expected_log_ratio) + gap(model, x, *q) - log_evidence)
    return largest([*errors])
