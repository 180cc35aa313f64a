"""What notebook 01 builds: a bound that a latent model on a line is trained on."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.mixture import GaussianMixture
from ddpm_lesson.lesson.kit.quadrature import TWO_PEAKS, LatentModel

SIGMA = 0.8


def fit_bound(x, sigma, n_updates, lr):
    """Raise the ELBO of x = a z + b + sigma * noise with the guess q(z | x) = N(k x + c, exp(s)), z from N(0, 1).

    Returns theta (2,) = a, b; phi (3,) = k, c, s; and the bound in nats in front of every update, (n_updates,).
    """
    theta = torch.tensor([1.0, 0.0], dtype=x.dtype, requires_grad=True)
    phi = torch.tensor([0.0, 0.0, 0.0], dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.SGD([theta, phi], lr)
    bounds = []
    for _ in range(n_updates):
        a, b = theta
        k, c, s = phi
        mean, var = k * x + c, s.exp()  # of the guess
        at_the_mean = torch.distributions.Normal(a * mean + b, sigma).log_prob(x)
        log_likelihood = at_the_mean - a**2 * var / (2 * sigma**2)  # E_q[log p(x | z)]
        to_the_prior = (var + mean**2 - 1 - s) / 2  # KL(q || N(0, 1)), equation (1.3)
        bound = (to_the_prior - log_likelihood).mean()
        optimizer.zero_grad()
        bound.backward()
        optimizer.step()
        bounds.append(bound.detach())
    return theta.detach(), phi.detach(), torch.stack(bounds)


def points() -> Tensor:
    """The data: 61 draws of the two peaks, moved away from 0."""
    return TWO_PEAKS.sample(61, torch.Generator().manual_seed(1)) + 1


def three_parts(fit: Callable[..., Any]) -> str | None:
    """Whether theta, phi and the bounds come back, for two numbers of updates."""
    for n_updates in (1, 3):
        got = fit(points(), SIGMA, n_updates, 0.1)
        if not isinstance(got, (tuple, list)) or len(got) != 3:
            return f"BUILT must return three tensors, `theta, phi, bounds`; got {type(got).__name__}."
        for name, value, shape in zip(("theta", "phi", "bounds"), got, ((2,), (3,), (n_updates,)), strict=True):
            finding = unlike(value, shape, what=f"`{name}` of BUILT, after {n_updates} update(s),")
            if not finding and value.requires_grad:
                finding = f"`{name}` of BUILT still carries a gradient: `.detach()` it."
            if finding:
                return finding
    return None


def integrated(theta: Tensor, phi: Tensor, x: Tensor) -> float:
    """The mean bound of a model and a guess, by an integral over z for every point."""
    a, b = theta.double().tolist()
    k, c, s = phi.double().tolist()
    model, std = LatentModel(lambda z: a * z + b, SIGMA), float(torch.tensor(s / 2).exp())
    return -sum(model.elbo(value, k * value + c, std) for value in x.tolist()) / len(x)


def bound_is_the_bound(fit: Callable[..., Any]) -> str | None:
    """The bounds at the start and on the way, against integrals."""
    x = points()
    for n in (0, 30):
        start = torch.tensor([1.0, 0.0]), torch.zeros(3)
        at = fit(x, SIGMA, n, 0.1)[:2] if n else start
        got, right = float(fit(x, SIGMA, n + 1, 0.1)[2][n]), integrated(*at, x)
        if not abs(got - right) <= 1e-4:
            return (
                f"In front of update {n + 1} the bound of BUILT is {got:.4f} nats; an integral over z says {right:.4f}."
            )
    return None


def goes_downhill(fit: Callable[..., Any]) -> str | None:
    """The first update against the slopes at the start, done by hand, for two learning rates.

    There E_q[(x - a z - b)^2] = x^2 + 1, and the KL is 0 with slope 0.
    """
    x = points()
    for lr in (0.01, 0.1):
        slopes = torch.tensor([1, -x.mean(), -x.square().mean(), -x.mean(), 0.5]) / SIGMA**2  # of a, b, k, c, s
        moved = torch.cat([part.detach() for part in fit(x, SIGMA, 1, lr)[:2]]) - torch.tensor([1, 0, 0, 0, 0])
        finding = unlike(moved, -lr * slopes, 1e-5, f"With lr = {lr} the first update of BUILT, for a, b, k, c, s,")
        if finding:
            return finding
    return None


def ends_at_the_evidence(fit: Callable[..., Any]) -> str | None:
    """After 300 updates: below the start, at the exact evidence of the model, and that as high as it gets."""
    x = points()
    theta, phi, bounds = fit(x, SIGMA, 300, 0.1)
    model = GaussianMixture([1], [float(theta[1])], [float((theta[0].double() ** 2 + SIGMA**2).sqrt())])
    best = GaussianMixture([1], [float(x.mean())], [float(x.std(correction=0))])
    bound, exact, least = integrated(theta, phi, x), *(float(-m.log_prob(x).mean()) for m in (model, best))
    if not float(bounds[-1]) < float(bounds[0]):
        return f"In 300 updates of BUILT the bound went from {bounds[0]:.3f} to {bounds[-1]:.3f} nats: it must fall."
    if not bound - exact <= 1e-3:
        return f"After 300 updates of BUILT the bound is {bound:.3f} nats and -log p(x) {exact:.3f}: a gap is left."
    if not exact - least <= 1e-3:
        return f"After 300 updates of BUILT -log p(x) is {exact:.3f} nats on average; {least:.3f} is possible."
    return None


build_fit_bound = Build(
    fit_bound,
    [
        Stage(
            three_parts,
            "Two tensors that require a gradient, one for the model, one for the guess; and a list of bounds.",
            "`return theta.detach(), phi.detach(), torch.stack(bounds)`, each bound noted in front of its update.",
        ),
        Stage(
            bound_is_the_bound,
            r"The bound is $\mathrm{KL}(q \parallel p(z)) - \mathbb{E}_q[\log p(x \mid z)]$, averaged over the points. "
            "For the second part: what is the average of $(x - a z - b)^2$ if $z$ has mean $m$ and variance $v$?",
            "As in step 3 of (1.3): $(x - a m - b)^2 + a^2 v$. The KL is (1.3) with $m_2 = 0$ and $s_2 = 1$; and "
            "`theta` starts at 1, 0, `phi` at 0, 0, 0.",
        ),
        Stage(
            goes_downhill,
            "Plain SGD goes against the slope by `lr` times it, for all five numbers, and keeps nothing in mind.",
            "`torch.optim.SGD([theta, phi], lr)`, with the `lr` that is given; the loss is the mean over the points.",
        ),
        Stage(
            ends_at_the_evidence,
            "Which way is down? The optimizer lowers what `backward` was called on, for model and guess together.",
            "`torch.optim.SGD([theta, phi], lr)`; in every turn `zero_grad`, `backward` of the bound, `step`.",
        ),
    ],
    "The gap closed by itself: the true posterior of this model is a Gaussian, so the guess could meet it, and then "
    "the bound *is* $-\\log p(x)$. The model became one Gaussian with the mean and variance of the points, which is "
    "the forward fit (1.4), without anybody having computed the integral (1.6).",
)
