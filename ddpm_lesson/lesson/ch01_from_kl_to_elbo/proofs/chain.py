"""A chain of latents, its bound taken apart, and the units: (1.10) to (1.17)."""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from ddpm_lesson.bound import NATS_PER_BIT
from ddpm_lesson.lesson.ch01_from_kl_to_elbo.proofs.distances import beyond_draws, double, equation, excess
from ddpm_lesson.lesson.kit.chain import ChainBound, GridChain, fitted_reverse, log_normal
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.lesson.kit.proof import largest
from ddpm_lesson.lesson.kit.quadrature import TWO_PEAKS
from ddpm_lesson.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule.from_betas([0.2, 0.3, 0.4, 0.5])  # the short chain of notebook 01
X0 = torch.tensor([-1.4, -0.2, 0.9], dtype=torch.float64)


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
