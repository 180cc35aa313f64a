"""A diffusion chain on a line with every density on one grid: its bound, its exact likelihood and the gap between them.

Code counts steps t = 0 .. T-1; step t is the paper's step t+1. It leads from a state "before" to a state "after", and
p_theta leads back. Everything is in float64 and nats. Sums over the grid are as good as exact where the narrowest
density has a standard deviation of twice the spacing or more and the grid holds all of the mass.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.schedule import NoiseSchedule

Reverse = Callable[
    [Tensor, int], tuple[Tensor, Tensor | float]
]  # (state after step t, t) -> mean, var of the one before


def log_normal(x: Tensor, mean: Tensor | float, var: Tensor | float) -> Tensor:
    """log N(x; mean, var) in nats; the arguments broadcast."""
    var = torch.as_tensor(var, dtype=torch.float64)
    return -0.5 * ((x - mean) ** 2 / var + var.log() + math.log(2 * math.pi))


class ChainBound(NamedTuple):
    """The terms of the negative ELBO in nats, one row a value of x_0."""

    L_T: Tensor  # (B,) does the forward process end in the prior?
    L_t: Tensor  # (B, T) index t is the term of step t; index 0 is L_0

    @property
    def L_0(self) -> Tensor:
        """(B,) the last step back, to the data."""
        return self.L_t[:, 0]

    @property
    def total(self) -> Tensor:
        """(B,) the negative ELBO."""
        return self.L_T + self.L_t.sum(1)


class GridChain:
    """A fixed forward chain q and a model p_theta that goes back by Gaussian steps from N(0, 1).

    Ho et al. 2020, Eqs. 1 and 2. The methods take values of x_0 as a number or (B,), and return one row a value.

    Args:
        schedule: the noise of the forward steps; few of them, because the work grows as T times the grid squared.
        reverse: ``reverse(xt, t) -> (mean, var)`` of p_theta for the step t back; ``xt`` is (N,), in code's t.
        grid: (N,), evenly spaced.

    Raises:
        ValueError: if the grid is not evenly spaced, or too coarse or too narrow for the model.
    """

    def __init__(self, schedule: NoiseSchedule, reverse: Reverse, grid: Tensor | None = None):
        self.schedule = schedule.to(torch.float64)
        self.n_steps = schedule.n_steps
        self.reverse = reverse
        self.grid = torch.linspace(-8, 8, 401, dtype=torch.float64) if grid is None else evenly_spaced(grid)
        self.dx = float(self.grid[1] - self.grid[0])
        self.log_p = self.model_marginals()  # T rows (N,): log p_theta of the state after step t

    def log_q(self, x0: Tensor | float, t: int) -> Tensor:
        """log q(state after step t | x_0) on the grid, (N,) (Ho et al. 2020, Eq. 4)."""
        s = self.schedule
        return log_normal(self.grid, s.alpha_bar[t].sqrt() * x0, s.one_minus_alpha_bar[t])

    def log_forward(self, t: int, x: Tensor | float | None = None) -> Tensor:
        """log q(state after step t | x before it), a row for each x and a column for each state after.

        Ho et al. 2020, Eq. 2. ``x`` is the grid unless given.
        """
        x = torch.as_tensor(self.grid if x is None else x, dtype=torch.float64)
        return log_normal(self.grid, self.schedule.alpha[t].sqrt() * x[..., None], self.schedule.beta[t])

    def log_reverse(self, t: int, x: Tensor | float | None = None) -> Tensor:
        """log p_theta(x before step t | state after it), laid out as in ``log_forward``.

        Ho et al. 2020, Eq. 1.
        """
        x = torch.as_tensor(self.grid if x is None else x, dtype=torch.float64)
        mean, var = self.reverse(self.grid, t)
        return log_normal(x[..., None], mean, var)

    def model_marginals(self) -> list[Tensor]:
        """log p_theta of the state after each step, T rows (N,): repeated products with the reverse kernels."""
        log_p = [log_normal(self.grid, 0.0, 1.0)]
        for t in range(self.n_steps - 1, 0, -1):
            log_p.insert(0, self.integrate_out(self.log_reverse(t), log_p[0]))
        for t, row in enumerate(log_p):
            mass = float(row.exp().sum() * self.dx)
            if not abs(mass - 1) < 1e-5:
                raise ValueError(f"grid must be fine and wide enough for the model; got mass {mass:.6g} at t = {t}")
        return log_p

    def integrate_out(self, log_kernel: Tensor, log_p: Tensor) -> Tensor:
        """log of the integral of kernel times density over the columns of the grid."""
        return (log_kernel + log_p).logsumexp(-1) + math.log(self.dx)

    def nll(self, x0: Tensor | float) -> Tensor:
        """-log p_theta(x_0) exactly, (B,): all x_1 .. x_T integrated out."""
        return -self.integrate_out(self.log_reverse(0, rows(x0)), self.log_p[0])

    def bound(self, x0: Tensor | float) -> ChainBound:
        """L_T, L_{t-1} and L_0 (Ho et al. 2020, Eq. 5), each an integral; the posteriors by Bayes on the grid."""
        x0 = rows(x0)
        prior = log_normal(self.grid, 0.0, 1.0)
        L_T = torch.stack([self.kl(self.log_q(x, self.n_steps - 1), prior) for x in x0])
        steps = [self.step_terms(x0, t) for t in range(1, self.n_steps)]
        return ChainBound(L_T, torch.stack([self.last_terms(x0), *steps], dim=1))

    def last_terms(self, x0: Tensor) -> Tensor:
        """L_0 = E[-log p_theta(x_0 | x_1)] over q(x_1 | x_0), (B,)."""
        log_p = self.log_reverse(0, x0)  # (B, N)
        return -(torch.stack([self.log_q(x, 0) for x in x0]).exp() * log_p).sum(1) * self.dx

    def step_terms(self, x0: Tensor, t: int) -> Tensor:
        """E_q of KL(q(before | after, x_0) || p_theta(before | after)) for the step t >= 1 of code, (B,)."""
        log_forward, log_reverse = self.log_forward(t), self.log_reverse(t)
        forward, terms = log_forward.exp(), []
        for x in x0:
            log_before = self.log_q(x, t - 1)
            log_posterior = log_forward + log_before[:, None] - self.log_q(x, t)  # Bayes
            inner = (forward * (log_posterior - log_reverse)).sum(1)
            terms.append((log_before.exp() * inner).sum() * self.dx**2)
        return torch.stack(terms)

    def direct_bound(self, x0: Tensor | float) -> Tensor:
        """E_q[-log p(x_T) - sum over t of log(p_theta(x_{t-1} | x_t) / q(x_t | x_{t-1}))], (B,): nothing rearranged.

        Ho et al. 2020, Eq. 3, in the paper's t.
        """
        x0 = rows(x0)
        prior, end = log_normal(self.grid, 0.0, 1.0), self.n_steps - 1
        log_q1 = self.log_forward(0, x0)
        total = (log_q1.exp() * (log_q1 - self.log_reverse(0, x0))).sum(1) * self.dx
        for t in range(1, self.n_steps):
            log_forward = self.log_forward(t)
            inner = (log_forward.exp() * (log_forward - self.log_reverse(t))).sum(1) * self.dx  # given the state before
            total += torch.stack([(self.log_q(x, t - 1).exp() * inner).sum() * self.dx for x in x0])
        return total - torch.stack([(self.log_q(x, end).exp() * prior).sum() * self.dx for x in x0])

    def sampled_bound(self, x0: float, n: int, generator: torch.Generator | None = None) -> Tensor:
        """The integrand of ``direct_bound`` for ``n`` draws of the forward chain from one x_0, (n,)."""
        x, total = torch.full((n,), float(x0), dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        for t in range(self.n_steps):
            mean, var = self.schedule.alpha[t].sqrt() * x, self.schedule.beta[t]
            xt = mean + var.sqrt() * torch.randn(n, dtype=torch.float64, generator=generator)
            total += log_normal(xt, mean, var) - log_normal(x, *self.reverse(xt, t))
            x = xt
        return total - log_normal(x, 0.0, 1.0)

    def gap(self, x0: Tensor | float) -> Tensor:
        """KL(q(x_1:T | x_0) || p_theta(x_1:T | x_0)), (B,), without the bound and step by step.

        Bayes turns the model's steps back into its steps forward, p_theta(x_t | x_{t-1}), normalised on the grid of
        x_t; the divergences to q(x_t | x_{t-1}) add up, because both chains are Markov.
        """
        x0 = rows(x0)
        total = self.step_gap(0, x0)
        for t in range(1, self.n_steps):
            inner = self.step_gap(t, self.grid)
            total += torch.stack([(self.log_q(x, t - 1).exp() * inner).sum() * self.dx for x in x0])
        return total

    def step_gap(self, t: int, x: Tensor) -> Tensor:
        """KL(q(after | before = x) || p_theta(after | before = x)) of step t, for every x."""
        log_p = (self.log_reverse(t, x) + self.log_p[t]).log_softmax(-1) - math.log(self.dx)
        return self.kl(self.log_forward(t, x), log_p)

    def kl(self, log_q: Tensor, log_p: Tensor) -> Tensor:
        """KL(q || p) of densities on the grid, the last dimension summed."""
        return (log_q.exp() * (log_q - log_p)).sum(-1) * self.dx


def evenly_spaced(grid: Tensor) -> Tensor:
    """The grid in float64, rid of the rounding of float32; a ValueError if its spacings differ."""
    spacing = grid.diff()
    if len(grid) < 2 or not torch.allclose(spacing, spacing.mean(), rtol=1e-3):
        raise ValueError(f"grid must be two or more evenly spaced points; got spacings {spacing.tolist()[:5]}")
    return torch.linspace(float(grid[0]), float(grid[-1]), len(grid), dtype=torch.float64)


def rows(x0: Tensor | float) -> Tensor:
    """``x0`` as (B,) in float64."""
    return torch.as_tensor(x0, dtype=torch.float64).reshape(-1)


def data_nodes(data: GaussianMixture, n: int = 16) -> tuple[Tensor, Tensor]:
    """Values of x_0 and weights that turn a sum into an expectation over the data (Gauss and Hermite), each (K n,).

    ``n`` nodes for each of the K components are exact for polynomials up to degree 2 n - 1.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)  # for the weight exp(-z^2 / 2)
    x0 = data.means[:, None] + data.stds[:, None] * torch.from_numpy(nodes)
    w = data.weights[:, None] * torch.from_numpy(weights / weights.sum())
    return x0.flatten(), w.flatten()


def fitted_reverse(schedule: NoiseSchedule, data: GaussianMixture) -> Reverse:
    """The best Gaussian step back for data that are ``data``: the mean and variance of q(x_{t-1} | x_t).

    With one component it is the exact step back, because q(x_{t-1} | x_t) is then a Gaussian.
    """
    s = schedule.to(torch.float64)

    def reverse(xt: Tensor, t: int) -> tuple[Tensor, Tensor]:
        before, after = data.noised(float(s.alpha_bar_prev[t])), data.noised(float(s.alpha_bar[t]))
        gain = s.alpha[t].sqrt() * (before.stds / after.stds) ** 2  # Cov(x_{t-1}, x_t) / Var(x_t) within a component
        means = before.means + gain * (xt[..., None] - after.means)
        variances = s.beta[t] * (before.stds / after.stds) ** 2
        share = after.responsibilities(xt)
        mean = (share * means).sum(-1)
        return mean, (share * (variances + (means - mean[..., None]) ** 2)).sum(-1)

    return reverse


def short_chain(n_steps: int = 8) -> NoiseSchedule:
    """A schedule of few steps, small at first: the logarithm of the signal-to-noise ratio falls evenly from 5 to -6."""
    alpha_bar = torch.linspace(5, -6, n_steps, dtype=torch.float64).sigmoid()
    return NoiseSchedule.from_betas(1 - alpha_bar / torch.cat((torch.ones(1, dtype=torch.float64), alpha_bar[:-1])))
