"""Proofs of notebook 01: from the KL divergence to the bound of a diffusion chain, and its units."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Laplace, MultivariateNormal, Normal, kl_divergence

from ddpm_lesson.bound import NATS_PER_BIT, gaussian_kl
from ddpm_lesson.lesson.kit.chain import ChainBound, GridChain, data_nodes, fitted_reverse, log_normal
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.lesson.kit.proof import ProofBook, largest
from ddpm_lesson.lesson.kit.quadrature import (
    BENT,
    LINE,
    STRAIGHT,
    TWO_PEAKS,
    LatentModel,
    fit_gaussian,
    integral,
    kl,
)
from ddpm_lesson.schedule import NoiseSchedule

BOOK = ProofBook(1)
equation, prove, ledger = BOOK.equation, BOOK.prove, BOOK.ledger

SCHEDULE = NoiseSchedule.from_betas([0.2, 0.3, 0.4, 0.5])  # the short chain of notebook 01
X0 = torch.tensor([-1.4, -0.2, 0.9], dtype=torch.float64)
LATENT_QS = [(0.88, 0.51), (0.0, 1.0), (1.0, 0.3), (-1.5, 0.7)]  # mean and std of q(z | x)


def excess(*differences: Tensor | float) -> float:
    """By how much the largest number is above 0: the error of a claim "not above 0"."""
    return float(torch.cat([torch.as_tensor(d, dtype=torch.float64).flatten() for d in differences]).max().clamp(min=0))


def beyond_draws(value: Tensor, draws: Tensor) -> float:
    """By how much a value is more than 4 standard errors away from the average of draws."""
    return excess((value - draws.mean()).abs() - 4 * draws.std() / math.sqrt(len(draws)))


# Distances between distributions


def double(value: float) -> Tensor:
    """One number in float64."""
    return torch.tensor(value, dtype=torch.float64)


def pairs() -> list[tuple[Distribution, Distribution]]:
    """Pairs of distributions whose divergence torch knows in closed form."""
    normal, wide = Normal(double(0.3), double(0.8)), Normal(double(-0.5), double(1.4))
    return [(normal, wide), (wide, normal), (Laplace(double(0.2), double(0.9)), wide)]


@equation(
    "1.1",
    r"\mathrm{KL}(p \parallel q) = \mathbb{E}_{p}[\log p(x) - \log q(x)]",
    "quadrature against torch.distributions",
    1e-4,
)
def definition(log_ratio: Callable = lambda log_p, log_q: log_p - log_q) -> float:
    """The integral of p times the log-ratio against closed forms (Kullback and Leibler 1951)."""
    errors = []
    for p, q in pairs():
        log_p, log_q = p.log_prob(LINE), q.log_prob(LINE)
        errors.append(integral(log_p.exp() * log_ratio(log_p, log_q)) - kl_divergence(p, q))
    return largest([*errors])


@equation(
    "1.2",
    r"\mathrm{KL}(p \parallel q) = \mathbb{E}_p[-\log \tfrac{q}{p}] \geq \mathbb{E}_p[1 - \tfrac{q}{p}] = 0",
    "pointwise, and quadrature",
    1e-9,
)
def never_negative(below: Callable = lambda ratio: 1 - ratio) -> float:
    """``below`` lies under -log everywhere, and its expectation is 0."""
    ratio = torch.logspace(-6, 6, 10_001, dtype=torch.float64)
    errors = [excess(below(ratio) + ratio.log())]
    line = LINE[LINE.abs() < 10]  # so far that q has no mass beyond, and not so far that p is 0 in float64
    for q in (GaussianMixture([1], [0.5], [1.2]), GaussianMixture([0.7, 0.3], [-1.0, 1.5], [0.5, 0.6])):
        log_p, log_q = TWO_PEAKS.log_prob(line), q.log_prob(line)
        errors.append(torch.trapezoid(log_p.exp() * below((log_q - log_p).exp()), line))
        errors.append(excess(-torch.trapezoid(log_p.exp() * (log_p - log_q), line)))
    return largest([*errors])


def kl_of_stds(mean1: float, std1: float, mean2: float, std2: float) -> float:
    """The package's closed form, with standard deviations."""
    return float(gaussian_kl(double(mean1), double(std1) ** 2, double(mean2), double(std2) ** 2))


@equation(
    "1.3",
    r"\mathrm{KL}(\mathcal{N}(m_1, s_1^2) \parallel \mathcal{N}(m_2, s_2^2)) = "
    r"\log \frac{s_2}{s_1} + \frac{s_1^2 + (m_1 - m_2)^2}{2 s_2^2} - \frac{1}{2}",
    "quadrature",
    1e-9,
)
def between_gaussians(formula: Callable[..., float] = kl_of_stds) -> float:
    """The closed form against the integral of its definition."""
    errors = []
    for m1, s1, m2, s2 in ((0.3, 0.8, -0.5, 1.4), (-0.5, 1.4, 0.3, 0.8), (1.0, 0.5, 1.0, 0.5), (2.0, 1.0, -1.0, 1.0)):
        errors.append(formula(m1, s1, m2, s2) - kl(log_normal(LINE, m1, s1**2), log_normal(LINE, m2, s2**2)))
    return largest([*errors])


@equation(
    "1.4",
    r"\arg\min_{m, s} \mathrm{KL}(p \parallel \mathcal{N}(m, s^2)) = (\mathbb{E}_p[x], \mathrm{Std}_p[x])",
    "descent from three starts, on two targets",
    1e-6,
)
def moment_matching(best: Callable = lambda p: (p.mean, math.sqrt(p.var))) -> float:
    """Where the descent ends against the mean and standard deviation of the target."""
    errors = []
    for p in (TWO_PEAKS, GaussianMixture([0.2, 0.5, 0.3], [-2.0, 0.0, 1.5], [0.4, 0.3, 0.6])):
        mean, std = best(p)
        for start in (-2.0, 0.0, 2.0):
            found = fit_gaussian(p, "forward", mean=start)
            errors += [found[0] - mean, found[1] - std]
    return largest([*errors])


# Likelihood


@equation(
    "1.5",
    r"\mathrm{KL}(p_\mathrm{data} \parallel p_\theta) = "
    r"\mathbb{E}_{p_\mathrm{data}}[-\log p_\theta(x)] - H(p_\mathrm{data})",
    "quadrature, and 200,000 draws within 4 standard errors",
    1e-9,
)
def cross_entropy(combine: Callable = lambda cross_entropy, entropy: cross_entropy - entropy) -> float:
    """The divergence against cross-entropy and entropy; the draws add what exceeds 4 standard errors."""
    draws = TWO_PEAKS.sample(200_000, torch.Generator().manual_seed(0))
    log_p = TWO_PEAKS.log_prob(LINE)
    entropy = -integral(log_p.exp() * log_p)
    errors = []
    for mean, std in ((0.06, 1.08), (0.9, 0.8), (-1.0, 2.0)):
        log_model = log_normal(LINE, mean, std**2)
        errors.append(combine(-integral(log_p.exp() * log_model), entropy) - kl(log_p, log_model))
        errors.append(beyond_draws(kl(log_p, log_model), combine(-log_normal(draws, mean, std**2), entropy)))
    return largest([*errors])


# One latent


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


# A chain of latents


def bent_reverse(xt: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """Steps back that are neither linear nor good, so that a proof cannot hold by luck."""
    return 0.7 * xt + 0.3 * torch.sin(2 * xt + t), double(0.2 + 0.05 * t)


@lru_cache
def bent_chain() -> GridChain:
    """The short chain with ``bent_reverse``."""
    return GridChain(SCHEDULE, bent_reverse)


@lru_cache
def exact_chain() -> GridChain:
    """Data N(0, 1) with its exact steps back: here the bound has no gap."""
    return GridChain(SCHEDULE, fitted_reverse(SCHEDULE, GaussianMixture([1], [0.0], [1.0])))


def forward_path(n: int = 50) -> Tensor:
    """Draws of x_0 .. x_T of the short chain, (T + 1, n)."""
    s, generator = SCHEDULE.to(torch.float64), torch.Generator().manual_seed(0)
    path = [TWO_PEAKS.sample(n, generator)]
    for t in range(s.n_steps):
        noise = torch.randn(n, dtype=torch.float64, generator=generator)
        path.append(s.alpha[t].sqrt() * path[-1] + s.beta[t].sqrt() * noise)
    return torch.stack(path)


def linear_chain(gains: Tensor, shifts: Tensor, vars: Tensor) -> MultivariateNormal:
    """The joint distribution of y_1 .. y_n with y_i = gain_i y_{i-1} + shift_i + sqrt(var_i) noise and y_0 = 0.

    One Gaussian in n dimensions: (I - G) y = shift + noise, with the gains below the diagonal of G.
    """
    n = len(gains)
    inverse = torch.linalg.inv(torch.eye(n, dtype=torch.float64) - torch.diag(gains[1:], -1))
    return MultivariateNormal(inverse @ shifts, inverse @ torch.diag(vars) @ inverse.T)


@equation(
    "1.10",
    r"q(x_{1:T} \mid x_0) = \prod_{t=1}^T q(x_t \mid x_{t-1})",
    "joint Gaussian in T dimensions",
    1e-9,
)
def forward_chain(combine: Callable = lambda log_steps: log_steps.sum(0)) -> float:
    """The product of the steps against the joint density of x_1 .. x_T, from one linear system."""
    s, path = SCHEDULE.to(torch.float64), forward_path()
    alpha, beta = s.alpha[:, None], s.beta[:, None]
    joint = []
    for x in path.T:
        shifts = torch.cat((s.alpha[:1].sqrt() * x[0], torch.zeros(s.n_steps - 1)))
        joint.append(linear_chain(s.alpha.sqrt(), shifts, s.beta).log_prob(x[1:]))
    return largest([combine(log_normal(path[1:], alpha.sqrt() * path[:-1], beta)) - torch.stack(joint)])


@equation(
    "1.11",
    r"p_\theta(x_{0:T}) = p(x_T) \prod_{t=1}^T p_\theta(x_{t-1} \mid x_t)",
    "joint Gaussian in T + 1 dimensions",
    1e-9,
)
def reverse_chain(combine: Callable = lambda log_prior, log_steps: log_prior + log_steps.sum(0)) -> float:
    """The product against the joint density of x_T .. x_0 for a model with linear steps."""
    path, reverse = forward_path(), fitted_reverse(SCHEDULE, GaussianMixture([1], [0.4], [1.3]))
    T = SCHEDULE.n_steps
    gains, shifts, vars = [double(0.0)], [double(0.0)], [double(1.0)]  # x_T ~ N(0, 1)
    for t in reversed(range(T)):
        (low, high), (var, _) = reverse(torch.tensor([0.0, 1.0], dtype=torch.float64), t)
        gains, shifts, vars = [*gains, high - low], [*shifts, low], [*vars, var]
    joint = linear_chain(torch.stack(gains), torch.stack(shifts), torch.stack(vars)).log_prob(path.flip(0).T)
    log_steps = torch.stack([log_normal(path[t], *reverse(path[t + 1], t)) for t in range(T)])
    return largest([combine(log_normal(path[-1], 0.0, 1.0), log_steps) - joint])


@equation(
    "1.12",
    r"-\log p_\theta(x_0) \leq \mathbb{E}_q\Big[-\log \tfrac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\Big] = L",
    "quadrature; equality for exact steps back; 100,000 draws within 4 standard errors",
    1e-9,
)
def chain_bound(bound: Callable = GridChain.direct_bound) -> float:
    """The average over draws, never below the exact value, and equal to it where the steps back are exact."""
    bent, exact = bent_chain(), exact_chain()
    value = bound(bent, X0)
    errors = [excess(bent.nll(X0) - value), beyond_draws(value[0], draws_at_x0())]
    return largest([*errors, bound(exact, X0) - exact.nll(X0)])


@lru_cache
def draws_at_x0() -> Tensor:
    """What (1.12) averages, for 100,000 walks of ``bent_chain`` from the first of ``X0``."""
    return bent_chain().sampled_bound(float(X0[0]), 100_000, torch.Generator().manual_seed(0))


@equation(
    "1.13",
    r"L = -\log p_\theta(x_0) + \mathrm{KL}(q(x_{1:T} \mid x_0) \parallel p_\theta(x_{1:T} \mid x_0))",
    "quadrature, each part on its own",
    1e-9,
)
def chain_gap(gap: Callable = GridChain.gap) -> float:
    """Bound, exact value and gap by three different integrals; nll and gap share only the marginals of the model."""
    chain = bent_chain()
    return largest([chain.direct_bound(X0) - chain.nll(X0) - gap(chain, X0)])


@equation(
    "1.14",
    r"q(x_t \mid x_{t-1}) = \frac{q(x_{t-1} \mid x_t, x_0)\, q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)}",
    "posterior normalised on a grid",
    1e-9,
)
def turned_step(log_step: Callable = lambda posterior, now, before: posterior + now - before) -> float:
    """The three factors against the forward step itself, where the densities are not negligible."""
    chain, errors = bent_chain(), []
    for t in range(1, SCHEDULE.n_steps):
        forward = chain.log_forward(t)  # rows x_{t-1}, columns x_t
        for x0 in X0:
            before, now = chain.log_q(x0, t - 1)[:, None], chain.log_q(x0, t)
            posterior = (forward + before).log_softmax(0) - math.log(chain.dx)
            seen = (before > -20) & (now > -20)
            errors.append((log_step(posterior, now, before) - forward)[seen])
    return largest([*errors])


@equation(
    "1.15",
    r"\prod_{t=2}^T \frac{q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)} = \frac{q(x_T \mid x_0)}{q(x_1 \mid x_0)}",
    "algebra on 50 draws",
    1e-9,
)
def cancellation(left_over: Callable = lambda log_q: log_q[-1] - log_q[0]) -> float:
    """The product of the ratios against what is left of it; log q(x_t | x_0) is (T, n), t = 1 .. T."""
    s, path = SCHEDULE.to(torch.float64), forward_path()
    log_q = log_normal(path[1:], s.alpha_bar[:, None].sqrt() * path[0], s.one_minus_alpha_bar[:, None])
    ratios = [log_q[i] - log_q[i - 1] for i in range(1, s.n_steps)]
    return largest([left_over(log_q) - torch.stack(ratios).sum(0)])


@equation(
    "1.16",
    r"L = L_T + \sum_{t=2}^T L_{t-1} + L_0",
    "quadrature of (1.12) before it was rearranged, and 100,000 draws within 4 standard errors",
    1e-9,
)
def telescoped(total: Callable = lambda bound: bound.L_T + bound.L_t[:, 1:].sum(1) + bound.L_0) -> float:
    """The sum of the terms against the bound as it stood before (Ho et al. 2020, Eq. 5 and Appendix A)."""
    value = total(bound_at_x0())
    return largest([value - bent_chain().direct_bound(X0), beyond_draws(value[0], draws_at_x0())])


@lru_cache
def bound_at_x0() -> ChainBound:
    """The terms of the bound of ``bent_chain`` at ``X0``."""
    return bent_chain().bound(X0)


# Units


@equation(
    "1.17",
    r"\mathrm{bits/dim} = \frac{\mathrm{nats}}{D \log 2}",
    "code lengths of bytes",
    1e-9,
)
def units(formula: Callable = lambda nats, dims: nats / (dims * NATS_PER_BIT)) -> float:
    """Entropies of D independent bytes in nats, converted, against sums of p log2(1 / p) per byte."""
    generator, errors = torch.Generator().manual_seed(0), []
    for dims in (1, 12, 784):
        p = torch.rand(256, dtype=torch.float64, generator=generator)
        for table in (torch.full((256,), 1 / 256, dtype=torch.float64), p / p.sum()):
            nats = -dims * (table * table.log()).sum()
            errors.append(formula(float(nats), dims) + float((table * table.log2()).sum()))
    return largest([*errors])
