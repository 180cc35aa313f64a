"""The chain forward and back, as generators, so that the caller plots, stops or records every step."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion, noise_like


def forward_steps(
    diffusion: DenoiseDiffusion, x0: Tensor, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """Noise data step by step, the long way that ``q_sample`` abbreviates.

    Ho et al. 2020, Eq. 2: x_t = sqrt(alpha_t) x_{t-1} + sqrt(beta_t) eps, with fresh noise at every step.

    Args:
        diffusion: the model; only its schedule is used.
        x0: data, (B, ...).
        generator: where all noise comes from.

    Yields:
        x_t for t = 0 .. T-1, each the shape of ``x0``.
    """
    xt = x0
    for alpha, beta in zip(diffusion.alpha.sqrt(), diffusion.beta.sqrt(), strict=True):
        xt = alpha * xt + beta * noise_like(xt, generator)
        yield xt


class ReverseStep(NamedTuple):
    """Where the reverse process stands before it leaves time t."""

    t: int  # time index, from T-1 down to 0
    xt: Tensor  # the noisy batch at time t
    x0_hat: Tensor  # the network's estimate of the data behind it; at the last step, the sample


@torch.no_grad()
def ddpm_steps(
    diffusion: DenoiseDiffusion, shape: Sequence[int], generator: torch.Generator | None = None
) -> Iterator[ReverseStep]:
    """Sample with the T steps of the paper.

    Ho et al. 2020, Algorithm 2.

    Args:
        diffusion: the model; its dropout is off while it is asked, and its mode is left as it was.
        shape: of the batch, such as (B, C, H, W).
        generator: where all noise comes from, for repeatable samples.

    Yields:
        ``(t, xt, x0_hat)`` for t = T-1 .. 0. The last ``x0_hat`` is the sample.
    """
    xt = start_noise(diffusion, shape, generator)
    for t in range(diffusion.n_steps - 1, -1, -1):
        batch_t = torch.full((len(xt),), t, device=xt.device)
        with eval_mode(diffusion):
            x0_hat = diffusion.denoise(xt, batch_t)
        yield ReverseStep(t, xt, x0_hat)
        xt = diffusion.p_sample(xt, batch_t, x0_hat=x0_hat, generator=generator)


def ddim_steps(
    diffusion: DenoiseDiffusion,
    shape: Sequence[int],
    n_steps: int = 50,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Iterator[ReverseStep]:
    """Sample with few steps from the same model.

    Song et al. 2021 (DDIM), Eqs. 12 and 16, on ``n_steps`` evenly spaced times, the largest of them T-1.

    Args:
        diffusion, shape, generator: as in ``ddpm_steps``.
        n_steps: how many of the T times to visit, 1 .. T.
        eta: 0 for a deterministic path from noise to data; 1 for fresh noise at every step, which with
            ``n_steps`` = T is ``ddpm_steps`` with ``sigma="posterior"``.

    Yields:
        ``(t, xt, x0_hat)`` for falling t. The last ``x0_hat`` is the sample.

    Raises:
        ValueError: if ``n_steps`` or ``eta`` is out of range.
    """
    times = ddim_times(diffusion.n_steps, n_steps)
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1]; got {eta}")
    return _ddim_steps(diffusion, shape, times, eta, generator)


@torch.no_grad()
def _ddim_steps(
    diffusion: DenoiseDiffusion,
    shape: Sequence[int],
    times: list[int],
    eta: float,
    generator: torch.Generator | None,
) -> Iterator[ReverseStep]:
    """The loop of ``ddim_steps``, once its arguments are known to be right."""
    alpha_bar = diffusion.schedule.to(torch.float64).alpha_bar.tolist()
    xt = start_noise(diffusion, shape, generator)
    for t, t_next in zip(times, [*times[1:], None], strict=True):
        batch_t = torch.full((len(xt),), t, device=xt.device)
        with eval_mode(diffusion):
            x0_hat = diffusion.denoise(xt, batch_t)
        yield ReverseStep(t, xt, x0_hat)
        if t_next is None:
            return
        eps = diffusion.predict_eps(xt, batch_t, x0_hat)
        a, a_next = alpha_bar[t], alpha_bar[t_next]
        sigma = eta * ((1 - a_next) / (1 - a) * (1 - a / a_next)) ** 0.5
        direction = max(0.0, 1 - a_next - sigma**2) ** 0.5 * eps
        xt = a_next**0.5 * x0_hat + direction + sigma * noise_like(xt, generator)


def reverse_steps(
    diffusion: DenoiseDiffusion,
    shape: Sequence[int],
    n_steps: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[ReverseStep]:
    """All T steps of ``ddpm_steps``, or ``n_steps`` of ``ddim_steps`` if that is given."""
    if n_steps is None:
        return ddpm_steps(diffusion, shape, generator)
    return ddim_steps(diffusion, shape, n_steps, generator=generator)


def sample(
    diffusion: DenoiseDiffusion,
    shape: Sequence[int],
    n_steps: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Samples only, a batch of the given shape: ``reverse_steps`` to its end."""
    for step in reverse_steps(diffusion, shape, n_steps, generator):
        x0_hat = step.x0_hat
    return x0_hat


def ddim_times(T: int, n_steps: int) -> list[int]:
    """``n_steps`` evenly spaced times out of 0 .. T-1, falling, the first of them T-1."""
    if isinstance(n_steps, bool) or not isinstance(n_steps, int) or not 1 <= n_steps <= T:
        raise ValueError(f"n_steps must be a whole number in 1 .. {T}, the steps of the model; got {n_steps!r}")
    return [round(T - i * T / n_steps) - 1 for i in range(n_steps)]


def start_noise(diffusion: DenoiseDiffusion, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
    """x_T: pure noise of the given shape, where the model lives."""
    return noise_like(torch.empty(tuple(shape), dtype=diffusion.beta.dtype, device=diffusion.device), generator)


@contextmanager
def eval_mode(model: torch.nn.Module) -> Iterator[None]:
    """Switch dropout off inside the ``with`` block and restore the mode of every module afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
