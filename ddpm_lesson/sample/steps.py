"""The chain forward and back, as generators, so that the caller plots, stops or records every step."""

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

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


def ddpm_steps(
    diffusion: DenoiseDiffusion,
    shape: Sequence[int],
    generator: torch.Generator | None = None,
    *,
    n_steps: int | None = None,
    sigma: str | None = None,
    start: Tensor | None = None,
    t_start: int | None = None,
) -> Iterator[ReverseStep]:
    """Sample with the T steps of the paper, or with fewer and larger ones.

    Ho et al. 2020, Algorithm 2; on fewer steps Nichol and Dhariwal 2021, section 4.

    Args:
        diffusion: the model; its dropout is off for the samples, and its mode is left as it is.
        shape: of the batch, such as (B, C, H, W).
        generator: where all noise comes from, for repeatable samples.
        n_steps: how many times to visit, evenly spaced; all of them unless given.
        sigma: variance of the steps, ``"beta"`` or ``"posterior"``; the model's unless given.
        start: x_t to begin with, of the given shape; pure noise unless given.
        t_start: the time to begin at; T-1 unless given.

    Yields:
        ``(t, xt, x0_hat)`` for falling t. The last ``x0_hat`` is the sample.

    Raises:
        ValueError: if an argument is out of range or ``start`` has another shape.
    """
    times = reverse_times(diffusion, n_steps, t_start)
    whole = len(times) == diffusion.n_steps and sigma in (None, diffusion.sigma)
    chain = diffusion if whole else diffusion.spaced(times, sigma=sigma)
    check_start(start, shape)
    return _ddpm_steps(eval_mode(chain.trusting()), times, shape, start, generator)


@torch.no_grad()
def _ddpm_steps(
    chain: DenoiseDiffusion,
    times: list[int],
    shape: Sequence[int],
    start: Tensor | None,
    generator: torch.Generator | None,
) -> Iterator[ReverseStep]:
    """The loop of ``ddpm_steps``, once its arguments are known to be right; ``times`` are those of the chain."""
    xt = start_noise(chain, shape, generator) if start is None else start
    for i, t in enumerate(times):
        step = torch.full((len(xt),), len(times) - 1 - i, device=xt.device)
        x0_hat = chain.denoise(xt, step)
        yield ReverseStep(t, xt, x0_hat)
        xt = chain.p_sample(xt, step, x0_hat=x0_hat, generator=generator)


def ddim_steps(
    diffusion: DenoiseDiffusion,
    shape: Sequence[int],
    n_steps: int = 50,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    *,
    start: Tensor | None = None,
    t_start: int | None = None,
) -> Iterator[ReverseStep]:
    """Sample with few steps from the same model.

    Song et al. 2021 (DDIM), Eqs. 12 and 16, on ``n_steps`` evenly spaced times.

    Args:
        diffusion, shape, generator, start, t_start: as in ``ddpm_steps``.
        n_steps: how many times to visit.
        eta: 0 for a deterministic path from noise to data; 1 for fresh noise at every step, which is ``ddpm_steps``
            with ``sigma="posterior"``.

    Yields:
        ``(t, xt, x0_hat)`` for falling t. The last ``x0_hat`` is the sample.

    Raises:
        ValueError: if an argument is out of range or ``start`` has another shape.
    """
    times = reverse_times(diffusion, n_steps, t_start)
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1]; got {eta}")
    check_start(start, shape)
    model = eval_mode(diffusion.trusting())
    alpha_bar = diffusion.schedule.to(torch.float64).alpha_bar.tolist()

    def step(xt: Tensor, x0_hat: Tensor, t: int, t_prev: int) -> Tensor:
        eps = model.predict_eps(xt, torch.full((len(xt),), t, device=xt.device), x0_hat)
        return ddim_step(x0_hat, eps, alpha_bar[t], alpha_bar[t_prev], eta, generator)

    return walk(model, times, shape, start, generator, step)


@torch.no_grad()
def walk(
    diffusion: DenoiseDiffusion,
    times: list[int],
    shape: Sequence[int],
    start: Tensor | None,
    generator: torch.Generator | None,
    step: Callable[[Tensor, Tensor, int, int], Tensor],
) -> Iterator[ReverseStep]:
    """The loop of the samplers that skip times: ``step(xt, x0_hat, t, t_prev)`` says where one leads."""
    xt = start_noise(diffusion, shape, generator) if start is None else start
    for t, t_prev in zip(times, [*times[1:], None], strict=True):
        x0_hat = diffusion.denoise(xt, torch.full((len(xt),), t, device=xt.device))
        yield ReverseStep(t, xt, x0_hat)
        if t_prev is not None:
            xt = step(xt, x0_hat, t, t_prev)


def ddim_step(
    x0_hat: Tensor,
    eps: Tensor,
    alpha_bar: float,
    alpha_bar_prev: float,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One step back, from a time with ``alpha_bar`` to any earlier one with ``alpha_bar_prev``.

    Song et al. 2021 (DDIM), Eqs. 12 and 16.

    Args:
        x0_hat, eps: the estimates of the data and of the noise in x_t, which belong together; (B, ...).
        alpha_bar, alpha_bar_prev: at the two times.
        eta, generator: as in ``ddim_steps``.

    Returns:
        x_prev, the shape of ``x0_hat``.
    """
    beta = 1 - alpha_bar / alpha_bar_prev
    sigma2 = eta**2 * beta * (1 - alpha_bar_prev) / (1 - alpha_bar)
    direction = max(0.0, 1 - alpha_bar_prev - sigma2) ** 0.5 * eps
    return alpha_bar_prev**0.5 * x0_hat + direction + sigma2**0.5 * noise_like(x0_hat, generator)


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


def final_samples(steps: Iterator[ReverseStep]) -> Tensor:
    """The samples that a sampler ends with: its last ``x0_hat``."""
    return deque(steps, maxlen=1).pop().x0_hat


def sample(
    diffusion: DenoiseDiffusion,
    shape: Sequence[int],
    n_steps: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Samples only, a batch of the given shape: ``reverse_steps`` to its end."""
    return final_samples(reverse_steps(diffusion, shape, n_steps, generator))


def reverse_times(diffusion: DenoiseDiffusion, n_steps: int | None, t_start: int | None = None) -> list[int]:
    """The times to visit, falling: ``n_steps`` of those up to ``t_start``, which come first; all unless given."""
    T = diffusion.n_steps
    t_start = T - 1 if t_start is None else t_start
    if isinstance(t_start, bool) or not isinstance(t_start, Integral) or not 0 <= t_start < T:
        raise ValueError(f"t_start must be a whole number in 0 .. {T - 1}; got {t_start!r}")
    return spaced_times(t_start + 1, t_start + 1 if n_steps is None else n_steps)


def spaced_times(T: int, n_steps: int) -> list[int]:
    """``n_steps`` evenly spaced times out of 0 .. T-1, falling, the first of them T-1 (Lin et al. 2024, "trailing")."""
    if isinstance(n_steps, bool) or not isinstance(n_steps, Integral) or not 1 <= n_steps <= T:
        raise ValueError(f"n_steps must be a whole number in 1 .. {T}, the steps of the model; got {n_steps!r}")
    return [round(T - i * T / n_steps) - 1 for i in range(n_steps)]


def check_start(start: Tensor | None, shape: Sequence[int]) -> None:
    """Raise a ValueError if there is no such shape, or there is a start and it has another."""
    if not len(shape) or any(not isinstance(n, Integral) or n < 1 for n in shape):
        raise ValueError(f"shape must hold whole numbers of at least 1, such as (B, C, H, W); got {tuple(shape)}")
    if start is not None and start.shape != tuple(shape):
        raise ValueError(f"start must have the shape asked for, {tuple(shape)}; got {tuple(start.shape)}")


def start_noise(diffusion: DenoiseDiffusion, shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
    """x_T: pure noise of the given shape, where the model lives."""
    return noise_like(torch.empty(tuple(shape), dtype=diffusion.beta.dtype, device=diffusion.device), generator)


Module = TypeVar("Module", bound=torch.nn.Module)


def eval_mode(model: Module) -> Module:
    """The same model with dropout off: a twin that shares weights, buffers and hooks.

    ``model.eval()`` would switch a flag that other threads see, such as one that trains. What ``model.compile()`` made
    belongs to the model alone.
    """
    state = model.__getstate__() | {"training": False}
    state["_modules"] = {name: part and eval_mode(part) for name, part in model._modules.items()}
    twin = object.__new__(type(model))
    twin.__setstate__(state)
    return twin


def with_network(process: Any, network: nn.Module) -> Any:
    """The same process, a diffusion or a flow, with another network."""
    twin = copy.copy(process)
    twin._buffers = dict(process._buffers)
    twin._modules = dict.fromkeys(process._modules, network)  # it has one
    return twin
