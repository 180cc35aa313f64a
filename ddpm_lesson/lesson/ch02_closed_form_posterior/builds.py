"""What notebook 02 builds: the teacher of every step back, for a whole batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_lesson.lesson.kit.build import Build, Stage, unlike
from ddpm_lesson.lesson.kit.exercise import numbers


def posterior(x0, xt, t, beta):
    """q(x_{t-1} | x_t, x_0) for a batch, each element at a time of its own.

    x0 and xt are of one shape (B, ...), t (B,) counts from 0, beta is (T,). Returns the mean, the shape of xt, and
    the variance, (B, 1, ...) with as many axes.
    """
    alpha = 1 - beta
    alpha_bar = alpha.cumprod(0)
    alpha_bar_prev = torch.cat((torch.ones(1), alpha_bar[:-1])).to(beta)
    x0_coef = alpha_bar_prev.sqrt() * beta / (1 - alpha_bar)
    xt_coef = alpha.sqrt() * (1 - alpha_bar_prev) / (1 - alpha_bar)
    var = beta * (1 - alpha_bar_prev) / (1 - alpha_bar)
    a, b, v = (c[t].view(-1, *[1] * (xt.ndim - 1)) for c in (x0_coef, xt_coef, var))
    return a * x0 + b * xt, v


BETA = torch.tensor([0.02, 0.1, 0.35, 0.2, 0.5])
TIMES = torch.tensor([4, 0, 2, 1, 3, 2])


def batch(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x0, xt, t and beta for six elements of a shape."""
    return numbers(6, *shape, seed=1, dtype=dtype), numbers(6, *shape, seed=2, dtype=dtype), TIMES, BETA.to(dtype)


def two_parts(built: Callable[..., Any]) -> str | None:
    """Whether mean and variance come back, with their shapes, for images that are not square and for points."""
    for shape in ((2, 3, 5), (4,)):
        for case in (batch(*shape, dtype=torch.float32), batch(*shape)):
            got = built(*case)
            if not isinstance(got, (tuple, list)) or len(got) != 2:
                return f"BUILT must return two tensors, mean and variance; got {type(got).__name__}."
            ones = (6, *[1] * len(shape))
            finding = unlike(got[0], case[0].shape, what="The mean of BUILT") or unlike(
                got[1], ones, what="The variance of BUILT"
            )
            if finding:
                return f"{finding} (`xt` has shape {tuple(case[0].shape)}.)"
    return None


def first_step(built: Callable[..., Any]) -> str | None:
    """At t = 0 the state before is x0 itself, for sure."""
    x0, xt, t, beta = batch(2, 3, 5)
    mean, var = built(x0, xt, t * 0, beta)
    return unlike(mean, x0, 1e-6, "At t = 0 the mean of BUILT") or unlike(
        var, torch.zeros(6, 1, 1, 1), 1e-6, "At t = 0 the variance of BUILT"
    )


def on_a_grid(x0: float, xt: float, t: int, beta: Tensor) -> tuple[float, float]:
    """Mean and variance of prior times likelihood, multiplied point by point; t at least 1."""
    bar = float((1 - beta[:t]).prod())
    prior, step = (bar**0.5 * x0, 1 - bar), float(beta[t])
    x = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    exponent = -((x - prior[0]) ** 2) / (2 * prior[1]) - (xt - (1 - step) ** 0.5 * x) ** 2 / (2 * step)
    weight = (exponent - exponent.max()).exp()
    mean = float((weight * x).sum() / weight.sum())
    return mean, float((weight * (x - mean) ** 2).sum() / weight.sum())


def prior_times_likelihood(built: Callable[..., Any]) -> str | None:
    """All later steps against a product of densities on a grid, each element at its own time."""
    x0, xt, t, beta = batch(1)
    keep = t > 0
    right = [on_a_grid(*(float(v) for v in pair), int(i), beta) for *pair, i in zip(x0, xt, t, strict=True) if i > 0]
    mean, var = built(x0, xt, t, beta)
    wanted = torch.tensor(right, dtype=torch.float64)
    return unlike(var[keep], wanted[:, 1:], 1e-6, "For t > 0 the variance of BUILT") or unlike(
        mean[keep], wanted[:, :1], 1e-6, "For t > 0 the mean of BUILT"
    )


def walk_back(built: Callable[..., Any]) -> str | None:
    """1000 steps back from pure noise with a known image end at it, and stay within the noise of each time."""
    beta = torch.linspace(1e-4, 0.02, 1000)
    x0 = numbers(2, 1, 40, 30, seed=3).sign()
    x = numbers(2, 1, 40, 30, seed=4)
    for t in reversed(range(1000)):
        mean, var = built(x0, x, torch.full((2,), t), beta)
        x = mean + var.sqrt() * torch.randn(x.shape)
        if t == 500:
            bar = float((1 - beta[:t]).prod())
            noise = float((x - bar**0.5 * x0).std()) / (1 - bar) ** 0.5
            if not abs(noise - 1) < 0.1:  # the standard deviation of 2,400 draws is known to 1.5 %
                return f"Half-way back with BUILT the noise has {noise:.2f} times the standard deviation of (2.6)."
    return unlike(x, x0, 1e-3, "After 1000 steps back to a known image, BUILT")


build_posterior = Build(
    posterior,
    [
        Stage(
            two_parts,
            "Pick the numbers of each element's own time, `c[t]`, (B,), and give them as many axes as `xt` has.",
            "`c[t].view(-1, *[1] * (xt.ndim - 1))`, for each of the three coefficients.",
        ),
        Stage(
            first_step,
            r"What is $\bar\alpha_{t-1}$ at the first step? An index of -1 picks the last one.",
            "`torch.cat((torch.ones(1), alpha_bar[:-1]))`; and use the closed forms, which do not divide by the "
            "variance of the prior.",
        ),
        Stage(
            prior_times_likelihood,
            "Complete the square: add the exponents of prior and likelihood, and collect $x^2$ and $x$. The factor of "
            "$x^2$ holds the variance, that of $x$ the mean over the variance.",
            r"(2.9) with the two rows of the table in section 7; then (2.5) makes the denominators $1 - \bar\alpha_t$.",
        ),
        Stage(
            walk_back,
            r"Each single step is right; then look at what happens in float32, where $\bar\alpha$ is close to 1.",
            r"Compute $\bar\alpha$ from all of `beta`, not from the numbers of the batch, and leave x0 as it is.",
        ),
    ],
    "This is the teacher of part 01's $L_{t-1}$. Put a guess of the image in the place of `x0`, draw, and repeat: that "
    "is how one samples, so you have built half of the sampler already.",
)
