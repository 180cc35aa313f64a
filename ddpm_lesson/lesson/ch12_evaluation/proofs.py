"""Notebook 12: the bytes' decoder, densities as bits, and the Frechet distance of Gaussians.

Everything is in float64. A Gaussian of features is a mean (D,) and a covariance (D, D).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_lesson.bound import decoder_log_likelihood
from ddpm_lesson.evaluate import expected_floor, gaussian_frechet
from ddpm_lesson.lesson.kit.chain import log_normal
from ddpm_lesson.lesson.kit.proof import Formula, ProofBook, largest

BOOK = ProofBook(12)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger

F64 = torch.float64


# A byte


@equation(
    "12.1",
    r"p_\theta(x_0 \mid x_1) = \int_{\delta_-(x_0)}^{\delta_+(x_0)} \mathcal{N}(x;\, \mu,\, \sigma^2)\, dx",
    "quadrature",
    1e-6,
)
def mass_of_a_byte(formula: Formula = decoder_log_likelihood) -> float:
    """Against the integral of the density over each of the 256 bins; the outer two have the rest of the line.

    Far from the mean it is the logarithms that are compared: there probabilities are tiny.
    """
    x0 = torch.arange(256, dtype=F64) / 127.5 - 1
    errors = []
    for mean, std in ((0.1, 0.02), (-0.95, 0.1), (1.1, 0.3), (0.0, 2.0)):
        inside = x0[:, None] + torch.linspace(-1, 1, 401, dtype=F64) / 255
        mass = torch.trapezoid(log_normal(inside, mean, std**2).exp(), inside)
        for i, outside in ((0, torch.linspace(-1 - 12 * std - 2, -1 - 1 / 255, 40_001, dtype=F64)),
                           (255, torch.linspace(1 + 1 / 255, 3 + 12 * std, 40_001, dtype=F64))):  # fmt: skip
            mass[i] += torch.trapezoid(log_normal(outside, mean, std**2).exp(), outside)
        errors.append(formula(x0, torch.tensor(mean, dtype=F64), torch.tensor(std, dtype=F64) ** 2).exp() - mass)
    for mean in (-1.0, 1.0):
        far = x0[(x0 - mean).abs().sub(1).abs() < 0.2]  # 16 to 24 standard deviations away
        inside = far[:, None] + torch.linspace(-1, 1, 4001, dtype=F64) / 255
        log_mass = torch.trapezoid(log_normal(inside, mean, 0.05**2).exp(), inside).log()
        errors.append(formula(far, torch.tensor(mean, dtype=F64), torch.tensor(0.05, dtype=F64) ** 2) - log_mass)
    return largest(errors)


def bits_of_density(log_density: Tensor) -> Tensor:
    """Bits for a byte whose density on [-1, 1] is known: the bin is 2/255 wide. ``log_density`` is in nats."""
    return -log_density / math.log(2) + math.log2(255 / 2)


@equation(
    "12.2",
    r"-\log_2 p(\text{byte}) \approx -\log_2 \mathcal{N}(x_0; \mu, \sigma^2) + \log_2 \tfrac{255}{2}",
    "quadrature",
    2e-3,
)
def density_as_bits(formula: Formula = bits_of_density) -> float:
    """Against the logarithm of the integral over the bin, for densities that are much wider than a bin."""
    x0 = (torch.arange(40, 216, dtype=F64) / 127.5 - 1)[:, None]
    errors = []
    for mean, std in ((0.0, 0.3), (0.2, 0.5), (-0.4, 1.0)):
        inside = x0 + torch.linspace(-1, 1, 201, dtype=F64) / 255
        mass = torch.trapezoid(log_normal(inside, mean, std**2).exp(), inside)
        errors.append(formula(log_normal(x0[:, 0], mean, std**2)) + mass.log2())
    return largest(errors)


# Distance of Gaussians


def squared_distance_of_pairs(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor, cross: Tensor) -> Tensor:
    """E |x - y|^2 from moments; ``cross`` is Cov[x, y]."""
    return ((mean1 - mean2) ** 2).sum() + (cov1 + cov2 - 2 * cross).trace()


@equation(
    "12.3",
    r"\mathbb{E}\,\lVert x - y \rVert^2 = \lVert \mu_1 - \mu_2 \rVert^2 "
    r"+ \operatorname{tr}\big(\Sigma_1 + \Sigma_2 - 2\,\mathrm{Cov}[x, y]\big)",
    "enumeration of a finite joint distribution",
    1e-12,
)
def distance_of_pairs(formula: Formula = squared_distance_of_pairs) -> float:
    """Fifty pairs (x, y) with unequal probabilities; every expectation is a sum."""
    rng = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(3):
        x, y = (torch.randn(50, 3, generator=rng, dtype=F64) for _ in range(2))
        y = 0.5 * x.roll(1, 1) + y + 1
        p = torch.rand(50, generator=rng, dtype=F64)
        p = (p / p.sum())[:, None]
        mean1, mean2 = ((p * z).sum(0) for z in (x, y))
        a, b = x - mean1, y - mean2
        value = formula(mean1, a.T @ (p * a), mean2, b.T @ (p * b), a.T @ (p * b))
        errors.append(value - (p * (x - y) ** 2).sum())
    return largest(errors)


def plane_gaussians(n: int) -> list[tuple[Tensor, Tensor]]:
    """Means (2,) and covariances (2, 2) without symmetry, always the same."""
    rng = torch.Generator().manual_seed(3)
    draws = [(torch.randn(2, generator=rng, dtype=F64), torch.randn(2, 2, generator=rng, dtype=F64)) for _ in range(n)]
    return [(mean, a @ a.T + 0.1 * torch.eye(2, dtype=F64)) for mean, a in draws]


def nearest_coupling(cov1: Tensor, cov2: Tensor, n_angles: int = 20_000) -> float:
    """The largest trace of Cov[x, y] that any joint distribution in the plane has, by trying all.

    Cholesky factors turn x and y into white noise. Covariances of two white noises are averages of rotations and
    reflections, and a trace is largest at one of those: one angle tells them all.
    """
    a, b = torch.linalg.cholesky(cov1), torch.linalg.cholesky(cov2)
    angle = torch.linspace(0, 2 * math.pi, n_angles, dtype=F64)
    cos, sin = angle.cos(), angle.sin()
    rotations = torch.stack((cos, -sin, sin, cos), -1).view(-1, 2, 2)
    every = torch.cat((rotations, rotations * torch.tensor([1.0, -1.0], dtype=F64)))
    return float(torch.einsum("ij,njk,ik->n", a, every, b).max())


@equation(
    "12.4",
    r"d^2 = \lVert \mu_1 - \mu_2 \rVert^2 "
    r"+ \operatorname{tr}\big(\Sigma_1 + \Sigma_2 - 2\,(\Sigma_1^{1/2} \Sigma_2\, \Sigma_1^{1/2})^{1/2}\big)",
    "search over all joint distributions in the plane",
    1e-6,
)
def frechet_of_gaussians(formula: Formula = gaussian_frechet) -> float:
    """Against the smallest mean squared distance of pairs that the search finds."""
    gaussians, errors = plane_gaussians(8), []
    for (mean1, cov1), (mean2, cov2) in zip(gaussians[::2], gaussians[1::2], strict=True):
        smallest = ((mean1 - mean2) ** 2).sum() + (cov1 + cov2).trace() - 2 * nearest_coupling(cov1, cov2)
        errors.append(formula(mean1, cov1, mean2, cov2) - smallest)
    return largest(errors)


def frechet_on_a_line(mean1: float, std1: float, mean2: float, std2: float) -> float:
    """(12.4) in one dimension."""
    return (mean1 - mean2) ** 2 + (std1 - std2) ** 2


@equation(
    "12.5",
    r"d^2 = (\mu_1 - \mu_2)^2 + (\sigma_1 - \sigma_2)^2 \quad \text{in one dimension}",
    "quadrature over quantiles",
    1e-4,
)
def distance_on_a_line(formula: Callable[..., float] = frechet_on_a_line) -> float:
    """Against the distance of values of equal rank: on a line, the nearest partner has the same quantile."""
    u = (torch.arange(400_000, dtype=F64) + 0.5) / 400_000
    z = torch.special.ndtri(u)
    errors = []
    for mean1, std1, mean2, std2 in ((0.0, 1.0, 0.0, 1.0), (0.3, 2.0, -1.0, 0.5), (1.0, 0.1, 1.5, 0.4)):
        errors.append(formula(mean1, std1, mean2, std2) - ((mean1 + std1 * z - mean2 - std2 * z) ** 2).mean())
    return largest(errors)


@equation(
    "12.6",
    r"\mathbb{E}\, d^2 \approx \Big(\tfrac1N + \tfrac1M\Big)\Big[\sum_i \lambda_i "
    r"+ \tfrac12 \sum_{i,j} \tfrac{\lambda_i \lambda_j (1 + \delta_{ij})}{\lambda_i + \lambda_j}\Big]",
    "Monte Carlo, 400 pairs of samples",
    0.06,
)
def floor_of_equals(formula: Formula = expected_floor) -> float:
    """Samples of one Gaussian against each other; the relative error, of which 0.01 is the standard error."""
    rng = torch.Generator().manual_seed(0)
    errors = []
    for variances in ((1.0, 1.0, 1.0), (2.0, 0.5, 0.1, 0.02)):
        scale = torch.tensor(variances, dtype=F64).sqrt()
        n, m, size = 300, 600, len(variances)
        distances = []
        for _ in range(400):
            sets = [torch.randn(k, size, generator=rng, dtype=F64) * scale for k in (n, m)]
            (mean1, cov1), (mean2, cov2) = ((x.mean(0), x.T.cov()) for x in sets)
            cross = torch.linalg.eigvals(cov1 @ cov2).real.clamp(min=0).sqrt().sum()
            distances.append(((mean1 - mean2) ** 2).sum() + (cov1 + cov2).trace() - 2 * cross)
        errors.append(float(formula(torch.diag(scale**2), n, m) / torch.stack(distances).mean()) - 1)
    return largest(errors)
