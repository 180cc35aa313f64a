"""Mixtures of Gaussians on a line: data for which every distribution of the diffusion process is known exactly.

All functions work on float64 tensors of any shape, value by value, and count in nats.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ddpm_lesson.schedule import NoiseSchedule

Row = Sequence[float] | Tensor


class GaussianMixture:
    """p(x) = sum over k of weight_k N(x; mean_k, std_k^2).

    Args:
        weights: (K,), positive; scaled to sum to 1.
        means, stds: (K,); the standard deviations positive.

    Raises:
        ValueError: if the three have different lengths, or a weight or standard deviation is not positive.
    """

    def __init__(self, weights: Row, means: Row, stds: Row):
        w, m, s = rows = [torch.as_tensor(v, dtype=torch.float64) for v in (weights, means, stds)]
        if not (w.ndim == 1 and len(w) > 0 and w.shape == m.shape == s.shape):
            shapes = ", ".join(str(tuple(v.shape)) for v in rows)
            raise ValueError(f"weights, means and stds must be rows of one length, at least 1; got shapes {shapes}")
        for name, values in (("weights", w), ("stds", s)):
            if not (values > 0).all():
                raise ValueError(f"{name} must be positive; got {values.tolist()}")
        self.weights, self.means, self.stds = w / w.sum(), m, s

    @property
    def mean(self) -> float:
        """E[x]."""
        return float((self.weights * self.means).sum())

    @property
    def var(self) -> float:
        """Var[x]: the variances within the components and the variance between their means."""
        return float((self.weights * (self.stds**2 + (self.means - self.mean) ** 2)).sum())

    def log_joint(self, x: Tensor) -> Tensor:
        """log of weight_k N(x; mean_k, std_k^2), one more dimension (..., K) than ``x``."""
        z = (torch.as_tensor(x, dtype=torch.float64)[..., None] - self.means) / self.stds
        return self.weights.log() - 0.5 * z**2 - self.stds.log() - 0.5 * math.log(2 * math.pi)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, the shape of ``x``."""
        return self.log_joint(x).logsumexp(-1)

    def prob(self, x: Tensor) -> Tensor:
        """p(x), the shape of ``x``."""
        return self.log_prob(x).exp()

    def cdf(self, x: Tensor) -> Tensor:
        """P(a draw is at most x), the shape of ``x``."""
        z = (torch.as_tensor(x, dtype=torch.float64)[..., None] - self.means) / self.stds
        return (self.weights * torch.special.ndtr(z)).sum(-1)

    def quantile(self, u: Tensor) -> Tensor:
        """The x with ``cdf(x) == u``, by bisection, the shape of ``u``; u in (0, 1)."""
        u = torch.as_tensor(u, dtype=torch.float64)
        z = torch.special.ndtri(u)[..., None]
        ends = self.means + self.stds * z  # the quantiles of the components enclose that of the mixture
        low, high = ends.amin(-1), ends.amax(-1)
        for _ in range(60):
            middle = (low + high) / 2
            above = self.cdf(middle) > u
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return (low + high) / 2

    def distance(self, samples: Tensor) -> float:
        """How far samples lie from this distribution: Wasserstein's distance of order 1, in the units of x.

        The mean way from the sorted samples to the quantiles where as many exact draws would lie.
        """
        n = samples.numel()
        u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        return float((samples.flatten().to(torch.float64).sort().values - self.quantile(u)).abs().mean())

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(k | x), by Bayes; (..., K)."""
        return self.log_joint(x).softmax(-1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """``n`` draws, (n,)."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, dtype=torch.float64, generator=generator)
        return self.means[k] + self.stds[k] * z

    def gaussian_gap(self) -> float:
        """KL(p || N(mean, var)) in nats: how far p is from the Gaussian that fits it best. By the trapezium rule."""
        fit = GaussianMixture([1.0], [self.mean], [math.sqrt(self.var)])
        low = min(float((m.means - 9 * m.stds).min()) for m in (self, fit))
        high = max(float((m.means + 9 * m.stds).max()) for m in (self, fit))
        n = math.ceil(20 * (high - low) / float(self.stds.min()))  # twenty points a standard deviation
        x = torch.linspace(low, high, n, dtype=torch.float64)
        p, f, log_ratio = self.prob(x), fit.prob(x), self.log_prob(x) - fit.log_prob(x)
        far = p * log_ratio - p + f  # p log(p / f), and the integrals of p and f cancel
        near = f * (log_ratio.exp() * log_ratio - log_ratio.expm1())  # the same, with digits left where p is almost f
        return float(torch.trapezoid(torch.where(log_ratio.abs() < 0.1, near, far), x))

    def noised(self, alpha_bar: float) -> "GaussianMixture":
        """The distribution of x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps: a mixture again."""
        stds = (alpha_bar * self.stds**2 + 1 - alpha_bar).sqrt()
        return GaussianMixture(self.weights, math.sqrt(alpha_bar) * self.means, stds)

    def exact_x0(self, xt: Tensor, alpha_bar: float) -> Tensor:
        """E[x0 | x_t], the best guess of x0 in the mean square; the shape of ``xt``."""
        noised = self.noised(alpha_bar)
        xt = torch.as_tensor(xt, dtype=torch.float64)
        gain = math.sqrt(alpha_bar) * (self.stds / noised.stds) ** 2  # Cov(x0, x_t) / Var(x_t) within a component
        means = self.means + gain * (xt[..., None] - noised.means)
        return (noised.responsibilities(xt) * means).sum(-1)

    def exact_eps(self, xt: Tensor, alpha_bar: float) -> Tensor:
        """E[eps | x_t]: what a perfect eps_theta says; the shape of ``xt``."""
        return (xt - math.sqrt(alpha_bar) * self.exact_x0(xt, alpha_bar)) / math.sqrt(1 - alpha_bar)

    def step_back(self, xt: float, beta: float, alpha_bar_prev: float) -> "GaussianMixture":
        """q(x_{t-1} | x_t) for one value of x_t, without conditioning on x0: a mixture, and no Gaussian.

        Args:
            xt: the value of x_t.
            beta: beta_t, in (0, 1).
            alpha_bar_prev: alpha_bar one step earlier; 1 for the data itself.
        """
        prev = self.noised(alpha_bar_prev)  # distribution of x_{t-1}
        spread = (1 - beta) * prev.stds**2 + beta  # Var(x_t | k)
        gain = math.sqrt(1 - beta) * prev.stds**2 / spread
        means = prev.means + gain * (xt - math.sqrt(1 - beta) * prev.means)
        stds = prev.stds * (beta / spread).sqrt()
        after = GaussianMixture(self.weights, math.sqrt(1 - beta) * prev.means, spread.sqrt())
        weights = after.responsibilities(torch.tensor(xt, dtype=torch.float64))
        return GaussianMixture(weights.clamp(min=torch.finfo(torch.float64).tiny), means, stds)


class ExactNoise(nn.Module):
    """The perfect noise predictor for data from a mixture, in the place of a trained network.

    Args:
        data: the mixture that every value of x0 comes from.
        schedule: the noise of the forward steps.
    """

    def __init__(self, data: GaussianMixture, schedule: NoiseSchedule):
        super().__init__()
        self.data = data
        self.alpha_bar = schedule.to(torch.float64).alpha_bar.tolist()

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """E[eps | x_t] for ``xt`` (B, ...) at times ``t`` (B,), the shape of ``xt``."""
        eps = torch.empty_like(xt)
        for i in t.unique().tolist():
            eps[t == i] = self.data.exact_eps(xt[t == i], self.alpha_bar[i]).to(eps)
        return eps


class ExactLabelled(nn.Module):
    """The perfect noise predictor that takes labels: class k is the k-th component, the label after the last says none.

    Args:
        data: the mixture that every value of x0 comes from.
        schedule: the noise of the forward steps.
    """

    def __init__(self, data: GaussianMixture, schedule: NoiseSchedule):
        super().__init__()
        self.n_classes = len(data.weights)
        parts = [GaussianMixture([1.0], data.means[k : k + 1], data.stds[k : k + 1]) for k in range(self.n_classes)]
        self.networks = nn.ModuleList(ExactNoise(law, schedule) for law in (*parts, data))

    def forward(self, xt: Tensor, t: Tensor, class_labels: Tensor) -> Tensor:
        """E[eps | x_t, class] for ``xt`` (B, ...) at ``t`` (B,) with ``class_labels`` (B,), the shape of ``xt``."""
        answers = torch.stack([network(xt, t) for network in self.networks])
        return answers[class_labels, torch.arange(len(xt))]


TWO_BUMPS = GaussianMixture(weights=(0.4, 0.6), means=(-0.6, 0.5), stds=(0.15, 0.25))  # the data of notebook 04
