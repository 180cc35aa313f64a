"""Solvers of higher order: the way back as a differential equation, with fewer and better steps.

Each takes the path of DDIM without noise, and visits the same times.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion
from ddpm_lesson.sample.steps import ReverseStep, check_start, ddim_step, eval_mode, reverse_times, walk


def heun_steps(
    diffusion: DenoiseDiffusion,
    shape: Sequence[int],
    n_steps: int = 18,
    generator: torch.Generator | None = None,
    *,
    start: Tensor | None = None,
    t_start: int | None = None,
) -> Iterator[ReverseStep]:
    """Sample with Heun's method: every step of DDIM is taken again with the mean of the noise at both of its ends.

    Karras et al. 2022, Algorithm 1: d(x / sqrt(alpha_bar)) = eps d sigma, with sigma = sqrt(1 / alpha_bar - 1). Asks
    the network 2 n_steps - 1 times. From a time with alpha_bar = 0, where sigma is infinite, the step is DDIM's.

    Args:
        diffusion, shape, generator, start, t_start: as in ``ddpm_steps``.
        n_steps: how many times to visit, at least 2.

    Yields:
        ``(t, xt, x0_hat)`` for falling t. The last ``x0_hat`` is the sample.

    Raises:
        ValueError: if an argument is out of range or ``start`` has another shape.
    """
    times = solver_times(diffusion, n_steps, t_start)
    check_start(start, shape)
    model = eval_mode(diffusion.trusting())
    alpha_bar = diffusion.schedule.to(torch.float64).alpha_bar.tolist()

    def noise(xt: Tensor, x0_hat: Tensor, t: int) -> Tensor:
        return model.predict_eps(xt, torch.full((len(xt),), t, device=xt.device), x0_hat)

    def step(xt: Tensor, x0_hat: Tensor, t: int, t_prev: int) -> Tensor:
        a, a_prev = alpha_bar[t], alpha_bar[t_prev]
        eps = noise(xt, x0_hat, t)
        x_prev = ddim_step(x0_hat, eps, a, a_prev)
        if a == 0:
            return x_prev
        again = model.denoise(x_prev, torch.full((len(xt),), t_prev, device=xt.device))
        mean = (eps + noise(x_prev, again, t_prev)) / 2
        shrink = (a_prev / a) ** 0.5
        return shrink * xt + ((1 - a_prev) ** 0.5 - shrink * (1 - a) ** 0.5) * mean

    return walk(model, times, shape, start, generator, step)


def dpm_steps(
    diffusion: DenoiseDiffusion,
    shape: Sequence[int],
    n_steps: int = 20,
    generator: torch.Generator | None = None,
    *,
    start: Tensor | None = None,
    t_start: int | None = None,
) -> Iterator[ReverseStep]:
    """Sample with DPM-Solver++(2M): the line through the last two estimates of x0 says where the next one will be.

    Lu et al. 2022 (DPM-Solver++), Algorithm 2, in lambda = log sqrt(alpha_bar / (1 - alpha_bar)). Asks the network
    once a step; the first step is DDIM's.

    Args, yields, raises: as ``heun_steps``.
    """
    times = solver_times(diffusion, n_steps, t_start)
    check_start(start, shape)
    alpha_bar = diffusion.schedule.to(torch.float64).alpha_bar.tolist()
    before: list[tuple[float, Tensor]] = []  # length of the last step, and the estimate that it was taken with

    def step(xt: Tensor, x0_hat: Tensor, t: int, t_prev: int) -> Tensor:
        a, a_prev = alpha_bar[t], alpha_bar[t_prev]
        h = half_log_snr(a_prev) - half_log_snr(a)
        ahead = x0_hat
        if before:
            h_last, x0_last = before.pop()
            ahead = x0_hat + h / (2 * h_last) * (x0_hat - x0_last)
        before.append((h, x0_hat))
        return ((1 - a_prev) / (1 - a)) ** 0.5 * xt - a_prev**0.5 * math.expm1(-h) * ahead

    return walk(eval_mode(diffusion.trusting()), times, shape, start, generator, step)


def half_log_snr(alpha_bar: float) -> float:
    """lambda = log(sqrt(alpha_bar) / sqrt(1 - alpha_bar)); minus infinity where nothing is left of the data."""
    return (math.log(alpha_bar) - math.log1p(-alpha_bar)) / 2 if alpha_bar else -math.inf


def solver_times(diffusion: DenoiseDiffusion, n_steps: int, t_start: int | None) -> list[int]:
    """``reverse_times``, at least two of them: a ValueError if one step leaves nothing to be of second order."""
    times = reverse_times(diffusion, n_steps, t_start)
    if len(times) < 2:
        raise ValueError("n_steps must be at least 2 for a solver of second order (ddim_steps takes 1); got 1")
    return times
