"""The reverse process as a prior: fill in what is hidden of an image."""

from collections.abc import Iterator
from numbers import Integral

import torch
from torch import Tensor

from ddpm_lesson.diffusion import DenoiseDiffusion, noise_like
from ddpm_lesson.sample.steps import ReverseStep, eval_mode, reverse_times, start_noise


def inpaint_steps(
    diffusion: DenoiseDiffusion,
    known: Tensor,
    mask: Tensor,
    generator: torch.Generator | None = None,
    *,
    n_steps: int | None = None,
    resample: int = 1,
    sigma: str | None = None,
) -> Iterator[ReverseStep]:
    """Sample images that agree with what is known of them.

    Lugmayr et al. 2022 (RePaint), Algorithm 1, with jumps of one step.

    Args:
        diffusion: a trained model.
        known: images, (B, C, H, W) in [-1, 1]; what they hold where they are hidden does not matter.
        mask: True where ``known`` is known; broadcasts to its shape.
        generator: where all noise comes from.
        n_steps, sigma: as in ``ddpm_steps``.
        resample: how often to take every step; all but the last time what comes out is noised again.

    Yields:
        ``(t, xt, x0_hat)`` whenever the network was asked; every ``x0_hat`` holds the known part as it is. The last
        one is the sample.

    Raises:
        ValueError: if ``mask`` does not fit, or ``resample`` or another argument is out of range.
    """
    times = reverse_times(diffusion, n_steps)
    if isinstance(resample, bool) or not isinstance(resample, Integral) or resample < 1:
        raise ValueError(f"resample must be a whole number of at least 1; got {resample!r}")
    mask = torch.as_tensor(mask, device=known.device)
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("mask must hold only True and False, or 1 and 0; got other values")
    try:
        mask = mask.bool().expand(known.shape)
    except RuntimeError:
        raise ValueError(f"mask must broadcast to the images, {tuple(known.shape)}; got {tuple(mask.shape)}") from None
    return _inpaint_steps(eval_mode(diffusion.spaced(times, sigma=sigma)), times, known, mask, generator, resample)


@torch.no_grad()
def _inpaint_steps(
    chain: DenoiseDiffusion,
    times: list[int],
    known: Tensor,
    mask: Tensor,
    generator: torch.Generator | None,
    resample: int,
) -> Iterator[ReverseStep]:
    """The loop of ``inpaint_steps``, once its arguments are known to be right."""
    xt = start_noise(chain, known.shape, generator)
    for i, t in enumerate(times):
        step = torch.full((len(known),), len(times) - 1 - i, device=known.device)
        rounds = resample if i + 1 < len(times) else 1  # after the last step nothing is noisy any more
        for again in range(rounds - 1, -1, -1):
            x0_hat = torch.where(mask, known, chain.denoise(xt, step))
            yield ReverseStep(t, xt, x0_hat)
            xt = inpaint_step(chain, known, mask, xt, step, x0_hat, generator)
            if again:
                xt = chain.alpha[step[0]].sqrt() * xt + chain.beta[step[0]].sqrt() * noise_like(xt, generator)


def inpaint_step(
    chain: DenoiseDiffusion,
    known: Tensor,
    mask: Tensor,
    xt: Tensor,
    t: Tensor,
    x0_hat: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One step back that agrees with what is known: x_{t-1} of the model where it is hidden, of q where it is known.

    Lugmayr et al. 2022 (RePaint), Eq. 8.

    Args:
        chain: the model.
        known, mask: as in ``inpaint_steps``, the mask of the shape of ``known``.
        xt: noisy images, (B, C, H, W).
        t: times, (B,), the same for all.
        x0_hat: what ``denoise(xt, t)`` said.
        generator: where the noise comes from.

    Returns:
        x_prev, the shape of ``xt``.
    """
    hidden_prev = chain.p_sample(xt, t, x0_hat=x0_hat, generator=generator)
    known_prev = known if t[0] == 0 else chain.q_sample(known, t - 1, noise_like(known, generator))
    return torch.where(mask, known_prev, hidden_prev)
